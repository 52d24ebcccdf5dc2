"""The vocabulary of the journal: closed, versioned, one frozen model per kind of entry.

An entry's body is one of the models below; its ``kind`` is the model's ``KIND`` and its ``version`` the model's
``VERSION``. A kind once released is never changed: a new version is a new model beside the old one.
Times in bodies are RFC 3339 text (``ncia.core.base.clock.to_text``), durations are seconds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ncia.core.journal import entries_care, entries_people, entries_recovery, entries_repositories
from ncia.core.journal.body import Body as Body

Verdict = Literal["up", "degraded", "down", "unknown"]


# --- the platform itself -----------------------------------------------------------------------------------------


class ControllerStarted(Body):
    KIND = "controller.started"
    release: str
    estate_hash: str


class EstateLoaded(Body):
    KIND = "estate.loaded"
    estate_hash: str
    systems: int
    datasets: int


class ForswornHead(BaseModel):
    """A head of our log that ``by`` had cosigned and of which we no longer hold the entries."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    by: str
    size: int
    root: str  # 64 hex digits


class JournalSworn(Body):
    """Somebody swore that whoever might hold more of this log is gone for good: from here on it goes on unasked.

    ``size`` is what the log held. Where ``lost_to`` is greater, the entries from ``size`` to before it were written and
    are lost, and their numbers are used again: a fork that this entry declares. ``unheard``: the sites that could not
    be asked."""

    KIND = "journal.sworn"
    by: str
    reason: str
    size: int
    lost_to: int
    forsworn: tuple[ForswornHead, ...]
    unheard: tuple[str, ...]


# --- watching ----------------------------------------------------------------------------------------------------


