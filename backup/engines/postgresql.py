"""The live PostgreSQL cluster of a dataset (17 or later): its WAL held for a job, its tables summed up at one LSN."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from backup.engines.sums import TABLES_SQL, pins_as_options, summed, sums_sql
from backup.plan import SLOT_PREFIX
from backup.ports import ComparePoint, Origin
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Address, Dataset, Estate

ROLE = "ncia_backup"
CONNECT_SECONDS = 5
SILENCE_MILLISECONDS = 10_000  # a wire that swallows is given up after this
LOCK_MILLISECONDS_MAX = 250  # how long a writer may have to wait behind our request for a lock
HELD_MILLISECONDS_MAX = 1_000  # the server ends our transaction when we fall silent while we hold locks
RELEASE_ATTEMPTS_MAX = 40
RELEASE_PAUSE_SECONDS = 0.05
LOCK_ATTEMPTS_MAX = 12
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 2.0  # between two attempts, doubled each time


class PostgresSources:
    """The clusters of an estate as ``viewer`` dials them; ``passfile`` is libpq's password file of that site."""

    def __init__(self, estate: Estate, viewer: SiteId, passfile: Path, attempts_max: int = LOCK_ATTEMPTS_MAX) -> None:
        self._attempts_max = attempts_max
        self._estate = estate
        self._viewer = viewer
        self._passfile = passfile

    def of(self, dataset: Dataset, site: str) -> PostgresSource:
        copy = dataset.copies[SiteId(site)]
        server = self._estate.seen(copy.server, copy.site, self._viewer)
        line = password_line(self._passfile, server, ROLE)
        origin = Origin(dataset.id, server, ROLE, line)
        return PostgresSource(origin, dataset.database, self._passfile, self._attempts_max)


