"""Points and programs in agencies' repositories as the calendar sees them, and as people ask for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup.agencies import points_plan as plan
from backup.agencies.plan import locks_of, made_at
from backup.agencies.points_plan import BRING_POINT, BRING_PROGRAM, Subject
from backup.agencies.quiet import QUIET, care_waits_since
from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import DatasetId, SiteId, new_id
from ncia.core.estate.model import Agency, Dataset, Estate, Link, TreeCopy
from ncia.core.journal import Journal
from ncia.core.journal.entries import BackupFinished, ProgramCaptured
from ncia.core.state import State, StateStore
from ncia.core.work.jobs import Job, JobId, Jobs, Order

BY = "calendar"
AFTER_DOCUMENTS = 15  # added to the grade


@dataclass(frozen=True)
class Parts:
    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    jobs: Jobs
    clock: Clock


@dataclass
class PointTask:
    """``tick`` may be called at any time; calls must not overlap."""

    parts: Parts
    _made_at: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._made_at = self.parts.clock.now()

    def tick(self, now: datetime) -> None:
        """Order what waits longest, where nothing of the kind is at work, and no care of a place has waited longer."""
        parts = self.parts
        if any(job.order.verb in QUIET for job in parts.jobs.open()):
            return
        state = parts.states.snapshot()
        since = state.started.get(parts.site, self._made_at)
        care = care_waits_since(parts.estate, state, parts.site, now, parts.jobs.get)
        for each in plan.due(parts.estate, state, parts.site, since, now):
            if parts.jobs.get(each.job) is None:
                if care is not None and care < each.due_at:
                    return
                reason = f"due at {to_text(each.due_at)}"
                parts.jobs.enqueue(self._keeping(each.subject, state, BY, each.job, reason))
                return

    def keep(self, dataset: str | None, by: str) -> tuple[Job, ...]:
        """Have what lies in this site's store kept now, of one dataset or of each, where it is not kept yet."""
        state, site = self.parts.states.snapshot(), self.parts.site
        what = f"keep {dataset or 'every dataset'} in its agency's repository"
        if dataset is not None:
            self._known(dataset, what)
        found = [each for each in plan.subjects(self.parts.estate, state, site) if _is_of(each, dataset)]
        wanted = [each for each in found if not plan.is_kept(each, state)]
        if dataset is not None and not wanted:
            why = (
                f"{found[0].id} is kept at each place already"
                if found
                else f"{site} has no proven point or program of it in its store, or its agency no repository"
            )
            raise Refusal("backup.nothing-to-keep", what, why, "ncia backup list; ask the other site's controller")
        now = self.parts.clock.now()
        orders = [self._keeping(each, state, by, new_id(each.verb, now), f"{by} asked for it") for each in wanted]
        return tuple(self.parts.jobs.enqueue(order) for order in orders)

    def bring(self, dataset: str, subject: str, by: str, burnt: bool = False) -> Job:
        """Have a point or program brought out of its agency's repository into this site's store: the newest that is
        kept, or the one named. Unless that store ``burnt``, something must be in it where the journal says so."""
        parts, state = self.parts, self.parts.states.snapshot()
        what = f"bring {subject or 'the newest copy'} of {dataset} back into the store of {parts.site}"
        of = self._known(dataset, what)
        found = plan.kept_of(parts.estate, state, parts.site, of, subject)
        if found is None:
            why = "no repository has a whole snapshot of it"
            raise Refusal("backup.nothing-to-bring", what, why, "ncia backup list")
        told, taken_at = self._record(of, found.subject, what)
        name = "archive" if isinstance(told, ProgramCaptured) else "point"
        snapshots = [
            (site, {"id": each.kept.snapshot, "tree": each.kept.tree, "size_bytes": each.kept.size_bytes})
            for site, each in found.snapshots
        ]
        verb, now = (BRING_PROGRAM if name == "archive" else BRING_POINT), parts.clock.now()
        details: dict[str, Any] = {
            name: told.model_dump(mode="json"),
            "taken_at": to_text(taken_at),
            "snapshots": snapshots,
        }
        details |= _listed(state, of.id, found.subject, parts.site)
        points = _expects_points(state, parts.site)
        details["expects_points"] = not burnt and points  # what a point asks of its store, and what a program does
        details["expects_any"] = not burnt and (points or _expects_archives(state, parts.site))
        agency = parts.estate.agencies[found.agency]
        priority = parts.estate.systems[of.system].grade  # somebody waits for it
        job = parts.jobs.enqueue(self._order(new_id("backup-back", now), verb, agency, of, priority, by, details))
        if job.order.details.get(name) != details[name]:
            why = f"job {job.id} brings another one back"
            raise Refusal("backup.busy", what, why, "ask again when it has ended")
        return job

    def bring_all(self, by: str, burnt: bool = False) -> tuple[Job, ...]:
        """Of each dataset the newest that was kept out of this site's store: what is there and whole stays."""
        parts, state = self.parts, self.parts.states.snapshot()
        found = {
            each.id: plan.kept_of(parts.estate, state, parts.site, each, "") for each in parts.estate.datasets.values()
        }
        ours = [dataset for dataset, each in found.items() if each is not None and each.store_site == parts.site]
        jobs, refused = [], []
        for dataset in ours:
            try:
                jobs.append(self.bring(dataset, "", by, burnt))
            except NciaError as error:
                refused.append(f"{dataset}: {error.why}")
        if refused:
            what = f"bring {len(ours)} copies back into the store of {parts.site}"
            raise NciaError(
                "backup.not-all", what, f"{len(jobs)} are ordered; not {'; '.join(refused)}", "ncia backup list"
            )
        return tuple(jobs)

    def _record(self, dataset: Dataset, subject: str, what: str) -> tuple[BackupFinished | ProgramCaptured, datetime]:
        """What the journal said when it was made: also of a point that the store has let go of since."""
        for entry in reversed(self.parts.journal.of_kind(BackupFinished.KIND)):
            body = entry.body
            if isinstance(body, BackupFinished) and (body.dataset, body.point) == (dataset.id, subject):
                return body, entry.at
        for entry in reversed(self.parts.journal.of_kind(ProgramCaptured.KIND)):
            made = entry.body
            if isinstance(made, ProgramCaptured) and (made.dataset, made.path) == (dataset.id, subject):
                return made, entry.at
        raise NciaError("backup.no-such-point", what, "no journal here says how it was made", "ask the other site's")

    def _known(self, dataset: str, what: str) -> Dataset:
        found = self.parts.estate.datasets.get(DatasetId(dataset))
        if found is None:
            names = ", ".join(sorted(self.parts.estate.datasets))
            raise NciaError("backup.no-such-dataset", what, "not in the estate", names)
        return found

    def _keeping(self, subject: Subject, state: State, by: str, job: JobId, reason: str) -> Order:
        charge = subject.charge
        grade = self.parts.estate.systems[charge.dataset.system].grade
        places = made_at(charge.agency, state)
        ids = {site: state.repositories[charge.agency.id, site].made.repository for site in places}
        met = {site: lock.count for site, lock in locks_of(charge, state, subject.verb).items()}
        details = {**subject.details(), "repositories": ids, "reason": reason, "met": met}
        return self._order(job, subject.verb, charge.agency, charge.dataset, AFTER_DOCUMENTS + grade, by, details)

    def _order(
        self,
        job: JobId,
        verb: str,
        agency: Agency,
        dataset: Dataset,
        priority: int,
        by: str,
        details: dict[str, Any],
    ) -> Order:
        """In a lane of its own: a backup of the same rows waits for no such copy."""
        estate, places = self.parts.estate, agency.repository.places.values() if agency.repository else ()
        hosts = {place.host for place in places if isinstance(place, TreeCopy)}
        return Order(
            id=job,
            verb=verb,
            dataset=dataset.id,
            priority=priority,
            by=by,
            due_at=to_text(self.parts.clock.now()),
            link=Link(*sorted(estate.centres)).id,
            hosts=tuple(sorted({*hosts, estate.host_of(self.parts.site, "store").id})),
            details={"agency": agency.id, **details},
            lane=verb,
        )


def _is_of(subject: Subject, dataset: str | None) -> bool:
    return dataset in (None, subject.charge.dataset.id)


def _listed(state: State, dataset: str, subject: str, site: SiteId) -> dict[str, Any]:
    """What the journal says of the subject, and which other points of its dataset must be in that store to count: one
    that another store has a copy of counts without."""
    own = state.point(dataset, subject)
    others = [
        each.backup.model_dump(mode="json")
        for each in state.points.get(dataset, ())
        if each.id != subject and not each.damaged and each.backup.store_site == site
        if all(copy.copied.store_site == site for copy in state.copies_of(dataset, each.id))
    ]
    is_own = own is not None and own.backup.store_site == site
    return {"is_listed": state.holds(dataset, subject, site), "is_own": is_own, "listed": others}


def _expects_points(state: State, site: SiteId) -> bool:
    points = (each for known in state.points.values() for each in known)
    return any(each.backup.store_site == site and not each.damaged for each in points)


def _expects_archives(state: State, site: SiteId) -> bool:
    return any(each.captured is not None and each.captured.store_site == site for each in state.programs.values())
