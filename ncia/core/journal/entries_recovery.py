"""The vocabulary of recovering: plans, approvals, runs and their steps; losses; commits at two sites; returning."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ncia.core.journal.body import Body


class PlanMade(Body):
    """A frozen plan. ``plan`` is its canonical form; ``plan_hash`` the SHA-256 (hex) of that form."""

    KIND = "plan.made"
    run: str
    runbook: str
    plan_hash: str
    plan: dict[str, Any]
    by: str


class ApprovalGiven(Body):
    KIND = "approval.given"
    run: str
    plan_hash: str
    person: str
    expires_at: str
    key_fingerprint: str
    signature: str  # base64


class ApprovalRefused(Body):
    KIND = "approval.refused"
    run: str
    plan_hash: str
    person: str
    reason: str


class RunStarted(Body):
    KIND = "run.started"
    run: str
    plan_hash: str
    site: str  # the site whose controller carries it out


class StepIntended(Body):
    KIND = "step.intended"
    run: str
    step: str  # unique in the plan, e.g. "hometax/promote"
    attempt: int


class StepEnded(Body):
    """``failed`` may be tried again; ``refused`` needs a person; ``already`` means the check found it done."""

    KIND = "step.ended"
    run: str
    step: str
    attempt: int
    outcome: Literal["done", "already", "failed", "refused"]
    evidence: str
    measured: dict[str, Any]


class StepUndone(Body):
    KIND = "step.undone"
    run: str
    step: str
    evidence: str


class RunStopped(Body):
    KIND = "run.stopped"
    run: str
    by: str
    reason: str


class RunResumed(Body):
    KIND = "run.resumed"
    run: str
    site: str
    by: str


class RunSworn(Body):
    """Somebody swore that the run's permits need be durable at no other place: those that could not be asked are
    ``unheard``."""

    KIND = "run.sworn"
    run: str
    by: str
    reason: str
    unheard: tuple[str, ...]


class RunEnded(Body):
    KIND = "run.ended"
    run: str
    outcome: Literal["succeeded", "failed", "abandoned"]
    sentence: str
    seconds: float


class LossListed(Body):
    """Receipts were compared with the active rows. ``list_sha256`` is the hash of the list, which goes to the agencies
    and not into the journal (``ncia.core.reports.loss.list_hash``). ``unnamed``: times, as ``since/until``, in which
    loss may have no name."""

    KIND = "loss.listed"
    run: str  # empty where a site was asked for
    lost_site: str
    agency: str  # empty: all
    since: str
    until: str
    receipts: int
    lost: int
    altered: int
    lost_by_system: dict[str, int]
    uncompared: tuple[str, ...]  # systems whose rows could not be asked
    unnamed: tuple[str, ...]
    list_sha256: str


# --- keeping commits at two sites --------------------------------------------------------------------------------


class SyncDegraded(Body):
    """From ``lsn`` on a synchronous system's commits wait for nobody: until ``sync.restored`` it is unprotected."""

    KIND = "sync.degraded"
    system: str
    site: str
    since: str
    lsn: str
    reason: str


class SyncRestored(Body):
    """Every commit up to ``lsn`` is at the other site, and each one after waits for it."""

    KIND = "sync.restored"
    system: str
    site: str
    since: str  # when commits had ceased to wait
    lsn: str
    unprotected_seconds: float


# --- returning ---------------------------------------------------------------------------------------------------


class StrandedTable(BaseModel):
    """Rows of one table written by stranded transactions. ``only_here``: the new primary has no row of that key;
    ``differs``: it has another content under it. Rows that it has just so (sent anew by a citizen) are neither."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    table: str
    only_here: int
    differs: int


class DivergenceListed(Body):
    """What an old primary holds beyond the point at which the new timeline began, listed before anything is rewound.

    ``timeline`` 0: there was no old primary, so nothing was to list. ``evidence``: the file with the rows themselves,
    relative to the site's state folder, and its SHA-256 (hex); it is there also where nothing was stranded."""

    KIND = "divergence.listed"
    run: str
    system: str
    site: str  # where the old primary is
    new_site: str  # where the system is active
    timeline: int
    fork_lsn: str
    transactions: int  # committed there beyond the fork
    rows: int  # only_here and differs of all tables
    tables: tuple[StrandedTable, ...]
    evidence: str
    sha256: str


class DocumentsStranded(Body):
    """The documents that a returned site holds and the active one lacks, or has with other bytes, listed before
    anything is rewound. ``since`` and ``until`` bound when they can have come to be; empty: without that bound.
    ``evidence``: the file with paths, sizes and hashes, relative to the site's state folder, and its SHA-256 (hex);
    it is there also where there are none."""

    KIND = "documents.stranded"
    run: str
    system: str
    site: str  # the returned one
    new_site: str  # where the system is active
    since: str
    until: str
    documents: int
    size_bytes: int
    evidence: str
    sha256: str


BODIES: tuple[type[Body], ...] = (
    PlanMade,
    ApprovalGiven,
    ApprovalRefused,
    RunStarted,
    StepIntended,
    StepEnded,
    StepUndone,
    RunStopped,
    RunResumed,
    RunSworn,
    RunEnded,
    LossListed,
    SyncDegraded,
    SyncRestored,
    DivergenceListed,
    DocumentsStranded,
)