class PostgresSource:
    """One cluster and the database in it that holds the dataset."""

    def __init__(self, origin: Origin, database: str, passfile: Path, attempts_max: int = LOCK_ATTEMPTS_MAX) -> None:
        self.origin = origin
        self._database = database
        self._passfile = passfile
        self._attempts_max = attempts_max

    def hold(self, slot: str) -> None:
        with self._session() as connection:
            leftover = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active and "
            connection.execute(leftover + "starts_with(slot_name, %s)", [SLOT_PREFIX])
            connection.execute("select pg_create_physical_replication_slot(%s, true)", [slot])

    def release(self, slot: str) -> None:
        """A tool that has just ended may still be shown as active for a moment; one whose wire broke for longer:
        such a slot is an error here, and is dropped by the next :meth:`hold`."""
        drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = %s"
        with self._session() as connection:
            for _ in range(RELEASE_ATTEMPTS_MAX - 1):
                try:
                    connection.execute(drop, [slot])
                    return
                except psycopg.errors.ObjectInUse:
                    time.sleep(RELEASE_PAUSE_SECONDS)  # its reader was told to go, and no event tells when it has
            connection.execute(drop, [slot])

    def compare_point(self) -> ComparePoint:
        with self._session() as reader, self._session() as locker:
            for attempt in range(self._attempts_max):
                if attempt:
                    pause = min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_MIN * 2**attempt)
                    time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - writers go first; spreads, hides nothing
                marked = self._freeze(reader, locker)
                if marked is None:
                    continue
                tables, lsn, end_lsn = marked
                lines = [str(row[0]) for row in _ask(reader, sums_sql(tables))]
                reader.execute("commit")
                return ComparePoint(lsn, end_lsn, summed(lines))
        raise NciaError(
            "backup.no-compare-point",
            f"sum up {self.origin.dataset} at {self.origin.server} as of one moment",
            f"its tables could not be locked for a moment in {self._attempts_max} attempts",
            "look for transactions that stay open: select * from pg_stat_activity order by xact_start",
        )

    def _freeze(
        self, reader: psycopg.Connection, locker: psycopg.Connection
    ) -> tuple[tuple[str, ...], str, str] | None:
        """Leave ``reader`` with a snapshot of a known LSN; None where another try is needed.

        While ``locker`` has SHARE locks on every table no transaction that wrote there is open, and none can begin to
        write: the snapshot that the reader takes now is the state at the WAL position that is read now. The reader has
        its own ACCESS SHARE locks, for neither TRUNCATE nor DROP respects snapshots. The mark written behind the
        position gives recovery a record to stop at, and is flushed, so that the WAL up to it can be had.
        """
        tables = _tables(reader)
        if not tables:
            what = f"sum up {self.origin.dataset} at {self.origin.server}"
            raise NciaError("backup.no-tables", what, f"database {self._database} has no table: nothing can be proven")
        names = ", ".join(f"only {table}" for table in tables)
        try:
            reader.execute(
                _text(f"""begin isolation level repeatable read, read only;
                set local lock_timeout = {LOCK_MILLISECONDS_MAX};
                lock table {names} in access share mode""")
            )
            locker.execute(
                _text(f"""begin; set local lock_timeout = {LOCK_MILLISECONDS_MAX};
                set local idle_in_transaction_session_timeout = {HELD_MILLISECONDS_MAX};
                lock table {names} in share mode""")
            )
            frozen = _tables(reader)  # the reader's first query: its snapshot is taken here
            lsn = str(_ask(locker, "select pg_current_wal_insert_lsn()")[0][0])
            mark = "select pg_logical_emit_message(false, 'ncia', 'compare point', true)"
            end_lsn = str(_ask(locker, mark)[0][0])
            locker.execute("commit")
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected, psycopg.errors.UndefinedTable):
            locker.rollback()
            reader.rollback()
            return None
        if frozen != tables:
            reader.rollback()
            return None
        return tables, lsn, end_lsn

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        server = self.origin.server
        what = f"ask the cluster of {self.origin.dataset} at {server}"
        try:
            with psycopg.connect(
                host=server.host,
                port=server.port,
                user=self.origin.user,
                dbname=self._database,
                passfile=str(self._passfile),
                connect_timeout=CONNECT_SECONDS,
                tcp_user_timeout=SILENCE_MILLISECONDS,
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                application_name="ncia backup",
                options=pins_as_options(),
                autocommit=True,
            ) as connection:
                yield connection
        except psycopg.OperationalError as error:
            raise Unreachable("backup.source-silent", what, _one_line(error), "is that site up?") from error
        except psycopg.Error as error:
            raise NciaError("backup.source-refused", what, _one_line(error)) from error


def password_line(passfile: Path, server: Address, user: str) -> str:
    """The line of libpq's password file for ``user`` at ``server``, for any database; raises where there is none."""
    try:
        lines = passfile.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise NciaError("backup.no-passfile", f"read {passfile.name}", str(error)) from error
    for line in lines:
        parts = line.split(":", 4)
        if line.startswith("#") or len(parts) != 5:
            continue
        host, port, _, login, password = parts
        if host in (server.host, "*") and port in (str(server.port), "*") and login in (user, "*"):
            return f"{server.host}:{server.port}:*:{user}:{password}\n"
    hint = f"add a line {server.host}:{server.port}:*:{user}:…"
    raise NciaError("backup.no-password", f"find {user}'s password at {server} in {passfile.name}", "no line", hint)


def _tables(connection: psycopg.Connection) -> tuple[str, ...]:
    return tuple(str(row[0]) for row in _ask(connection, TABLES_SQL))


def _ask(connection: psycopg.Connection, text: str) -> list[tuple[object, ...]]:
    return connection.execute(_text(text)).fetchall()


def _text(text: str) -> sql.SQL:
    """Text of ours, whose names PostgreSQL itself has quoted; percent signs are meant."""
    return sql.SQL(text)


def _one_line(error: psycopg.Error) -> str:
    return " ".join(str(error).split()) or type(error).__name__
