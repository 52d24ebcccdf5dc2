"""What jobs of agencies' repositories do: make one at both centres, keep a dataset's documents in both.

Each step may be done twice. A repository that is there is opened and not made again; a snapshot of this very job, known
by its tag, is not made again either; what the journal holds is not written again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backup.agencies.caring import Caring
from backup.agencies.keeping import Keeping
from backup.agencies.plan import KEEP, MAKE, waiting
from backup.agencies.ports import Asked, Engine, Place
from backup.agencies.retaining import demand_holds
from backup.agencies.staging import stage
from backup.ports import Ledger
from backup.repository.escrow import RECIPIENTS_MIN, Recipient, put
from backup.repository.format.keys import Holder, Scrypt
from backup.repository.ports import Store
from backup.repository.repository import open_repository
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import PersonId, SiteId
from ncia.core.estate.model import Agency, BucketCopy, Dataset, Estate, TreeCopy
from ncia.core.estate.repository import AgencyRepository
from ncia.core.journal.entries_repositories import RepositoryMade
from ncia.core.work.documents import Documents
from ncia.core.work.jobs import Cancelled, Job, StepFailed, Steps, Work

PLATFORM = "ncia"


@dataclass(frozen=True)
class Tools:
    """What the jobs act with. ``place_of`` answers where an agency's repository is at a site, as this one dials it;
    ``password_of`` reads the password in a place's file; ``staging`` is a folder of this machine."""

    ledger: Ledger
    engine_of: Callable[[AgencyRepository], Engine]
    place_of: Callable[[Agency, SiteId], Place]
    password_of: Callable[[Place], str]
    store_of: Callable[[str], Store]
    documents_of: Callable[[TreeCopy | BucketCopy], Documents]
    staging: Path
    clock: Clock
    cost: Scrypt | None = None  # of guessing the escrow's password; the format's own where it is not told


