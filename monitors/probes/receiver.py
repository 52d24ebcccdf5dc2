"""Looks at the other site's WAL receiver as the primary here sees it: it is the primary that counts it, or does not.

Measured at the primary and not at the receiver: bytes that a receiver believes to hold say nothing about those that
it was never sent.
"""

from __future__ import annotations

from datetime import datetime

import psycopg

from monitors.ports import Findings, Look, Measure, Outcome, Roles
from monitors.probes.postgres import Patience, Server, StillWaiting
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, Subject, SystemId

SILENT_SECONDS_MAX = 3.0
BEHIND_BYTES_MAX = 16 << 20  # one segment of the usual size
CLAUSE_LENGTH_MAX = 160
Row = tuple[bool, int, float]

LOOK = b"""SELECT r.application_name = %s AND r.state = 'streaming',
  greatest(0, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), coalesce(r.flush_lsn, '0/0')))::int8,
  coalesce(extract(epoch FROM clock_timestamp() - r.reply_time), 1e9)::float8
FROM pg_stat_replication r WHERE r.application_name IN (%s, %s) AND NOT pg_is_in_recovery()
ORDER BY 1 DESC"""


class ReceiverProbe:
    """``receiver:<system>@<peer>`` while the system is active at this site. ``counted`` is the name for which commits
    wait, ``joining`` the one under which a receiver catches up."""

    phase_seconds: float | None = None
    turns_at_once = 1

    def __init__(
        self,
        system: SystemId,
        site: SiteId,
        peer: SiteId,
        names: tuple[str, str],
        server: Server,
        pace: tuple[float, float, Clock],
        roles: Roles,
    ) -> None:
        self.name = f"receiver:{system}@{peer}"
        self.interval_seconds, timeout_seconds, self._clock = pace
        self._subject = Subject(self.name)
        self._system, self._site, self._peer = system, site, peer
        self._counted, self._joining = names
        self._server = server
        self._roles = roles
        self._patience = Patience(timeout_seconds, server.shut)

    async def turn(self) -> Findings:
        at = self._clock.now()
        standing = self._roles.of(self._system)
        if standing is None:
            return self._look(Outcome.BLIND, "no-role", "it is not known where the system is active", at)
        if standing.site != self._site:
            return self._look(Outcome.RETIRED, "active-elsewhere", f"the system is active at {standing.site}", at)
        try:
            rows = await self._patience.wait_for(
                lambda: self._server.rows(LOOK, self._counted, self._counted, self._joining)
            )
        except (psycopg.Error, StillWaiting, OSError) as error:
            why = (str(error).strip() or type(error).__name__).splitlines()[0][:CLAUSE_LENGTH_MAX]
            return self._look(Outcome.BLIND, "no-primary", f"{self._server.where} does not say: {why}", at)
        return self._judged(rows[0] if rows else None, at)

    async def close(self) -> None:
        await self._patience.close()
        await self._server.close()

    def _judged(self, row: Row | None, at: datetime) -> Findings:
        if row is None:
            return self._look(Outcome.BAD, "absent", f"no receiver of {self._peer} is connected to the primary", at)
        counted, behind, silent = row
        measures = (
            Measure(self._subject, "behind_bytes", float(behind), at),
            Measure(self._subject, "silent_seconds", round(silent, 3), at),
        )
        if silent > SILENT_SECONDS_MAX:
            why = f"the receiver of {self._peer} has not spoken for {silent:.1f} s"
            return self._look(Outcome.BAD, "silent", why, at, measures)
        if not counted:
            why = f"the receiver of {self._peer} catches up, no commit waits for it yet"
            return self._look(Outcome.DEGRADED, "joining", why, at, measures)
        if behind > BEHIND_BYTES_MAX:
            why = f"the receiver of {self._peer} is {behind} bytes behind the primary"
            return self._look(Outcome.DEGRADED, "behind", why, at, measures)
        return self._look(Outcome.GOOD, "keeps", f"the receiver of {self._peer} keeps every commit", at, measures)

    def _look(
        self, outcome: Outcome, code: str, why: str, at: datetime, measures: tuple[Measure, ...] = ()
    ) -> Findings:
        return Findings((Look(self._subject, outcome, code, why, at),), measures)
