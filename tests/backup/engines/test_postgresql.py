"""The live cluster: its compare point under load, its slots, its password file."""

import threading
import time
from pathlib import Path

import pytest

from backup.engines.postgresql import PostgresSource, password_line
from backup.ports import Origin
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import DatasetId
from ncia.core.base.lsn import lsn_number
from ncia.core.estate.model import Address
from tests.backup.cluster import Cluster


@pytest.fixture
def source(cluster: Cluster, tmp_path: Path) -> PostgresSource:
    passfile = cluster.write_passfile(tmp_path / "pgpass")
    line = password_line(passfile, cluster.server, "ncia_backup")
    return PostgresSource(Origin(DatasetId("tax/rows"), cluster.server, "ncia_backup", line), "acts", passfile)


def test_a_compare_point_holds_transactions_whole_while_they_rain(source: PostgresSource, cluster: Cluster) -> None:
    """Each transaction writes one row into each of two tables: their counts never differ at one LSN."""
    with cluster.connect() as connection:
        connection.execute("create table civil.left_ (n int); create table civil.right_ (n int)")
    over, waits = threading.Event(), []

    def act() -> None:
        with cluster.connect() as connection:
            while not over.is_set():
                began = time.monotonic()
                with connection.transaction():
                    connection.execute("insert into civil.left_ values (1)")
                    connection.execute("insert into civil.right_ values (1)")
                waits.append(time.monotonic() - began)

    threads = [threading.Thread(target=act) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        found = [source.compare_point() for _ in range(5)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
        with cluster.connect() as connection:
            connection.execute("drop table civil.left_, civil.right_")
    for point in found:
        rows = {each.table: each.rows for each in point.tables}
        assert rows["civil.left_"] == rows["civil.right_"]
        assert lsn_number(point.end_lsn) > lsn_number(point.lsn)
    assert found[-1].tables != found[0].tables
    assert len(waits) > 20


def test_a_transaction_that_stays_open_makes_writers_wait_only_for_moments(
    source: PostgresSource, cluster: Cluster
) -> None:
    """Our request for the lock stands in front of other writers: it gives up before they notice."""
    slowest = 0.0
    hasty = PostgresSource(source.origin, "acts", source._passfile, attempts_max=4)
    with cluster.connect() as blocker, cluster.connect() as writer:
        blocker.execute("begin")
        blocker.execute("insert into civil.nothing values (1)")
        failed: list[NciaError] = []

        def compare() -> None:
            try:
                hasty.compare_point()
            except NciaError as error:
                failed.append(error)

        thread = threading.Thread(target=compare)
        thread.start()
        while thread.is_alive():
            began = time.monotonic()
            writer.execute("insert into civil.nothing values (2)")
            slowest = max(slowest, time.monotonic() - began)
        blocker.execute("rollback")
        writer.execute("truncate civil.nothing")
    assert [error.code for error in failed] == ["backup.no-compare-point"]
    assert slowest < 2.0  # 0.25 s by design; a busy machine adds its own


def test_a_database_without_tables_cannot_be_proven(source: PostgresSource, cluster: Cluster) -> None:
    empty = PostgresSource(source.origin, "postgres", source._passfile)
    with pytest.raises(NciaError, match="has no table"):
        empty.compare_point()


def test_a_slot_holds_wal_until_released_and_leftovers_go_with_the_next_job(
    source: PostgresSource, cluster: Cluster
) -> None:
    source.hold("ncia_job_crashed")
    source.hold("ncia_job_next")
    assert cluster.slots() == ["ncia_job_next"]
    source.release("ncia_job_next")
    source.release("ncia_job_next")
    assert cluster.slots() == []


def test_a_source_that_does_not_answer_is_unreachable(tmp_path: Path) -> None:
    nowhere = Address("127.0.0.1", 1)
    (tmp_path / "pgpass").write_text("")
    source = PostgresSource(Origin(DatasetId("tax/rows"), nowhere, "ncia_backup", ""), "acts", tmp_path / "pgpass")
    with pytest.raises(Unreachable, match=r"tax/rows at 127\.0\.0\.1:1"):
        source.compare_point()


def test_the_password_line_is_that_of_address_and_role(tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    passfile.write_text("# ours\nh1:5432:*:ncia_backup:a\\:b\nh2:5432:*:ncia_watch:c\n*:5433:*:ncia_backup:d\n")
    assert password_line(passfile, Address("h1", 5432), "ncia_backup") == "h1:5432:*:ncia_backup:a\\:b\n"
    assert password_line(passfile, Address("h9", 5433), "ncia_backup") == "h9:5433:*:ncia_backup:d\n"
    with pytest.raises(NciaError, match="no line"):
        password_line(passfile, Address("h2", 5432), "ncia_backup")