class VerdictChange(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    subject: str
    verdict: Verdict
    previous: Verdict
    since: str
    evidence: str


class VerdictsChanged(Body):
    """All verdict changes of one vantage and one tick."""

    KIND = "verdicts.changed"
    vantage: str  # the site whose agent looked
    changes: tuple[VerdictChange, ...]


class IncidentOpened(Body):
    KIND = "incident.opened"
    incident: str
    root: str  # a subject
    cause: str  # e.g. site-lost, link-lost, isolated, system-down, database-down, replica-behind, missed-run
    severity: Literal["critical", "major", "minor"]
    sentence: str
    run_next: str  # the command to run next; empty where there is none
    members: tuple[str, ...]  # subjects explained by the root
    systems: tuple[str, ...]  # systems that citizens feel it on


class IncidentChanged(Body):
    KIND = "incident.changed"
    incident: str
    root: str
    cause: str
    severity: Literal["critical", "major", "minor"]
    sentence: str
    run_next: str
    members: tuple[str, ...]
    systems: tuple[str, ...]


class IncidentClosed(Body):
    KIND = "incident.closed"
    incident: str
    reason: str


class AlertAcked(Body):
    KIND = "alert.acked"
    incident: str
    by: str
    comment: str
    until: str


# --- security ----------------------------------------------------------------------------------------------------


class FindingOpened(Body):
    """A detection rule fired on the logs of this site; an attack is one finding. ``examples`` are log lines without
    what must stay secret. Written again for a finding that was closed: the same attack goes on."""

    KIND = "finding.opened"
    finding: str
    rule: str
    title: str
    level: Literal["informational", "low", "medium", "high", "critical"]
    host: str  # the host, or the service, whose log told it
    entered: bool  # somebody got in
    group: dict[str, str]  # what the rule groups by: the source's address, the user
    sentence: str
    first_at: str
    last_at: str
    count: int
    examples: tuple[str, ...]
    quiet_seconds: float  # it is over once so long nothing came


class FindingChanged(Body):
    KIND = "finding.changed"
    finding: str
    rule: str
    title: str
    level: Literal["informational", "low", "medium", "high", "critical"]
    host: str
    entered: bool
    group: dict[str, str]
    sentence: str
    first_at: str
    last_at: str
    count: int
    examples: tuple[str, ...]
    quiet_seconds: float


class FindingClosed(Body):
    KIND = "finding.closed"
    finding: str
    reason: str


# --- protecting --------------------------------------------------------------------------------------------------


class BackupStarted(Body):
    KIND = "backup.started"
    job: str
    dataset: str
    source_site: str
    store_site: str
    due_at: str


class TableSum(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    table: str
    rows: int
    sum128: str  # 32 hex digits


class BackupFinished(Body):
    """A recovery point. ``source`` holds the live tables' sums at ``compare_lsn``, up to which the point holds WAL;
    an empty ``compare_lsn`` says that the source could not be summed up, and the point cannot be proven."""

    KIND = "backup.finished"
    job: str
    point: str  # the recovery point's id
    dataset: str
    store_site: str
    path: str  # relative to the store's root
    size_bytes: int
    files: int
    start_lsn: str
    stop_lsn: str
    manifest_sha256: str
    seconds: float
    compare_lsn: str = ""
    source: tuple[TableSum, ...] = ()


class BackupFailed(Body):
    KIND = "backup.failed"
    job: str
    dataset: str
    error: str


class ProofStarted(Body):
    KIND = "proof.started"
    job: str
    point: str
    dataset: str


class ProofFinished(Body):
    """``matched`` is true only where every table of source and copy agreed at ``compare_lsn``."""

    KIND = "proof.finished"
    job: str
    point: str
    dataset: str
    matched: bool
    compare_lsn: str
    source: tuple[TableSum, ...]
    copy_: tuple[TableSum, ...]
    differences: tuple[str, ...]
    restore_seconds: float
    seconds: float


class ProofFailed(Body):
    KIND = "proof.failed"
    job: str
    point: str
    dataset: str
    error: str


class PointDeleted(Body):
    """Written before the recovery point is deleted: from here on it does not count."""

    KIND = "point.deleted"
    point: str
    dataset: str
    store_site: str
    path: str
    reason: str


class PointRehashed(Body):
    """Every file of a recovery point was read again where it is kept and compared with its manifest, and the manifest
    with the hash that was journalled when it was taken. ``matched`` false: the copy is damaged and counts no longer."""

    KIND = "point.rehashed"
    job: str
    point: str
    dataset: str
    store_site: str
    matched: bool
    manifest_sha256: str
    size_bytes: int
    files: int
    seconds: float
    why: str = ""  # what is damaged


class PointCopied(Body):
    """The recovery point of ``from_site``'s store lies in ``store_site``'s store as well: every file of the base backup
    was compared with the manifest, and that with the hash that was journalled when the point was taken."""

    KIND = "point.copied"
    job: str
    point: str
    dataset: str
    from_site: str
    store_site: str
    path: str
    size_bytes: int
    files: int
    manifest_sha256: str
    seconds: float


class PointBrought(Body):
    """A recovery point, taken at ``taken_at``, came back out of its agency's repository at ``from_site`` into
    ``store_site``'s store, under its own name: every file of the base backup was compared with the manifest, and that
    with the hash that was journalled when the point was taken."""

    KIND = "point.brought"
    job: str
    point: str
    dataset: str
    agency: str
    from_site: str
    snapshot: str
    store_site: str
    path: str
    taken_at: str
    taken_by: str  # the job that took it, in so many seconds
    taken_seconds: float
    size_bytes: int
    files: int
    start_lsn: str
    stop_lsn: str
    manifest_sha256: str
    compare_lsn: str
    source: tuple[TableSum, ...]
    seconds: float


class ProgramBrought(Body):
    """A program's archive came back out of its agency's repository at ``from_site`` into ``store_site``'s store, with
    the hash that was journalled when it was made."""

    KIND = "program.brought"
    job: str
    dataset: str
    agency: str
    from_site: str
    snapshot: str
    store_site: str
    path: str
    sha256: str
    size_bytes: int
    seconds: float


class ProgramFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    mode: str  # octal
    size_bytes: int
    sha256: str


class ProgramCaptured(Body):
    """The program of a dataset, as it was at its active site, is held in the other site's store."""

    KIND = "program.captured"
    dataset: str
    source_site: str
    store_site: str
    path: str  # relative to the store's root
    size_bytes: int
    sha256: str  # of the archive, read back from the store
    files: tuple[ProgramFile, ...]


class ProgramCompared(Body):
    """The program of a dataset was compared between its two sites; written when the outcome changes."""

    KIND = "program.compared"
    dataset: str
    sites: tuple[str, ...]
    differences: tuple[str, ...]  # one sentence each; empty: nothing differs but what may
    files: int


class RunMissed(Body):
    """A scheduled run that did not happen in its window."""

    KIND = "schedule.missed"
    job: str
    dataset: str
    due_at: str
    reason: str


class MirrorChanged(Body):
    """The mirror of a file tree or bucket into ``target_site`` is now so; ``idle``: its system is active there."""

    KIND = "mirror.changed"
    dataset: str
    source_site: str
    target_site: str
    state: Literal["following", "failing", "idle"]
    sentence: str  # why it fails; from where to where it follows


BODIES: tuple[type[Body], ...] = (
    ControllerStarted,
    EstateLoaded,
    JournalSworn,
    VerdictsChanged,
    IncidentOpened,
    IncidentChanged,
    IncidentClosed,
    AlertAcked,
    FindingOpened,
    FindingChanged,
    FindingClosed,
    BackupStarted,
    BackupFinished,
    BackupFailed,
    ProofStarted,
    ProofFinished,
    ProofFailed,
    PointDeleted,
    ProgramCaptured,
    ProgramCompared,
    RunMissed,
    MirrorChanged,
    PointRehashed,
    PointCopied,
    PointBrought,
    ProgramBrought,
    *entries_recovery.BODIES,
    *entries_people.BODIES,
    *entries_repositories.BODIES,
    *entries_care.BODIES,
)

VOCABULARY: dict[tuple[str, int], type[Body]] = {(body.KIND, body.VERSION): body for body in BODIES}
