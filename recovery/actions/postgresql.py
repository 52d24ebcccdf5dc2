"""The PostgreSQL servers of a site (our own, or the other one), asked directly by role ``ncia_recover``; by
``ncia_watch`` for the canary.

A connection is kept for each system between its steps: a promotion to the first write takes 8 ms, a new connection 5.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.base.lsn import lsn_number
from ncia.core.estate.model import Estate
from recovery.ports import Replica
from recovery.sync import NOBODY, Keeper, Seen

CONNECT_SECONDS = 2
STATEMENT_MS = 5000
DETACHED = " hostaddr=127.0.0.1 port=1 connect_timeout=2"
"""What is put behind a copy's ``primary_conninfo`` to detach it: the later word wins in libpq, and taking it away again
restores what stood there, whoever wrote that."""
NEWEST_CANARY = "select written_at from ncia.canary order by written_at desc limit 1"
KEEPERS = """
select current_setting('synchronous_standby_names'), pg_current_wal_flush_lsn()::text, r.application_name, r.state,
       r.sync_state, coalesce(r.flush_lsn, '0/0')::text,
       coalesce(extract(epoch from clock_timestamp() - r.reply_time), 1e9)::float8
from (select 1 where not pg_is_in_recovery()) as primary_only left join pg_stat_replication r on true
"""

T = TypeVar("T")


class PostgresDatabases:
    """:class:`recovery.ports.Databases` of ``site``, as ``viewer`` (itself unless told) dials them; ``passfile`` is in
    libpq's format."""

    def __init__(self, estate: Estate, site: SiteId, passfile: Path, viewer: SiteId | None = None) -> None:
        self._estate = estate
        self._site = site
        self._viewer = viewer or site
        self._passfile = passfile
        self._lock = threading.Lock()
        self._kept: dict[SystemId, psycopg.Connection[Any]] = {}

    def replica(self, system: SystemId) -> Replica:
        look = (
            "select pg_is_in_recovery(), current_setting('synchronous_standby_names'),"
            " coalesce(pg_last_wal_replay_lsn()::text, '')"
        )
        in_recovery, waits_for, replayed = self._row(system, f"ask {system}'s copy", look)
        with self._connect(system, "ncia_watch") as watching:
            try:
                found = watching.execute(NEWEST_CANARY).fetchone()
            except psycopg.Error as error:
                what, hint = f"read {system}'s canary at its copy", "see that its server runs"
                raise Unreachable("recovery.no-server", what, _first_line(error), hint) from error
        return Replica(in_recovery, found[0] if found else None, replayed, waits_for)

    def in_recovery(self, system: SystemId) -> bool:
        return bool(self._row(system, f"see whether {system} is promoted", "select pg_is_in_recovery()")[0])

    def promote(self, system: SystemId) -> None:
        try:
            self._row(system, f"promote {system}", "select pg_promote(false)")
        except NciaError as error:
            if not isinstance(error.__cause__, psycopg.errors.ObjectNotInPrerequisiteState):  # it is a primary already
                raise

    def synchronous_standby_names(self, system: SystemId) -> str:
        what = f"see whom {system}'s commits wait for"
        return str(self._row(system, what, "select current_setting('synchronous_standby_names')")[0])

    def clear_synchronous(self, system: SystemId) -> None:
        self.set_synchronous(system, NOBODY)

    def set_synchronous(self, system: SystemId, names: str) -> None:
        what = f"let {system}'s commits wait for {names or 'nobody'}"
        setting = sql.SQL("alter system set synchronous_standby_names = {}").format(sql.Literal(names))
        self._run(system, what, lambda c: c.execute(setting))
        self._row(system, what, "select pg_reload_conf()")

    def seen(self, system: SystemId) -> Seen | None:
        what = f"see who keeps {system}'s commits"
        found = self._run(system, what, lambda c: c.execute(KEEPERS).fetchall())
        if not found:
            return None
        keepers = tuple(
            Keeper(name, state, sync_state, lsn_number(flushed), float(silent))
            for _, _, name, state, sync_state, flushed, silent in found
            if name is not None
        )
        return Seen(found[0][0], lsn_number(found[0][1]), keepers)

    def require_synchronous(self, system: SystemId, names: str) -> None:
        self.set_synchronous(system, names)

    def replayed_lsn(self, system: SystemId) -> str:
        look = (
            "select case when pg_is_in_recovery() then coalesce(pg_last_wal_replay_lsn(), '0/0')"
            " else pg_current_wal_lsn() end::text"
        )
        return str(self._row(system, f"see how far {system}'s copy has replayed", look)[0])

    def detach(self, system: SystemId) -> None:
        self._follow(system, f"detach {system}'s copy from its primary", DETACHED)

    def attach(self, system: SystemId) -> None:
        self._follow(system, f"attach {system}'s copy to its primary again", "")

    def _follow(self, system: SystemId, what: str, ending: str) -> None:
        before = str(self._row(system, what, "select current_setting('primary_conninfo')")[0])
        wanted = before.removesuffix(DETACHED) + ending
        if wanted != before:
            told = sql.SQL("alter system set primary_conninfo = {}").format(sql.Literal(wanted))
            self._run(system, what, lambda c: c.execute(told))
            self._row(system, what, "select pg_reload_conf()")

    def written_lsn(self, system: SystemId) -> str:
        return str(self._row(system, f"see how far {system} has written", "select pg_current_wal_flush_lsn()")[0])

    def streams_to(self, system: SystemId, standby: SiteId) -> bool:
        query = "select 1 from pg_stat_replication where application_name = %s and state = 'streaming'"
        what = f"see whether {standby} follows {system}"
        return self._run(system, what, lambda c: c.execute(query, (standby,)).fetchone()) is not None

    def close(self) -> None:
        with self._lock:
            kept, self._kept = list(self._kept.values()), {}
        for connection in kept:
            connection.close()

    def _row(self, system: SystemId, what: str, query: str) -> tuple[Any, ...]:
        row: tuple[Any, ...] | None = self._run(system, what, lambda c: c.execute(query.encode()).fetchone())
        if row is None:
            raise NciaError("recovery.postgresql", what, "the server answered no row")
        return row

    def _run(self, system: SystemId, what: str, act: Callable[[psycopg.Connection[Any]], T]) -> T:
        """``act`` on the kept connection; one that has died meanwhile is made anew, once."""
        with self._lock:
            kept = self._kept.pop(system, None)
        if kept is not None:
            try:
                return self._keep(system, kept, act(kept))
            except psycopg.OperationalError:
                kept.close()
            except psycopg.Error as error:
                raise _refused(what, error) from error
        try:
            fresh = self._connect(system, "ncia_recover")
            return self._keep(system, fresh, act(fresh))
        except psycopg.OperationalError as error:
            raise Unreachable("recovery.no-server", what, _first_line(error), "see that its server runs") from error
        except psycopg.Error as error:
            raise _refused(what, error) from error

    def _keep(self, system: SystemId, connection: psycopg.Connection[Any], result: T) -> T:
        with self._lock:
            other = self._kept.get(system)
            self._kept[system] = connection
        if other is not None:
            other.close()
        return result

    def _connect(self, system: SystemId, role: str) -> psycopg.Connection[Any]:
        dataset = self._estate.systems[system].postgres
        server = self._estate.seen(dataset.copies[self._site].server, self._site, self._viewer)
        try:
            return psycopg.connect(
                host=server.host,
                port=server.port,
                dbname=dataset.database,
                user=role,
                passfile=str(self._passfile),
                connect_timeout=CONNECT_SECONDS,
                application_name="ncia recovery",
                client_encoding="utf8",
                options=f"-c statement_timeout={STATEMENT_MS}",
                autocommit=True,
            )
        except psycopg.OperationalError as error:
            what, hint = f"reach {system}'s server at {server}", "see that its server runs"
            raise Unreachable("recovery.no-server", what, _first_line(error), hint) from error


def _refused(what: str, error: psycopg.Error) -> NciaError:
    return NciaError("recovery.postgresql", what, _first_line(error))


def _first_line(error: Exception) -> str:
    """libpq's message without its hints; it never holds a password."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
