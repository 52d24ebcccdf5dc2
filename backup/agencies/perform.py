"""What jobs of agencies' repositories do: make one at both centres, keep a dataset's documents in both.

Each step may be done twice. A repository that is there is opened and not made again; a snapshot of this very job, known
by its tag, is not made again either; what the journal holds is not written again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from backup.agencies.acting import LOST_NAMED_MAX, Acting
from backup.agencies.caring import Caring
from backup.agencies.plan import KEEP, MAKE
from backup.agencies.ports import Asked, Engine, Kept, Place
from backup.agencies.retaining import extended
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
from ncia.core.journal.entries_repositories import (
    RepositoryMade,
    SnapshotFailed,
    SnapshotKept,
)
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


class AgencyWork(Acting):
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
            for dataset in self._documents(agency):
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
            for dataset in self._documents(agency):
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
            staged = steps.do("stage", lambda: self._stage(dataset))
        except (StepFailed, Cancelled) as failure:
            for site in job.order.details["repositories"]:
                self._failed(steps, agency, dataset, site, str(failure))
            raise
        kept, failed = self._places(steps, agency, dataset)
        for site, why in failed.items():
            self._failed(steps, agency, dataset, site, why)
        for site, found in kept.items():
            found = {**found, "losses": [*found["losses"], *self._extended(steps, agency, site)]}
            self._kept(steps, agency, dataset, site, found, staged)
            if losses := [*staged["lost"], *found["losses"]]:
                failed[site] = f"its snapshot is partial: {losses[0]}"
                self._failed(steps, agency, dataset, site, failed[site])
        if failed:
            raise StepFailed("; ".join(f"{site}: {why}" for site, why in failed.items()))
        told = ", ".join(f"snapshot {found['snapshot'][:8]} at {site}" for site, found in kept.items())
        return f"{staged['documents']} documents of {dataset.id}: {told}"

    def _extended(self, steps: Steps, agency: Agency, site: SiteId) -> list[str]:
        """What a new snapshot reuses stays retained as long as itself; answers what of that is not so."""
        if agency.repository is None or not isinstance(agency.repository.places.get(site), BucketCopy):
            return []
        try:
            steps.do(f"retain at {site}", partial(self._extend, agency, site))
        except StepFailed as failure:  # the snapshot is there all the same
            return [f"retention of what it reuses: {failure}"]
        return []

    def _extend(self, agency: Agency, site: SiteId) -> int | None:
        place = self._tools.place_of(agency, site)
        return extended(self._tools.store_of(place.url), self._tools.password_of(place), self._tools.clock.now())

    def _places(
        self, steps: Steps, agency: Agency, dataset: Dataset
    ) -> tuple[dict[SiteId, dict[str, Any]], dict[SiteId, str]]:
        """What was kept at which place, and where nothing was and why: at twins as one snapshot, where the engine can
        do that and both can be entered; else one after the other."""
        sites = tuple(SiteId(site) for site in steps.job.order.details["repositories"])  # those that are made
        try:
            both = steps.do("keep at both", partial(self._keep_both, steps, agency, dataset, sites))
        except StepFailed:  # each place will say for itself what is wrong
            both = None
        if both is not None:
            failed = {SiteId(site): str(why) for site, why in both["missing"].items()}
            return {site: both["kept"] for site in sites if site not in failed}, failed
        kept, failed = {}, {}
        for site in sites:
            try:
                kept[site] = steps.do(f"keep at {site}", partial(self._keep, steps, agency, dataset, site))
            except StepFailed as failure:
                failed[site] = str(failure)
        return kept, failed

    def _keep_both(
        self, steps: Steps, agency: Agency, dataset: Dataset, sites: Sequence[SiteId]
    ) -> dict[str, Any] | None:
        """None where it is to be done one after the other."""
        engine = self._engine(agency)
        places = {site: self._tools.place_of(agency, site) for site in sites}
        if len(sites) != 2 or not engine.capabilities().writes_both:
            return None
        one, other = places.values()
        if steps.job.fence > 1 and any(self._again(engine, place, steps.job.id) for place in (one, other)):
            return None
        started = self._tools.clock.now()
        twice = engine.backup_both(one, other, self._asked(steps, dataset))
        told = {**asdict(twice.kept), "seconds": (self._tools.clock.now() - started).total_seconds()}
        missing = {site: twice.missing[place.url] for site, place in places.items() if place.url in twice.missing}
        return {"kept": told, "missing": missing}

    def _asked(self, steps: Steps, dataset: Dataset) -> Asked:
        return Asked((str(self._folder(dataset)),), dataset.system, (dataset.id, steps.job.id))

    def _make(self, agency: Agency, site: SiteId, twin: SiteId | None) -> str:
        engine, place = self._engine(agency), self._tools.place_of(agency, site)
        try:
            return engine.snapshots(place).repository
        except NciaError as error:
            if error.code != "repository.none":
                raise
        other = self._tools.place_of(agency, twin) if twin and engine.capabilities().makes_twins else None
        return engine.init(place, other)

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

    def _stage(self, dataset: Dataset) -> dict[str, Any]:
        """From the store of this site: the system is active here, and nothing is fetched from the other one."""
        staged = stage(self._tools.documents_of(dataset.documents[self._site]), self._folder(dataset))
        more = staged.losses - len(staged.lost)
        lost = [*staged.lost, f"and {more} more"] if more > 0 else staged.lost
        return {"documents": staged.documents, "losses": staged.losses, "lost": lost}

    def _keep(self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId) -> dict[str, Any]:
        engine, place = self._engine(agency), self._tools.place_of(agency, site)
        started = self._tools.clock.now()
        kept = self._again(engine, place, steps.job.id) if steps.job.fence > 1 else None
        if kept is None:
            kept = engine.backup(place, self._asked(steps, dataset))
        return {**asdict(kept), "seconds": (self._tools.clock.now() - started).total_seconds()}

    def _again(self, engine: Engine, place: Place, tag: str) -> Kept | None:
        """The snapshot that an earlier attempt at this job made, and had no time to write down. What it lacked nobody
        knows any more, so it counts as partial."""
        for held in engine.snapshots(place).snapshots:
            if tag in held.tags:
                return Kept(
                    held.snapshot, held.tree, 0, 0, ("an attempt that was ended made it: what it lacks is unknown",)
                )
        return None

    def _kept(
        self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId, kept: dict[str, Any], staged: dict[str, Any]
    ) -> None:
        """What is in the repository must be in the journal: also a job that was cancelled meanwhile writes it down."""
        losses = [*staged["lost"], *kept["losses"]]
        body = SnapshotKept(
            job=steps.job.id,
            agency=agency.id,
            dataset=dataset.id,
            site=site,
            repository=str(steps.job.order.details["repositories"][site]),
            snapshot=kept["snapshot"],
            tree=kept["tree"],
            files=kept["files"],
            size_bytes=kept["size_bytes"],
            losses=max(len(losses), staged["losses"]),
            lost=tuple(losses[:LOST_NAMED_MAX]),
            reason=str(steps.job.order.details["reason"]),
            seconds=round(kept["seconds"], 3),
        )
        steps.clean(f"write down {site}", lambda: self._write(steps, body))

    def _failed(self, steps: Steps, agency: Agency, dataset: Dataset, site: SiteId, why: str) -> None:
        body = SnapshotFailed(job=steps.job.id, agency=agency.id, dataset=dataset.id, site=site, error=why)
        steps.clean(f"give up {dataset.id} at {site}", lambda: self._write(steps, body))

    def _folder(self, dataset: Dataset) -> Path:
        return self._tools.staging / dataset.id.replace("/", "~")

    def _documents(self, agency: Agency) -> tuple[Dataset, ...]:
        owned = (system for system in self._estate.systems.values() if system.agency == agency.id)
        return tuple(dataset for system in owned for dataset in system.documents)


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
