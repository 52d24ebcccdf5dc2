"""What a diagnosis is made from: what each agent that speaks sees now, and what the schedule and proofs lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.journal.entries import Verdict
from ncia.core.state.facts import Finding


@dataclass(frozen=True)
class Sight:
    """One agent's verdict on one subject. ``since``: when the first look that led to it began."""

    verdict: Verdict
    since: datetime
    evidence: str = ""


@dataclass(frozen=True)
class Vantage:
    """An agent that speaks. ``doubts``: subjects whose last look was worse than their verdict, which still stands."""

    heard_at: datetime
    sights: Mapping[str, Sight]
    doubts: frozenset[str] = frozenset()

    def verdict(self, subject: str) -> Verdict:
        sight = self.sights.get(subject)
        return sight.verdict if sight else "unknown"


@dataclass(frozen=True)
class Lack:
    """A run that was missed, a proof that failed, a copy that is in no repository, a program that differs, or a mirror
    that does, of a dataset; an agency's repository that does not hold what is expected there, or is damaged, or forgets
    nothing (``<agency>@<site>``); or what a controller lacks itself: a word for its journal, a new certificate.
    ``why`` is one clause."""

    kind: str  # "backup", "proof", "keep", "program", "mirror", "snapshot", "forget", "vouch" or "certificate"
    dataset: str  # of a mirror: <dataset>@<site where it ends>; of the others: <voucher>, <holder>@<site>
    since: datetime
    why: str


@dataclass(frozen=True)
class Skew:
    """How far an agent's clock is ahead of this controller's (negative: behind); since when it is wrongly so far off,
    ``None`` where it is not."""

    seconds: float
    since: datetime | None = None


@dataclass(frozen=True)
class Evidence:
    """All that a controller knows at one moment. ``site`` is whose controller it is; ``silent`` are the agents that it
    does not hear, and since when; ``active`` says where each system is active; ``standing`` are the roots of the
    incidents that are open: what they explained is still theirs while nobody sees that they are over."""

    site: SiteId
    vantages: Mapping[SiteId, Vantage]
    silent: Mapping[SiteId, datetime] = field(default_factory=dict)
    active: Mapping[SystemId, SiteId] = field(default_factory=dict)
    lacks: tuple[Lack, ...] = ()
    standing: frozenset[str] = frozenset()
    findings: tuple[Finding, ...] = ()  # attacks that go on, as detection rules saw them
    clocks: Mapping[SiteId, Skew] = field(default_factory=dict)  # of agents that were heard of late
