from __future__ import annotations

import time

import psycopg

from ncia.lab.apps.seeding import seed_into
from tests.lab_apps.postgres import Cluster


def test_a_system_has_three_tables_of_its_own_and_five_thousand_rows(connection: psycopg.Connection) -> None:
    tables = connection.execute(
        "select relname from pg_class where relnamespace = 'app'::regnamespace and relkind = 'r' and relname <> 'acts'"
    ).fetchall()
    rows = sum(connection.execute(f'select count(*) from "{name}"').fetchone()[0] for (name,) in tables)  # noqa: S608
    assert (len(tables) >= 3, rows >= 5000) == (True, True), (tables, rows)


def test_a_second_seeding_finds_all_in_place(connection: psycopg.Connection, system: str) -> None:
    assert seed_into(connection, system) is False


def test_the_seed_is_the_same_each_time_and_quick(cluster: Cluster, system: str) -> None:
    """Compared by the contents of all acts, in a second database, except for moments the seed does not fix."""
    name = f"again-{system}"
    cluster.make_database(name)
    with cluster.connect(name, "app") as again:
        again.autocommit = False
        began = time.perf_counter()
        seed_into(again, system)
        seconds = time.perf_counter() - began
        ask = (
            "select md5(string_agg(md5(c::text), '' order by md5(c::text))) from act_contents c join acts a using (id)"
        )
        ask += " where a.received_at < timestamptz '2026-06-01Z'"
        with cluster.connect(system, "app") as first:
            assert again.execute(ask).fetchone() == first.execute(ask).fetchone()
    with cluster.connect() as postgres:
        postgres.execute(f'drop database "{name}"')
    assert seconds < 5  # 0.1 s on a quiet machine
