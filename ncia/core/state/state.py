"""The fold of the journal: what is known now, made of nothing but entries, in order.

``State.apply`` puts new values in place of old ones and never changes a container that it has given out: a shallow
copy is a snapshot for ever. What an entry means is said once, in the table ``MEANING`` (``meaning.py``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import (
    AlertAcked,
    ControllerStarted,
    EstateLoaded,
    JournalSworn,
    VerdictChange,
)
from ncia.core.journal.entries_care import StoreLooked
from ncia.core.journal.entries_people import (
    AccountSuspended,
    CertificateRevoked,
)
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    DivergenceListed,
    DocumentsStranded,
    PlanMade,
)
from ncia.core.journal.entry import Entry
from ncia.core.state.accounts import Session, Token
from ncia.core.state.facts import (
    Brought,
    Finding,
    Incident,
    Job,
    MirrorState,
    Missed,
    PointCopy,
    ProgramFact,
    Proof,
    RecoveryPoint,
    Run,
    SyncChange,
)
from ncia.core.state.meaning import MEANING
from ncia.core.state.repositories import LockFact, RepositoryFact, SnapshotFailure, Where

Verdicts = Mapping[str, VerdictChange]


@dataclass
class State:
    """``heads`` is how many entries of each log are folded in; ``last_at`` the time of the newest of them."""

    heads: Mapping[SiteId, int] = field(default_factory=dict)
    last_at: datetime | None = None
    controllers: Mapping[SiteId, ControllerStarted] = field(default_factory=dict)
    started: Mapping[SiteId, datetime] = field(default_factory=dict)  # when each site's controller last started
    heard_of: Mapping[SiteId, datetime] = field(default_factory=dict)  # the time of each log's newest entry
    estates: Mapping[SiteId, EstateLoaded] = field(default_factory=dict)
    sworn: Mapping[SiteId, JournalSworn] = field(default_factory=dict)  # by site: the newest oath in its log
    verdicts: Mapping[str, Verdicts] = field(default_factory=dict)  # by vantage, then subject
    heard: Mapping[str, datetime] = field(default_factory=dict)  # by vantage: its newest change
    incidents: Mapping[str, Incident] = field(default_factory=dict)
    findings: Mapping[str, Finding] = field(default_factory=dict)
    points: Mapping[str, tuple[RecoveryPoint, ...]] = field(default_factory=dict)  # by dataset, oldest first
    copies: Mapping[str, tuple[PointCopy, ...]] = field(default_factory=dict)  # by dataset, oldest first
    proven: Mapping[str, RecoveryPoint] = field(default_factory=dict)  # by dataset: the newest point that is proven
    proofs: Mapping[str, Proof] = field(default_factory=dict)  # by dataset: the newest proof, whatever it found
    jobs: Mapping[str, Job] = field(default_factory=dict)  # by job: the running ones and each dataset's newest
    programs: Mapping[str, ProgramFact] = field(default_factory=dict)  # by dataset
    missed: tuple[Missed, ...] = ()  # oldest first; a later run of the same work takes it off
    syncs: Mapping[str, SyncChange] = field(default_factory=dict)  # by system: the newest change
    mirrors: Mapping[tuple[str, str], MirrorState] = field(default_factory=dict)  # by dataset and target site
    repositories: Mapping[Where, RepositoryFact] = field(default_factory=dict)  # by agency and site
    holders: Mapping[str, frozenset[Where]] = field(default_factory=dict)  # by dataset: repositories with copies of it
    brought: Mapping[Where, tuple[Brought, ...]] = field(default_factory=dict)  # by dataset and store: the newest last
    snapshot_failures: Mapping[Where, SnapshotFailure] = field(default_factory=dict)  # by dataset and site
    aside: Mapping[str, StoreLooked] = field(default_factory=dict)  # by site: what is kept aside in its store
    locks_met: Mapping[tuple[str, str, str], LockFact] = field(default_factory=dict)  # by verb, dataset and site
    runs: Mapping[str, Run] = field(default_factory=dict)
    divergences: Mapping[str, DivergenceListed] = field(default_factory=dict)  # by system: the newest list
    stranded_documents: Mapping[str, DocumentsStranded] = field(default_factory=dict)  # by system: the newest list
    sessions: Mapping[str, Session] = field(default_factory=dict)  # by SHA-256 of its secret: those that hold
    tokens: Mapping[str, Token] = field(default_factory=dict)  # by SHA-256 of its secret
    suspended: Mapping[str, AccountSuspended] = field(default_factory=dict)  # by person
    revoked: Mapping[str, CertificateRevoked] = field(default_factory=dict)  # by the certificate's serial
    strays: int = 0  # entries that speak of something which no entry before them made

    @property
    def plans(self) -> Mapping[str, PlanMade]:
        """By run."""
        return {run.id: run.plan for run in self.runs.values()}

    @property
    def approvals(self) -> Mapping[str, tuple[ApprovalGiven, ...]]:
        """By run."""
        return {run.id: run.approvals for run in self.runs.values()}

    @property
    def acks(self) -> Mapping[str, AlertAcked]:
        """By incident, the open ones only."""
        return {each.id: each.ack for each in self.incidents.values() if each.open and each.ack is not None}

    def open_incidents(self) -> tuple[Incident, ...]:
        return tuple(each for each in self.incidents.values() if each.open)

    def open_findings(self) -> tuple[Finding, ...]:
        return tuple(each for each in self.findings.values() if each.open)

    def newest_proven(self, dataset: str) -> RecoveryPoint | None:
        return self.proven.get(dataset)

    def newest_point(self, dataset: str) -> RecoveryPoint | None:
        points = self.points.get(dataset)
        return points[-1] if points else None

    def point(self, dataset: str, point: str) -> RecoveryPoint | None:
        return next((each for each in reversed(self.points.get(dataset, ())) if each.id == point), None)

    def holds(self, dataset: str, point: str, store_site: str) -> bool:
        """Whether that store has the point, or a copy of it."""
        if any((each.id, each.backup.store_site) == (point, store_site) for each in self.points.get(dataset, ())):
            return True
        return any(each.copied.store_site == store_site for each in self.copies_of(dataset, point))

    def snapshots_of(self, dataset: str, subject: str) -> dict[SiteId, str]:
        """Where a recovery point, or a program's archive, is kept as a snapshot too: by site, which one."""
        places = {where[1]: self.repositories.get(where) for where in self.holders.get(dataset, ())}
        found = {SiteId(site): fact.kept_of(dataset, subject) for site, fact in places.items() if fact is not None}
        return {site: each.kept.snapshot for site, each in sorted(found.items()) if each is not None}

    def copies_of(self, dataset: str, point: str) -> tuple[PointCopy, ...]:
        """Where else the point lies."""
        return tuple(each for each in self.copies.get(dataset, ()) if each.copied.point == point)

    def copy(self) -> State:
        """A snapshot; costs the same whatever the state holds."""
        return copy.copy(self)

    def apply(self, entry: Entry) -> None:
        """Fold in one entry. Never fails on an entry that the journal accepted."""
        MEANING[entry.kind](self, entry, entry.body)
        self.heads = {**self.heads, entry.site: entry.number + 1}
        self.heard_of = {**self.heard_of, entry.site: entry.at}
        self.last_at = entry.at if self.last_at is None else max(self.last_at, entry.at)


def fold(entries: Iterable[Entry]) -> State:
    """The state after ``entries``, which are in causal order."""
    state = State()
    for entry in entries:
        state.apply(entry)
    return state
