"""The canary of a file tree or bucket: written where its system is active, read back at the other site's copy.

Stores block, so they are asked in bounded threads; one question at a time, and one that does not end in time is a bad
look and is waited for further. A mirror does not stream, it takes turns: what would be lost is told by the worst of the
last looks, not by a lucky one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitors.ports import CANARY_PHASE_SECONDS, LOOK_PHASE_SECONDS, Findings, Look, Measure, Outcome, Roles, Standing
from monitors.probes.postgres import CLOCKS_DIFFER, Patience, StillWaiting
from ncia.core.base.clock import CANARY_AHEAD_SECONDS_MAX, Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, Subject, SystemId
from ncia.core.work.documents import MARK, Documents, Mark

FRESH_SECONDS_MIN = 5.0  # a mark younger than this is fresh whatever the promise says
DIRECT_SECONDS_MAX = 15.0  # where acts wait for both sites, the mark tells of the way there, and not of a loss
LOOKS_KEPT = 5
LOOK_SECONDS = 1.0  # between looks at the copy: more of them would tell nothing new of the mirror
CLAUSE_LENGTH_MAX = 160


@dataclass(frozen=True)
class Watched:
    """One dataset's copy at this site. ``rpo_seconds`` 0: its acts wait for both sites."""

    dataset: str
    system: SystemId
    site: SiteId
    store: Documents
    rpo_seconds: float
    canary_interval_seconds: float

    @property
    def allowed_seconds(self) -> float:
        return max(FRESH_SECONDS_MIN, self.rpo_seconds) if self.rpo_seconds else DIRECT_SECONDS_MAX


class _Asking:
    """Questions to a store, one at a time, each in a thread."""

    turns_at_once = 1

    def __init__(self, watched: Watched, timeout_seconds: float, clock: Clock, roles: Roles, threads: Executor) -> None:
        self._watched = watched
        self._clock = clock
        self._roles = roles
        self._threads = threads
        self._patience = Patience(timeout_seconds, lambda: None)  # a store's own time-outs end what hangs

    async def close(self) -> None:
        await self._patience.close()

    async def _ask(self, work: Callable[[], Any]) -> Any:
        return await self._patience.wait_for(lambda: asyncio.get_running_loop().run_in_executor(self._threads, work))


class MarkProbe(_Asking):
    """Writes the canary of a file tree or bucket while its system is active here; ``mark:…`` is whether it was made."""

    phase_seconds: float | None = CANARY_PHASE_SECONDS

    def __init__(self, watched: Watched, timeout_seconds: float, clock: Clock, roles: Roles, threads: Executor) -> None:
        super().__init__(watched, timeout_seconds, clock, roles, threads)
        self.name = f"mark:{watched.dataset}@{watched.site}"
        self.interval_seconds = watched.canary_interval_seconds
        self._mark = Subject(self.name)

    async def turn(self) -> Findings:
        at, standing = self._clock.now(), self._roles.of(self._watched.system)
        if standing is None:
            return Findings()
        if standing.site != self._watched.site:
            return Findings((Look(self._mark, Outcome.RETIRED, "active-elsewhere", "not written here", at),))
        return Findings((await self._write(standing, at),))

    async def _write(self, standing: Standing, at: datetime) -> Look:
        if not standing.writable:
            return Look(self._mark, Outcome.BLIND, "fenced", "the site's lease has run out: nothing is written", at)
        content = Mark(at, standing.epoch).to_bytes()
        try:
            await self._ask(lambda: self._watched.store.put(MARK, content))
        except (NciaError, StillWaiting) as error:
            why = f"{self._watched.store.where} took no canary: {_clause(error)}"
            return Look(self._mark, Outcome.BAD, "not-written", why, at)
        return Look(self._mark, Outcome.GOOD, "ok", "the canary is written", at)


class MirrorProbe(_Asking):
    """Reads the canary back while the system is active elsewhere; ``mirror:…`` is how old it is here."""

    phase_seconds: float | None = LOOK_PHASE_SECONDS

    def __init__(self, watched: Watched, timeout_seconds: float, clock: Clock, roles: Roles, threads: Executor) -> None:
        super().__init__(watched, timeout_seconds, clock, roles, threads)
        self.name = f"mirror:{watched.dataset}@{watched.site}"
        self.interval_seconds = LOOK_SECONDS
        self._ages: deque[float] = deque(maxlen=LOOKS_KEPT)
        self._mirror = Subject(self.name)

    async def turn(self) -> Findings:
        at, standing = self._clock.now(), self._roles.of(self._watched.system)
        if standing is None:
            why = "it is not known where the system is active"
            return Findings((Look(self._mirror, Outcome.BLIND, "no-role", why, at),))
        if standing.site == self._watched.site:
            self._ages.clear()
            return Findings((Look(self._mirror, Outcome.RETIRED, "active-here", "the system is active here", at),))
        return await self._read(at)

    async def _read(self, at: datetime) -> Findings:
        try:
            content = await self._ask(lambda: self._watched.store.get(MARK))
        except (NciaError, StillWaiting) as error:
            why = f"{self._watched.store.where} cannot be read: {_clause(error)}"
            return Findings((Look(self._mirror, Outcome.BAD, "not-read", why, at),))
        mark = Mark.from_bytes(content) if isinstance(content, bytes) else None
        if mark is None:
            why = f"{self._watched.store.where} holds no canary"
            return Findings((Look(self._mirror, Outcome.BAD, "no-mark", why, at),))
        age = (self._clock.now() - mark.written_at).total_seconds()
        if age < -CANARY_AHEAD_SECONDS_MAX:
            self._ages.clear()
            why = f"the newest canary at {self._watched.store.where} is dated {-age:.0f} s after the time of day here"
            return Findings((Look(self._mirror, Outcome.BLIND, "clock", f"{why}: {CLOCKS_DIFFER}", at),))
        return self._aged(round(max(0.0, age), 3), at)

    def _aged(self, age: float, at: datetime) -> Findings:
        self._ages.append(age)
        allowed = self._watched.allowed_seconds
        told = f"the newest canary at {self._watched.store.where} is {age:.1f} s old, {allowed:g} s are allowed"
        outcome, code = Outcome.GOOD, "fresh"
        if age > allowed:
            outcome, code = Outcome.BAD, "behind"
        elif age > FRESH_SECONDS_MIN:
            outcome, code = Outcome.DEGRADED, "late"
        loss = round(max(self._ages) + self._watched.canary_interval_seconds, 3)
        measures = (
            Measure(self._mirror, "canary_age_seconds", age, at),
            Measure(self._mirror, "predicted_loss_seconds", loss, at),
        )
        return Findings((Look(self._mirror, outcome, code, told, at),), measures)


def _clause(error: Exception) -> str:
    return (error.why if isinstance(error, NciaError) else str(error))[:CLAUSE_LENGTH_MAX]
