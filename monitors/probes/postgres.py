"""Looks at PostgreSQL: does the server answer, how old is the newest canary at the replica; and the canary's writer.

Each probe keeps one connection of its own with at most one statement under way. Nothing is ever cancelled: a statement
that does not end in time is a bad look, is waited for further, and after :data:`ABANDON_SECONDS` its socket is shut, so
that the server's own end decides. The canary is written with ``synchronous_commit = local``: it measures what the
standby has been *shipped*; with the wait for the standby it would hang exactly when there is something to measure.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from monitors.ports import CANARY_PHASE_SECONDS, LOOK_PHASE_SECONDS, Findings, Look, Measure, Outcome, Roles
from monitors.probes import slots
from ncia.core.base.clock import CANARY_AHEAD_SECONDS_MAX, Clock
from ncia.core.base.ids import SiteId, Subject, SystemId
from ncia.core.estate.model import Address

ABANDON_SECONDS = 10.0
CONNECT_SECONDS = 3
ROLE = "ncia_watch"
FRESH_SECONDS_MIN = 3.0  # a canary younger than this is fresh whatever the promise says
CLAUSE_LENGTH_MAX = 160
CLOCKS_DIFFER = "the sites' clocks differ, and the lag is not known"

ALIVE = b"SELECT 1"
READ = b"""SELECT extract(epoch FROM clock_timestamp() - written_at)::float8, epoch
FROM ncia.canary WHERE id = 1"""
WRITE = b"UPDATE ncia.canary SET written_at = clock_timestamp(), epoch = %s WHERE id = 1"


def conninfo(server: Address, database: str, passfile: Path) -> str:
    """How to reach a server as the watching role; the password is looked up by libpq and never held by us."""
    return make_conninfo(
        host=server.host,
        port=server.port,
        dbname=database,
        user=ROLE,
        passfile=str(passfile),
        application_name="ncia-agent",
        sslmode="prefer",
        tcp_user_timeout=3000,
    )


class Server:
    """One connection to one server, opened when first needed and again after a failure."""

    def __init__(self, conninfo: str, where: str, *setup: bytes) -> None:
        self.where = where
        self._conninfo = conninfo
        self._setup = setup
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def rows(self, statement: bytes, *values: object) -> list[tuple[Any, ...]]:
        """Carry out one statement; raises ``psycopg.Error``, after which the next call opens a new connection
        unless the server only refused the statement."""
        connection = self._connection
        if connection is None or connection.closed:
            connection = await self._open()
        cursor = await connection.execute(statement, values or None)
        return await cursor.fetchall() if cursor.description else [(cursor.rowcount,)]

    def shut(self) -> None:
        """Shut the socket under a statement that never ends; its waiting then fails by itself."""
        if self._connection is not None and not self._connection.closed:
            with contextlib.suppress(OSError), socket.socket(fileno=self._connection.fileno()) as borrowed:
                try:
                    borrowed.shutdown(socket.SHUT_RDWR)
                finally:
                    borrowed.detach()

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _open(self) -> psycopg.AsyncConnection[Any]:
        await self.close()
        connection = await psycopg.AsyncConnection.connect(
            self._conninfo, autocommit=True, connect_timeout=CONNECT_SECONDS, prepare_threshold=0
        )
        self._connection = connection
        for statement in self._setup:
            await connection.execute(statement)
        return connection


class Patience:
    """Runs one thing at a time and waits for it only so long; what has not ended is found again at the next turn."""

    def __init__(self, timeout_seconds: float, abandon: Callable[[], None]) -> None:
        self._timeout_seconds = timeout_seconds
        self._abandon = abandon
        self._task: asyncio.Task[Any] | None = None
        self._began = 0.0

    async def wait_for(self, work: Callable[[], Awaitable[Any]]) -> Any:
        """The result of ``work``, or of the call still under way; raises what it raised, or :class:`StillWaiting`."""
        loop = asyncio.get_running_loop()
        if self._task is None:
            self._task, self._began = asyncio.ensure_future(work()), loop.time()
        elif loop.time() - self._began > ABANDON_SECONDS:
            self._abandon()
        done, _ = await asyncio.wait((self._task,), timeout=self._timeout_seconds)
        if not done:
            raise StillWaiting(loop.time() - self._began)
        ended, self._task = self._task, None
        return ended.result()

    async def close(self) -> None:
        if self._task is not None:
            self._abandon()
            await asyncio.wait((self._task,), timeout=self._timeout_seconds)


class StillWaiting(Exception):
    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer for {seconds:.1f} s")


class DatabaseProbe:
    """``db:…`` at its own site; where the system is active elsewhere, also ``replica:…`` by the canary's age; now and
    then ``slots:…``, whether it keeps WAL that nobody reads."""

    phase_seconds: float | None = LOOK_PHASE_SECONDS
    turns_at_once = 1

    def __init__(
        self,
        system: SystemId,
        site: SiteId,
        server: Server,
        rpo_seconds: float,
        canary_interval_seconds: float,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
        roles: Roles,
        kept_bytes_max: int = slots.KEPT_BYTES_MAX,
    ) -> None:
        self.name = f"db:{system}@{site}"
        self.interval_seconds = interval_seconds
        self._system = system
        self._site = site
        self._server = server
        self._fresh_seconds = max(FRESH_SECONDS_MIN, canary_interval_seconds * 2)
        self._allowed_seconds = max(self._fresh_seconds, rpo_seconds)
        self._canary_interval_seconds = canary_interval_seconds
        self._clock = clock
        self._roles = roles
        self._patience = Patience(timeout_seconds, server.shut)
        self._db = Subject(self.name)
        self._replica = Subject(f"replica:{system}@{site}")
        self._slots = slots.subject(system, site)
        self._kept_bytes_max = kept_bytes_max
        self._slots_due = 0.0
        self._asking_slots = Patience(timeout_seconds, server.shut)  # a late answer is not taken for another question's

    async def turn(self) -> Findings:
        found = await self._look()
        if not any(look.subject == self._db and look.outcome is Outcome.GOOD for look in found.looks):
            return found
        kept = await self._look_at_slots()
        return found if kept is None else Findings((*found.looks, kept), found.measures)

    async def _look_at_slots(self) -> Look | None:
        now = asyncio.get_running_loop().time()
        if now < self._slots_due:
            return None
        try:
            rows = await self._asking_slots.wait_for(lambda: self._server.rows(slots.UNREAD))
        except (psycopg.Error, StillWaiting, OSError):
            return None  # what the server does not answer now is asked at the next turn, and told of the database
        self._slots_due = now + slots.LOOK_SECONDS
        return slots.judged(self._slots, rows, self._clock.now(), self._kept_bytes_max)

    async def _look(self) -> Findings:
        at = self._clock.now()
        standing = self._roles.of(self._system)
        here = standing is not None and standing.site == self._site
        try:
            rows = await self._patience.wait_for(lambda: self._server.rows(ALIVE if here else READ))
        except psycopg.Error as error:
            return Findings(self._failed(error, here, at))
        except (StillWaiting, OSError) as error:
            return Findings(self._silent(str(error), here, at))
        up = Look(self._db, Outcome.GOOD, "ok", f"{self._server.where} answers", at)
        if here:
            return Findings((up, Look(self._replica, Outcome.RETIRED, "active-here", "the system is active here", at)))
        if standing is None:
            why = "it is not known where the system is active"
            return Findings((up, Look(self._replica, Outcome.BLIND, "no-role", why, at)))
        if not rows or len(rows[0]) != len(("age", "epoch")):
            # no row, or the answer to the question of a moment ago, when the system was active here
            return Findings((up, Look(self._replica, Outcome.BAD, "no-row", "the replica has no canary row", at)))
        return self._aged(up, float(rows[0][0]), at)

    async def close(self) -> None:
        await self._patience.close()
        await self._asking_slots.close()
        await self._server.close()

    def _aged(self, up: Look, age_seconds: float, at: datetime) -> Findings:
        if age_seconds < -CANARY_AHEAD_SECONDS_MAX:
            why = f"the newest canary at the replica is dated {-age_seconds:.0f} s after its own time of day"
            return Findings((up, Look(self._replica, Outcome.BLIND, "clock", f"{why}: {CLOCKS_DIFFER}", at)))
        age = round(max(0.0, age_seconds), 3)
        told = f"the newest canary at the replica is {age:.1f} s old, {self._allowed_seconds:g} s are allowed"
        outcome, code = Outcome.GOOD, "fresh"
        if age > self._allowed_seconds:
            outcome, code = Outcome.BAD, "behind"
        elif age > self._fresh_seconds:
            outcome, code = Outcome.DEGRADED, "late"
        measures = (
            Measure(self._replica, "canary_age_seconds", age, at),
            Measure(self._replica, "predicted_loss_seconds", round(age + self._canary_interval_seconds, 3), at),
        )
        return Findings((up, Look(self._replica, outcome, code, told, at)), measures)

    def _failed(self, error: psycopg.Error, here: bool, at: datetime) -> tuple[Look, ...]:
        if error.sqlstate is None:  # no server spoke: it refused, hung up, or is not there
            return self._silent(_first_line(error), here, at)
        why = f"{self._server.where} answers, but: {_first_line(error)}"
        if error.sqlstate.startswith(("57P", "53", "28")):  # shutting down, out of resources, does not let us in
            return (Look(self._db, Outcome.BAD, f"sql-{error.sqlstate}", why, at), *self._blind(here, at))
        up = Look(self._db, Outcome.GOOD, "ok", f"{self._server.where} answers", at)
        return (up,) if here else (up, Look(self._replica, Outcome.BAD, f"sql-{error.sqlstate}", why, at))

    def _silent(self, why: str, here: bool, at: datetime) -> tuple[Look, ...]:
        down = Look(self._db, Outcome.BAD, "no-answer", f"{self._server.where}: {why}", at)
        return (down, *self._blind(here, at))

    def _blind(self, here: bool, at: datetime) -> tuple[Look, ...]:
        if here:
            return ()
        return (Look(self._replica, Outcome.BLIND, "db-down", "the replica's server does not answer", at),)


class CanaryProbe:
    """Writes the canary of a system while it is active at this site; ``canary:…`` is whether the mark was made."""

    phase_seconds: float | None = CANARY_PHASE_SECONDS
    turns_at_once = 1

    def __init__(
        self,
        system: SystemId,
        site: SiteId,
        server: Server,
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
        roles: Roles,
    ) -> None:
        self.name = f"canary:{system}@{site}"
        self.interval_seconds = interval_seconds
        self._subject = Subject(self.name)
        self._system = system
        self._site = site
        self._server = server
        self._clock = clock
        self._roles = roles
        self._patience = Patience(timeout_seconds, server.shut)

    async def turn(self) -> Findings:
        at = self._clock.now()
        standing = self._roles.of(self._system)
        if standing is None or standing.site != self._site:
            return Findings((Look(self._subject, Outcome.RETIRED, "active-elsewhere", "not written here", at),))
        if not standing.writable:  # past the lease's deadline nobody writes here, the canary neither
            why = "the site's lease has run out: nothing is written"
            return Findings((Look(self._subject, Outcome.BLIND, "fenced", why, at),))
        try:
            rows = await self._patience.wait_for(lambda: self._server.rows(WRITE, standing.epoch))
        except (psycopg.Error, StillWaiting, OSError) as error:
            why = f"{self._server.where} took no canary: {_first_line(error)}"
            return Findings((Look(self._subject, Outcome.BAD, "not-written", why, at),))
        if rows[0][0] != 1:
            why = f"{self._server.where} has no canary row"
            return Findings((Look(self._subject, Outcome.BAD, "no-row", why, at),))
        return Findings((Look(self._subject, Outcome.GOOD, "ok", "the canary is written", at),))

    async def close(self) -> None:
        await self._patience.close()
        await self._server.close()


LOCAL_COMMIT = b"SET synchronous_commit = local"


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:CLAUSE_LENGTH_MAX]
