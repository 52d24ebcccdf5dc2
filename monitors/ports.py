"""What watching needs from the world: a way to look, and somebody to tell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from ncia.core.base.ids import SiteId, Subject, SystemId

CANARY_PHASE_SECONDS = 0.0
LOOK_PHASE_SECONDS = 0.15
REPORT_PHASE_SECONDS = 0.25
"""The rhythm of each second, by the sites' clocks: canaries are written on the second, looked for at the other site
when they have had time to arrive, and told when they have been seen. What would be lost is then known a quarter of a
second after each canary; in any other order it would be known up to two seconds late."""


class Outcome(StrEnum):
    """What one look found."""

    GOOD = "good"
    DEGRADED = "degraded"
    BAD = "bad"
    BLIND = "blind"  # nothing can be said: the means of looking failed, not what was looked at
    RETIRED = "retired"  # not to be looked at from here (any more): a system became active elsewhere


@dataclass(frozen=True)
class Look:
    """One look at one subject. ``at`` is when it began; ``code`` names the kind of finding and is stable, so that a
    new kind under the same verdict is told as well; ``evidence`` is one clause for a person."""

    subject: Subject
    outcome: Outcome
    code: str
    evidence: str
    at: datetime


@dataclass(frozen=True)
class Measure:
    """A number that a look brought home: ``canary_age_seconds`` of ``replica:<system>@<site>``."""

    subject: Subject
    name: str
    value: float
    at: datetime

    def to_json(self) -> dict[str, Any]:
        from ncia.core.base.clock import to_text

        return {"subject": self.subject, "name": self.name, "value": self.value, "at": to_text(self.at)}


@dataclass(frozen=True)
class Findings:
    """What one turn of a probe brought: looks at one or several subjects, and measures."""

    looks: tuple[Look, ...] = ()
    measures: tuple[Measure, ...] = ()


class Probe(Protocol):
    """One way of looking at one target. A probe keeps its own connection and shares nothing."""

    name: str
    interval_seconds: float
    phase_seconds: float | None  # at which moment of each interval by the clock a turn begins; None: as it falls
    turns_at_once: int  # how many turns may be under way together: a swallowed look must not delay the next one

    async def turn(self) -> Findings:
        """Look once. Ends within the probe's absolute time-out, whatever the target does, and never raises for
        anything that the target did: a failure is a look."""
        ...

    async def close(self) -> None: ...


class Reporter(Protocol):
    """The way to one controller."""

    name: str

    @property
    def connected(self) -> bool:
        """Whether the last report went through and the connection is still there; false: the controller may be a
        new one that knows nothing."""
        ...

    async def send(self, body: bytes) -> None:
        """Deliver one report; raises :class:`ncia.core.base.errors.Unreachable` where it was not taken in time."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Standing:
    """Where a system is active, by the site's own lease file. ``writable``: its lease's deadline has not passed."""

    site: SiteId
    epoch: int
    writable: bool


class Roles(Protocol):
    """What the site itself knows of who is active where."""

    def of(self, system: SystemId) -> Standing | None:
        """``None`` where it is not known (no lease file, or none at this site)."""
        ...
