"""What is known, as frozen facts: what a fold of the journal is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ncia.core.journal.entries import (
    AlertAcked,
    BackupFailed,
    BackupFinished,
    BackupStarted,
    FindingChanged,
    FindingOpened,
    IncidentChanged,
    IncidentOpened,
    MirrorChanged,
    PointBrought,
    PointCopied,
    PointRehashed,
    ProgramBrought,
    ProgramCaptured,
    ProgramCompared,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    RunMissed,
)
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    PlanMade,
    RunEnded,
    RunResumed,
    RunStarted,
    RunStopped,
    RunSworn,
    StepEnded,
    StepIntended,
    StepUndone,
)
from ncia.core.journal.entry import Entry


@dataclass(frozen=True)
class Incident:
    """``now`` is its newest description; ``closed_at`` is None while it is open."""

    id: str
    opened_at: datetime
    opened_by: str  # the site whose journal opened it
    now: IncidentOpened | IncidentChanged
    ack: AlertAcked | None = None
    closed_at: datetime | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        return self.closed_at is None


@dataclass(frozen=True)
class Finding:
    """An attack that a detection rule saw. ``site`` is whose logs told it; ``closed_at`` is None while it goes on."""

    id: str
    site: str
    opened_at: datetime
    now: FindingOpened | FindingChanged
    closed_at: datetime | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        return self.closed_at is None


@dataclass(frozen=True)
class ProgramFact:
    """What is known of a dataset's program: the newest comparison of its two sites, and the newest copy."""

    compared: ProgramCompared | None = None
    compared_at: datetime | None = None
    captured: ProgramCaptured | None = None
    captured_at: datetime | None = None


@dataclass(frozen=True)
class Proof:
    """The newest attempt to restore a recovery point and compare it with its source."""

    at: datetime
    outcome: ProofFinished | ProofFailed

    @property
    def matched(self) -> bool:
        return isinstance(self.outcome, ProofFinished) and self.outcome.matched


@dataclass(frozen=True)
class Reread:
    """The newest time that every byte of a recovery point was read again where it is kept."""

    at: datetime
    outcome: PointRehashed


@dataclass(frozen=True)
class RecoveryPoint:
    """A restorable moment. ``proof`` is its newest proof; a point counts once it is ``proven``, and no longer when its
    bytes were found to have changed since."""

    id: str
    dataset: str
    at: datetime
    backup: BackupFinished
    proof: Proof | None = None
    reread: Reread | None = None

    @property
    def damaged(self) -> bool:
        """Its bytes are not those that were written: the newest reading's word, unless a later proof matched."""
        return (
            self.reread is not None
            and not self.reread.outcome.matched
            and not (self.proof is not None and self.proof.matched and self.proof.at > self.reread.at)
        )

    @property
    def proven(self) -> bool:
        return self.proof is not None and self.proof.matched and not self.damaged


@dataclass(frozen=True)
class PointCopy:
    """A recovery point that lies in a second store as well."""

    at: datetime
    copied: PointCopied


@dataclass(frozen=True)
class Brought:
    """What came back out of an agency's repository into a store."""

    at: datetime
    body: PointBrought | ProgramBrought


@dataclass(frozen=True)
class Job:
    """A backup or proof that was started; ``ended`` is None while nothing is known of its end."""

    id: str
    site: str  # whose controller does it
    started_at: datetime
    started: BackupStarted | ProofStarted
    ended_at: datetime | None = None
    ended: BackupFinished | BackupFailed | ProofFinished | ProofFailed | None = None


@dataclass(frozen=True)
class Missed:
    at: datetime
    run: RunMissed


@dataclass(frozen=True)
class MirrorState:
    """What was last written of one mirror, and when."""

    at: datetime
    body: MirrorChanged


@dataclass(frozen=True)
class Step:
    """Everything that was written about one step of a run, in order; a crash leaves more intents than ends."""

    id: str
    intents: tuple[StepIntended, ...] = ()
    ends: tuple[StepEnded, ...] = ()
    undone: StepUndone | None = None
    intended_at: datetime | None = None  # the first intent
    ended_at: datetime | None = None  # the newest end

    @property
    def finished(self) -> bool:
        return bool(self.ends) and self.ends[-1].outcome in ("done", "already") and self.undone is None

    @property
    def in_flight(self) -> bool:
        """Intended and not ended: what came of it is not known."""
        return bool(self.intents) and (not self.ends or self.ends[-1].attempt < self.intents[-1].attempt)

    @property
    def attempts(self) -> int:
        return self.intents[-1].attempt if self.intents else 0


@dataclass(frozen=True)
class Run:
    """One execution of a runbook. ``log`` holds its entries in causal order: an engine rebuilds itself from it."""

    id: str
    plan: PlanMade
    planned_at: datetime
    planned_at_site: str
    approvals: tuple[ApprovalGiven, ...] = ()
    refusals: tuple[ApprovalRefused, ...] = ()
    started: RunStarted | None = None
    started_at: datetime | None = None
    stopped: RunStopped | None = None  # None again after it was resumed
    resumed: RunResumed | None = None
    sworn: RunSworn | None = None
    ended: RunEnded | None = None
    ended_at: datetime | None = None
    steps: Mapping[str, Step] = field(default_factory=dict)
    log: tuple[Entry, ...] = ()

    @property
    def site(self) -> str | None:
        """The site whose controller carries it out: the one that started it, or took it over last."""
        if self.resumed is not None:
            return self.resumed.site
        return self.started.site if self.started is not None else None

    @property
    def open(self) -> bool:
        """Started and not ended."""
        return self.started is not None and self.ended is None

    @property
    def status(self) -> str:
        """``planned``, ``running``, ``stopped``, or how it ended."""
        if self.ended is not None:
            return self.ended.outcome
        if self.stopped is not None:
            return "stopped"
        return "running" if self.started is not None else "planned"

    def people(self) -> frozenset[str]:
        """Who approved this plan's hash."""
        return frozenset(each.person for each in self.approvals if each.plan_hash == self.plan.plan_hash)


@dataclass(frozen=True)
class SyncChange:
    """Whether a synchronous system's commits wait for the other site, by the newest entry that says so."""

    waits: bool
    at: datetime  # since when
    site: str
    reason: str = ""
