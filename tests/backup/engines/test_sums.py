"""The sum in SQL against the same sum made by hand."""

from hashlib import md5

from backup.engines.sums import TABLES_SQL, pins_as_options, sum_sql, summed, sums_sql
from tests.backup.cluster import Cluster

AWKWARD = '"Odd ""name\'s"'


def ask(cluster: Cluster, sql: str) -> list[str]:
    with cluster.connect() as connection:
        return [row[0] for row in connection.execute(sql.encode())]


def test_the_sum_is_that_of_the_rows_hashes_modulo_two_to_the_128th(cluster: Cluster) -> None:
    rows = ask(cluster, "select a::text from civil.acts a")
    by_hand = sum(int(md5(row.encode(), usedforsecurity=False).hexdigest(), 16) for row in rows) % (1 << 128)
    (found,) = summed(ask(cluster, sum_sql("civil.acts")))
    assert (found.rows, found.sum128) == (len(rows), f"{by_hand:032x}")


def test_leaf_partitions_and_awkward_names_are_listed_and_own_marks_are_not(cluster: Cluster) -> None:
    names = ask(cluster, TABLES_SQL)
    assert names == [f"civil.{AWKWARD}", "civil.acts", "civil.by_year_2010", "civil.ledger", "civil.nothing"]
    found = summed(ask(cluster, sums_sql(names)))
    assert [(each.table, each.rows) for each in found][:2] == [(f"civil.{AWKWARD}", 3), ("civil.acts", 4000)]


def test_an_empty_table_sums_up_to_nothing(cluster: Cluster) -> None:
    (found,) = summed(ask(cluster, sum_sql("civil.nothing")))
    assert (found.rows, found.sum128) == (0, "0" * 32)


def test_a_row_twice_counts_twice_though_xor_would_cancel_it(cluster: Cluster) -> None:
    with cluster.connect() as connection:
        connection.execute("create temp table pairs (v int); insert into pairs values (1), (1), (2), (2)")
        (pairs,) = summed([connection.execute(sum_sql("pg_temp.pairs").encode()).fetchone()[0]])
        connection.execute("truncate pairs; insert into pairs values (3), (3), (4), (4)")
        (others,) = summed([connection.execute(sum_sql("pg_temp.pairs").encode()).fetchone()[0]])
    assert (pairs.rows, others.rows) == (4, 4)
    assert pairs.sum128 != others.sum128


def test_the_pins_outweigh_a_databases_own_settings(cluster: Cluster) -> None:
    """Two servers that write dates otherwise must sum up alike."""
    import psycopg

    def sums(options: str) -> object:
        with psycopg.connect(
            host=cluster.server.host,
            port=cluster.server.port,
            user="ncia_backup",
            password="not-a-secret",
            dbname=cluster.database,
            options=options,
        ) as connection:
            return summed([connection.execute(sum_sql("civil.acts").encode()).fetchone()[0]])

    before, loose = sums(pins_as_options()), sums("")
    with cluster.connect() as connection:
        for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Asia/Seoul'", "extra_float_digits = -2"):
            connection.execute(f"alter database {cluster.database} set {setting}")
    try:
        assert sums(pins_as_options()) == before
        assert sums("") != loose
    finally:
        with cluster.connect() as connection:
            connection.execute(f"alter database {cluster.database} reset all")
