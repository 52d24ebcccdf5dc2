"""What the API needs from the platform. ``ncia.app.serve`` fills it; tests fill it with fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ncia.core.base.ids import AgencyId, SiteId, SystemId
from ncia.core.journal.entries_people import (
    RequestMade,
)
from ncia.core.requests.accounts import Opened
from ncia.core.requests.caller import Caller
from ncia.core.requests.certificates import ProcessName

Json = Mapping[str, Any]


class BackupDesk(Protocol):
    """Backups as people ask for them. Started work is journalled; answers tell the jobs' ids."""

    def list(self) -> Json: ...

    def run(self, dataset: str | None, by: str, emptied: bool = False) -> Json:
        """Rows of one dataset or of all, or documents that are named. ``emptied``: their store may list nothing."""
        ...

    def prove(self, dataset: str | None, by: str) -> Json: ...

    def copy(self, dataset: str | None, by: str) -> Json: ...

    def keep(self, dataset: str | None, by: str) -> Json:
        """Put the newest proven point, or the program, in this site's store into its agency's repository, too."""
        ...

    def bring(self, dataset: str | None, subject: str, by: str, burnt: bool = False) -> Json:
        """Put a point or program out of its agency's repository back into this site's store. ``burnt``: that store may
        be empty though the journal lists points there."""
        ...

    def mend(self, dataset: str | None, by: str) -> Json:
        """Bring what this site's place of a dataset's agency lacks from its twin at the other site."""
        ...

    def forget(self, agency: str, remove_max: int | None, reason: str, by: str) -> Json:
        """What an agency's rules have no place for at this site; with ``remove_max`` it goes, once."""
        ...

    def write_off(self, agency: str, reason: str, by: str) -> Json:
        """Expect no more what is missing in an agency's repository at this site and lost."""
        ...

    def look(self, dataset: str | None, by: str) -> Json:
        """Compare now what this site's agency repositories hold with what is expected there."""
        ...


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

    async def grown(self, after: int, patience_seconds: float) -> None:
        """Come back when the own log is longer than ``after``, or when ``patience_seconds`` have passed."""
        ...

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


class AccountDesk(Protocol):
    """People and machines who may ask (:class:`ncia.core.requests.accounts.Accounts`)."""

    def caller(self, secret: str) -> Caller:
        """Whose session or token it is; :class:`Refusal` (``api.signed-out``) where it is nobody's."""
        ...

    def holds(self, caller: Caller) -> bool:
        """Whether that caller's session or token is still good."""
        ...

    def machine(self, name: ProcessName, serial: str) -> Caller:
        """Who a process of ours is, by the certificate that it showed."""
        ...

    def challenge(self) -> Json: ...

    def sign_in(self, challenge: str, signature: str, source: str) -> Opened: ...

    def link(self, caller: Caller) -> Json: ...

    def exchange(self, code: str, source: str, already: str) -> Opened: ...

    def sign_out(self, caller: Caller) -> None: ...

    def issue(self, name: str, role: str, agencies: Sequence[str], days: float, by: str) -> Json: ...

    def revoke(self, token: str, by: str, reason: str) -> Json: ...

    def tokens(self) -> Sequence[Json]: ...

    def revoke_certificate(self, serial: str, by: str, reason: str) -> Json: ...

    def revoked_certificates(self) -> Sequence[Json]: ...

    def people(self) -> Sequence[Json]: ...

    def suspend(self, person: str, by: str, reason: str) -> Json: ...

    def restore(self, person: str, by: str, reason: str) -> Json: ...

    def demand_not_suspended(self, person: str, what: str) -> None: ...


class Admission(Protocol):
    """What it takes to let a request in."""

    @property
    def accounts(self) -> AccountDesk: ...

    @property
    def receipts_token(self) -> str:
        """What citizens' front doors show at the door for receipts; empty: nobody is let in there."""
        ...

    @property
    def made(self) -> Callable[[RequestMade], object]:
        """Write down what is asked, before it is done."""
        ...


@dataclass(frozen=True)
class JournalPlatform:
    """The journal alone: what is offered from the first moment on. ``accounts`` know machines only: who signed in
    stands in a journal that is not known to be whole yet."""

    journal: JournalReader
    accounts: AccountDesk
    made: Callable[[RequestMade], object]
    receipts_token: str = ""


@dataclass(frozen=True)
class Platform:
    """Everything the API offers, as functions and desks."""

    site: SiteId
    release: str
    console: str  # where a browser finds it
    receipts_token: str
    journal: JournalReader
    backups: BackupDesk
    recovery: RecoveryDesk
    loss: LossDesk
    reports: Reports
    rehash: Callable[[str | None, str], Json]  # (dataset, by): read its newest point again
    report: Callable[[str, Json], None]  # (vantage, an agent's report)
    findings: FindingDesk
    status: Callable[[], Json]
    incidents: Callable[[], Sequence[Json]]
    acknowledge: Callable[[str, str, str, float], Json]  # (incident, by, comment, minutes)
    continuity: Callable[[], Json]
    metrics: Callable[[], bytes]
    page: Callable[[Json], str]  # the console, showing that status first
    sign_in_page: Callable[[], str]
    events: Callable[[], AsyncIterator[str]]  # the status view as JSON text, on change
    static: str  # folder of the console's static files
    accounts: AccountDesk
    systems_of: Callable[[Sequence[AgencyId]], frozenset[SystemId]]
    made: Callable[[RequestMade], object]  # write down what is asked, before it is done
    jobs: JobsDesk | None = None
