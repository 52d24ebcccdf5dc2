"""What the jobs of agencies' repositories have in common: whose they are, with which engine, and how they write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup.agencies.locking import unless_locked
from backup.agencies.ports import Engine
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, DatasetId, SiteId
from ncia.core.estate.model import Agency, Dataset, Estate
from ncia.core.estate.repository import AgencyRepository
from ncia.core.journal.body import Body
from ncia.core.journal.entries_care import LockMet
from ncia.core.work.jobs import Job, StepFailed, Steps

if TYPE_CHECKING:
    from backup.agencies.perform import Tools

LOST_NAMED_MAX = 5


class Acting:
    """At one site, in whichever process."""

    def __init__(self, estate: Estate, site: SiteId, tools: Tools) -> None:
        self._estate = estate
        self._site = site
        self._tools = tools

    def _lock_met(self, steps: Steps, site: SiteId, why: str) -> None:
        """Once in a job and place; the next one comes soon."""
        order = steps.job.order
        body = LockMet(
            job=steps.job.id,
            verb=order.verb,
            agency=str(order.details["agency"]),
            dataset=order.dataset,
            site=site,
            why=why,
        )
        steps.clean(f"write down the lock at {site}", lambda: self._write(steps, body))

    def _unless_locked(self, steps: Steps, name: str, act: Callable[[], Any]) -> Any:
        """What came of a step at this site's place. A lock that somebody holds ends the job, and is written down."""
        found = steps.do(name, lambda: unless_locked(act))
        if isinstance(found, dict) and "locked" in found:
            self._lock_met(steps, self._site, found["locked"])
            raise StepFailed(f"{found['locked']}; it comes again soon")
        return found

    def _write(self, steps: Steps, body: Body) -> None:
        self._tools.ledger.append(steps.job.id, steps.job.fence, body, steps.job.order.by)

    def _engine(self, agency: Agency) -> Engine:
        if agency.repository is None:
            raise NciaError("agency.no-repository", f"keep documents of {agency.id}", "the estate names no repository")
        return self._tools.engine_of(agency.repository)

    def _agency(self, job: Job) -> tuple[Agency, AgencyRepository]:
        agency = self._estate.agencies.get(AgencyId(str(job.order.details["agency"])))
        if agency is None or agency.repository is None:
            raise StepFailed(f"{job.order.details['agency']} has no repository in the estate any more")
        return agency, agency.repository

    def _staging_of(self, dataset: Dataset) -> Path:
        """Where a dataset's documents are brought to, to be kept from there."""
        return self._tools.staging / dataset.id.replace("/", "~")

    def _dataset(self, job: Job) -> Dataset:
        dataset = self._estate.datasets.get(DatasetId(job.order.dataset))
        if dataset is None or self._site not in dataset.documents:
            raise StepFailed(f"{job.order.dataset} has no documents at {self._site} in the estate any more")
        return dataset
