"""What the API needs from the platform. ``ncia.app.serve`` fills it; tests fill it with fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ncia.core.base.ids import SiteId

Json = Mapping[str, Any]


class BackupDesk(Protocol):
    """Backups as people ask for them. Started work is journalled; answers tell the jobs' ids."""

    def list(self) -> Json: ...

    def run(self, dataset: str | None) -> Json: ...

    def prove(self, dataset: str | None) -> Json: ...


class JobsDesk(Protocol):
    """The queue of jobs as people see it, and the journal as those write it who carry jobs out."""

    def list(self) -> Json: ...

    def cancel(self, job: str, by: str) -> Json: ...

    def append(self, job: str, fence: int, by: str, kind: str, version: int, body: Json) -> None:
        """Write once; raises :class:`ncia.core.base.errors.Refusal` where another executor has the job."""
        ...

    def retired(self, dataset: str, store_site: str) -> Json: ...


class RecoveryDesk(Protocol):
    """Plans, approvals and runs. Refusals are raised as :class:`ncia.core.base.errors.Refusal`."""

    def plan(
        self, runbook: str, site: str, by: str, accept_loss: Mapping[str, str], accept_drift: Mapping[str, str]
    ) -> Json: ...

    def approve(self, run: str, person: str, plan_hash: str, expires_at: str, signature: str) -> Json: ...

    def start(self, run: str, by: str) -> Json: ...

    def stop(self, run: str, by: str, reason: str) -> Json: ...

    def resume(self, run: str, by: str) -> Json: ...

    def swear(self, run: str, by: str, reason: str) -> Json: ...

    def runs(self) -> Sequence[Json]: ...

    def run(self, run: str) -> Json: ...


class FindingDesk(Protocol):
    """What detection rules saw."""

    def take(self, vantage: str, told: Json) -> None: ...

    def to_json(self) -> Json: ...


class JournalReader(Protocol):
    """The journal as peers and verifiers read it: wire forms only."""

    def entries(self, site: SiteId, start: int, limit: int) -> Sequence[Json]: ...

    def checkpoint(self) -> Json: ...

    def held(self, site: SiteId) -> Json: ...

    def consistency(self, first: int, second: int) -> Json: ...

    def size(self) -> int: ...


class LossDesk(Protocol):
    """Receipts of acts that the other site served, and the list of those that did not survive it."""

    def take(self, told: Json) -> Json:
        """Keep a front door's batch; durable when it answers."""
        ...

    def report(self, *, run: str, site: str, since: str, agency: str, by: str) -> Json:
        """The loss report, journalled."""
        ...


class Reports(Protocol):
    """Reports as people ask for them; a day is the site's own, empty for today, an agency empty for all."""

    def continuity_page(self) -> str: ...

    def backup(self, day: str, agency: str) -> Json: ...

    def backup_page(self, day: str, agency: str) -> str: ...


@dataclass(frozen=True)
class Tokens:
    """Who may speak over TCP without a person's signature: the peer's controller, the witness' agent, front doors."""

    peer: str
    agent: str
    worker: str = ""  # none: workers come through the unix socket only
    receipts: str = ""  # empty: nobody


@dataclass(frozen=True)
class JournalPlatform:
    """The journal alone: what is offered from the first moment on."""

    tokens: Tokens
    journal: JournalReader


@dataclass(frozen=True)
class Platform:
    """Everything the API offers, as functions and desks."""

    site: SiteId
    release: str
    tokens: Tokens
    journal: JournalReader
    backups: BackupDesk
    recovery: RecoveryDesk
    loss: LossDesk
    reports: Reports
    rehash: Callable[[str | None], Json]  # (dataset): read its newest point again
    report: Callable[[str, Json], None]  # (vantage, an agent's report)
    findings: FindingDesk
    status: Callable[[], Json]
    incidents: Callable[[], Sequence[Json]]
    acknowledge: Callable[[str, str, str, float], Json]  # (incident, by, comment, minutes)
    continuity: Callable[[], Json]
    metrics: Callable[[], bytes]
    page: Callable[[], str]
    events: Callable[[], AsyncIterator[str]]  # the status view as JSON text, on change
    static: str  # folder of the console's static files
    jobs: JobsDesk | None = None
