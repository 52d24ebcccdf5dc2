"""What the surfaces show: frozen, plain, the same for terminal, API and console.

Moments are RFC 3339 text, lengths are seconds. ``None`` is "not known", which every surface shows in red; an empty
text is "there is none". Nothing here knows how it is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ncia.core.journal.entries import Verdict

StepState = Literal["pending", "running", "done", "failed", "refused", "undone", "unknown"]
RunState = Literal["planned", "running", "stopped", "succeeded", "failed", "abandoned"]


@dataclass(frozen=True)
class SiteView:
    """``seen_by``: verdict of each other vantage that speaks. ``lease``/``etcd``: empty where the site runs none."""

    id: str
    name: str
    kind: str
    verdict: Verdict
    evidence: str
    seen_by: Mapping[str, Verdict]
    lease: Verdict | Literal[""]
    etcd: Verdict | Literal[""]
    last_heard_at: str | None
    silent: bool  # its own agent does not speak
    active_systems: int


@dataclass(frozen=True)
class ProofView:
    """The newest proof of a dataset: a copy restored and compared. ``matched`` None: it could not be carried out."""

    dataset: str
    system: str
    point: str
    at: str | None  # None: never proven
    matched: bool | None
    restore_seconds: float | None
    sentence: str


@dataclass(frozen=True)
class SystemView:
    """``lag_seconds`` and ``predicted_loss_seconds`` are the newest measured; ``stale`` when that was too long ago.

    Where commits wait for the copy (``commits_wait``) nothing acknowledged can be missing there: 0.
    """

    id: str
    name: str
    name_ko: str
    agency: str
    grade: int
    home: str
    active_site: str
    epoch: int | None  # None: the epoch could not be read
    verdict: Verdict
    evidence: str
    since: str | None
    latency_seconds: float | None
    replica_site: str
    replica_verdict: Verdict
    lag_seconds: float | None
    predicted_loss_seconds: float | None
    commits_wait: bool  # for the copy: synchronous
    stale: bool
    promise_rpo_seconds: float
    promise_rto_seconds: float
    breaks_promise: bool | None  # None: not known
    depends_on: tuple[str, ...]
    unprotected: tuple[str, ...]  # names of its datasets that are held at one site only
    proven_at: str | None
    without_partner_since: str | None  # promoted, and no copy follows it yet


@dataclass(frozen=True)
class IncidentView:
    id: str
    root: str
    cause: str
    severity: str
    sentence: str
    run_next: str
    systems: tuple[str, ...]
    members: int
    opened_at: str
    acked_by: str  # empty where nobody did
    ack_comment: str
    acked_until: str


@dataclass(frozen=True)
class StepView:
    id: str
    state: StepState
    attempt: int
    evidence: str
    started_at: str | None
    ended_at: str | None


@dataclass(frozen=True)
class RunView:
    """``site`` is the one it is about (lost), ``executing_site`` the one whose controller carries it out."""

    id: str
    runbook: str
    site: str
    executing_site: str
    state: RunState
    plan_hash: str
    approvals: tuple[str, ...]  # ids of those who signed
    approvals_needed: int
    steps: tuple[StepView, ...]
    steps_done: int
    steps_total: int
    planned_at: str
    started_at: str | None
    ended_at: str | None
    seconds: float | None
    sentence: str


@dataclass(frozen=True)
class MissedView:
    job: str
    dataset: str
    due_at: str
    reason: str


@dataclass(frozen=True)
class UnprotectedView:
    dataset: str
    system: str
    kind: str
    until: str
    by: str
    why: str
    expired: bool


@dataclass(frozen=True)
class StatusView:
    """Everything at one glance, as one site knows it. ``verdict`` is the worst that citizens feel now."""

    site: str  # the one that answers
    timezone: str  # of that site; surfaces draw moments in it
    estate: str
    estate_hash: str
    as_of: str
    verdict: Verdict
    sites: tuple[SiteView, ...]
    systems: tuple[SystemView, ...]
    incidents: tuple[IncidentView, ...]
    runs: tuple[RunView, ...]
    missed: tuple[MissedView, ...]
    unprotected: tuple[UnprotectedView, ...]
    proofs: tuple[ProofView, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