class AgencyWork(Keeping):
    """Carries out the jobs, in whichever process they run."""

    def works(self) -> Mapping[str, Work]:
        care = Caring(self._estate, self._site, self._tools)
        return {MAKE: self.make, KEEP: self.keep, **care.works()}

    def make(self, job: Job, steps: Steps) -> str:
        """The repository at both centres: first where it is made already, else here; the other is its twin where the
        engine makes such. Where the second cannot be made the first is, all the same: that centre may be lost."""
        agency, repository = self._agency(job)
        ids: dict[SiteId, str] = {}
        failed: dict[SiteId, str] = {}
        try:
            known = job.order.details["made"]
            first, *others = sorted(repository.places, key=lambda site: (site not in known, site != self._site))
            ids[first] = steps.do(f"make at {first}", partial(self._make, agency, first, None))
            for site in others:
                try:
                    ids[site] = steps.do(f"make at {site}", partial(self._make, agency, site, first))
                except StepFailed as failure:
                    failed[site] = str(failure)
            sealed_for = tuple(steps.do("escrow", partial(self._escrow, agency, tuple(ids))))
        except StepFailed as failure:  # nothing of the agency is kept until somebody has mended that
            for dataset in waiting(self._estate, agency):
                self._failed(steps, agency, dataset, self._site, f"its repository is not made: {failure}")
            raise
        for site, id_ in ids.items():
            body = RepositoryMade(
                job=job.id,
                agency=agency.id,
                site=site,
                repository=id_,
                engine=repository.engine,
                place=self._tools.place_of(agency, site).url,
                escrowed_for=sealed_for,
            )
            steps.clean(f"write down {site}", partial(self._write, steps, body))
        who = ", ".join(sealed_for) or "nobody: their keys are not handed in yet"
        for site, why in failed.items():
            for dataset in waiting(self._estate, agency):
                self._failed(steps, agency, dataset, site, f"its repository is not made there: {why}")
        if failed:
            lacking = "; ".join(f"not at {site}: {why}" for site, why in failed.items())
            raise StepFailed(f"the repository of {agency.id} is at {first}, and its key sealed for {who}; {lacking}")
        return f"the repository of {agency.id} is at {' and '.join(ids)}; its key is sealed for {who}"

    def keep(self, job: Job, steps: Steps) -> str:
        """The documents as they are now, in both places; a place that fails does not keep the other from its copy."""
        agency, _ = self._agency(job)
        dataset = self._dataset(job)
        try:
            staged = steps.do("stage", lambda: self._stage(dataset, int(job.order.details.get("known", 0))))
        except (StepFailed, Cancelled) as failure:
            for site in job.order.details["repositories"]:
                self._failed(steps, agency, dataset, site, str(failure))
            raise
        kept, failed = self._places(steps, agency, self._asked(steps, dataset), steps.do)
        told = self._written(steps, agency, dataset, kept, failed, staged)
        return f"{staged['documents']} documents of {dataset.id}: {told}"

    def _asked(self, steps: Steps, dataset: Dataset) -> Asked:
        return Asked((str(self._staging_of(dataset)),), dataset.system, (dataset.id, steps.job.id))

    def _make(self, agency: Agency, site: SiteId, twin: SiteId | None) -> str:
        engine, place = self._engine(agency), self._tools.place_of(agency, site)
        try:
            found = engine.snapshots(place).repository
        except NciaError as error:
            if error.code != "repository.none":
                raise
        else:
            self._demand_retaining(agency, site)
            return found
        self._demand_retaining(agency, site, create=True)
        other = self._tools.place_of(agency, twin) if twin and engine.capabilities().makes_twins else None
        return engine.init(place, other)

    def _demand_retaining(self, agency: Agency, site: SiteId, create: bool = False) -> None:
        """Where the estate asks for retention: the bucket, made where it is not there, holds against our own key. That
        is seen before anything is kept in it, whichever engine keeps it."""
        repository = agency.repository
        if repository and repository.retain_days and isinstance(repository.places[site], BucketCopy):
            demand_holds(self._tools.store_of(self._tools.place_of(agency, site).url), create)

    def _escrow(self, agency: Agency, sites: Sequence[SiteId]) -> list[str]:
        """Of the places that are made: one escrow at both where they are twins, else one at each. Nothing where keys
        are not handed in."""
        people = recipients(self._estate, agency)
        if len(people) < RECIPIENTS_MIN:
            return []
        opened = []
        try:
            for site in sites:
                place = self._tools.place_of(agency, site)
                opened.append(open_repository(self._tools.store_of(place.url), self._tools.password_of(place)))
            twins = len({each.config.id for each in opened}) == 1
            for group in [opened] if twins else [[each] for each in opened]:
                put(group, people, Holder(PLATFORM, self._site), self._tools.clock.now(), self._tools.cost)
        finally:
            for each in opened:
                each.close()
        return [each.name for each in people]

    def _stage(self, dataset: Dataset, known: int) -> dict[str, Any]:
        """From the store of this site: the system is active here, and nothing is fetched from the other one, which is
        asked where this one lists nothing and never did."""
        own, *others = (
            self._tools.documents_of(dataset.documents[site])
            for site in sorted(dataset.documents, key=lambda site: site != self._site)
        )
        staged = stage(own, self._staging_of(dataset), known, next(iter(others), None))
        more = staged.losses - len(staged.lost)
        lost = [*staged.lost, f"and {more} more"] if more > 0 else staged.lost
        return {"documents": staged.documents, "losses": staged.losses, "lost": lost}


def recipients(estate: Estate, agency: Agency) -> tuple[Recipient, ...]:
    """The people whose keys recover an agency's repository, each by their first key that can be sealed for."""
    found = []
    for person in agency.repository.escrow if agency.repository else ():
        key = next((key for key in keys_of(estate, person) if key.startswith("ssh-")), None)
        if key is not None:
            found.append(Recipient(person, key))
    return tuple(found)


def keys_of(estate: Estate, person: PersonId) -> Sequence[str]:
    known = estate.people.get(person)
    return [] if known is None else [key.line for key in known.keys]
