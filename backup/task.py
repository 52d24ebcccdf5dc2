"""Protecting as the calendar and people ask for it: orders to the site's queue of jobs, and what was missed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import structlog

from backup import plan
from backup.agencies.telling import repositories
from backup.aside import AsideLook, aside
from backup.perform import BY
from backup.plan import Charge, Due
from backup.ports import Store
from backup.telling import listing
from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import DatasetId, SiteId, SystemId, new_id
from ncia.core.estate.model import Estate, Link
from ncia.core.journal import Journal
from ncia.core.journal.entries import BackupFailed, BackupStarted, ProofFailed, RunMissed
from ncia.core.state import Job as Told
from ncia.core.state import RecoveryPoint, State, StateStore, makes_good
from ncia.core.work.jobs import Job, JobId, Jobs, Order
from ncia.core.work.ledger import overdue, overdue_at_peer

COPY_AFTER = 5
"""Added to the grade: a second copy waits for every backup and proof, and goes before reading again."""

UNKNOWN = "outcome unknown: the controller restarted"
OPERATOR = "operator"

Verb = Literal["protect", "prove"]
"""``protect``: back up, then prove it. ``prove``: restore and compare the newest point again."""

COPY = "copy"  # bring the other site's newest proven point here, too; a lane of its own: it changes nothing there

if TYPE_CHECKING:
    from backup.agencies.points_task import PointTask
    from backup.agencies.task import AgencyTask

_log = structlog.get_logger()


@dataclass(frozen=True)
class Parts:
    """What a task is made of. ``active`` answers at which site each system is active now."""

    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    jobs: Jobs
    store: Store
    clock: Clock
    active: Callable[[], Mapping[SystemId, SiteId]] = field(default=dict)


class BackupTask:
    """Everything that one site's controller asks for to protect the datasets that are active at the other site."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._made_at = parts.clock.now()
        self._starting = threading.Lock()
        self._told_unknown = self._swept = False
        self._aside = AsideLook(parts.site, parts.journal, parts.states, parts.store)

    def recover(self) -> None:
        """At the start: say of unfinished jobs that the queue does not know that their outcome is unknown, and clear
        what such jobs left. Done once; tried again later where queue or store did not answer."""
        with self._starting:
            if not self._told_unknown:
                self._tell_unknown()
                self._told_unknown = True
            if self._swept:
                return
            try:
                removed = self._parts.store.sweep(self._kept)
            except NciaError as error:
                _log.warning("backup.not-swept", why=str(error))
            else:
                self._swept = True
                _log.info("backup.swept", removed=list(removed))

    def tick(self, now: datetime) -> None:
        """Ask for what is due, and write down what was missed, here and by the peer."""
        self.recover()
        self._aside.tick(now)
        state = self._parts.states.snapshot()
        self._parts.journal.append_all(self._missed(state, now), by=BY)
        for each in self.due(now):
            self._ask(each.charge, "protect", BY, each.job, each.due_at)

    def charges(self) -> tuple[Charge, ...]:
        return plan.charges(self._parts.estate, self._parts.site, self._parts.active())

    def due(self, now: datetime) -> tuple[Due, ...]:
        """What is due now and not already asked for."""
        state, busy = self._parts.states.snapshot(), self._busy()
        found = plan.due(self.charges(), state, self._since(state, self._parts.site), now)
        return tuple(each for each in found if each.charge.dataset.id not in busy)

    def ask(self, verb: Verb, dataset: str | None, by: str) -> tuple[Job, ...]:
        """Have the work done for one dataset or for all of this site's; work of the same kind already asked for
        is answered instead of begun twice. Raises :class:`Refusal` for one dataset that other work keeps busy."""
        wanted = [self._charge(dataset)] if dataset is not None else list(self.charges())
        now = self._parts.clock.now()
        kind = "backup" if verb == "protect" else "proof"
        asked = [self._ask(charge, verb, by, new_id(kind, now), now) for charge in wanted]
        if dataset is not None and asked[0].order.verb not in (verb, "protect"):
            why = f"job {asked[0].id} ({asked[0].order.verb}) works on it"
            raise Refusal("backup.busy", f"{verb} {dataset}", why, "ask again when it has ended")
        return tuple(asked)

    def protect_all(self, by: str = BY) -> tuple[Job, ...]:
        """Back up and prove everything that this site protects; answers when all has ended."""
        return tuple(self._parts.jobs.wait(job.id) for job in self.ask("protect", None, by))

    def copy(self, dataset: str | None, by: str) -> tuple[Job, ...]:
        """Have the newest proven point of one dataset, or of each, that lies in the other site's store copied into
        this site's, where it is not here yet."""
        state, site = self._parts.states.snapshot(), self._parts.site
        what = f"copy {dataset or 'every dataset'} to {site}"
        if dataset is not None and DatasetId(dataset) not in self._parts.estate.datasets:
            known = ", ".join(sorted(self._parts.estate.datasets))
            raise NciaError("backup.no-such-dataset", what, "not in the estate", known)
        wanted = plan.uncopied(state, self._parts.estate.peer_of(site), site, dataset)
        if dataset is not None and not wanted:
            why = f"no proven point of it lies in the other site's store without being at {site} too"
            raise Refusal("backup.nothing-to-copy", what, why, "ncia backup list")
        now = self._parts.clock.now()
        return tuple(self._parts.jobs.enqueue(self._copying(point, by, now)) for point in wanted)

    def _copying(self, point: RecoveryPoint, by: str, now: datetime) -> Order:
        estate, site = self._parts.estate, self._parts.site
        peer = SiteId(point.backup.store_site)
        return Order(
            id=new_id(COPY, now),
            verb=COPY,
            dataset=point.dataset,
            priority=COPY_AFTER + plan.grade_of(estate, point.dataset),
            by=by,
            due_at=to_text(now),
            link=Link(*sorted((site, peer))).id,
            hosts=tuple(sorted(estate.host_of(each, "store").id for each in (site, peer))),
            details={"point": point.backup.model_dump(), "store_site": site},
            lane=COPY,
        )

    def to_json(self) -> dict[str, Any]:
        """Points, proofs, missed runs and jobs, as the API tells them."""
        state = self._parts.states.snapshot()
        told = listing(self._parts.estate, state, self.charges(), self._since(state, self._parts.site))
        told["aside"] = aside(self._parts.estate, state)
        told |= repositories(self._parts.estate, state, self._parts.clock.now())
        return {"site": self._parts.site, **told, "jobs": [job.to_json() for job in self._parts.jobs.list()]}

    def _missed(self, state: State, now: datetime) -> list[RunMissed]:
        """What this site should have done and did not, and of what the peer should have done its silence says so."""
        parts, busy = self._parts, self._busy()
        since = self._since(state, parts.site)
        own = [plan.expected(each, state, since) for each in self.charges() if each.dataset.id not in busy]
        found = [*overdue(own, state.missed, now, since)]
        peer = parts.estate.peer_of(parts.site)
        began = self._since(state, peer)
        theirs = [
            plan.expected(each, state, began)
            for each in plan.charges(parts.estate, peer, parts.active())
            if not plan.underway(state, each, peer, now)
        ]
        found += overdue_at_peer(theirs, state.missed, now, peer, state.heard_of.get(peer))
        return [each for each in found if not makes_good(state, each)]

    def _since(self, state: State, site: SiteId) -> datetime:
        """When that site's controller started: as its journal has it, so that both sites reckon from one moment."""
        return state.started.get(site, self._made_at)

    def _busy(self) -> frozenset[str]:
        return frozenset(job.order.dataset for job in self._parts.jobs.open() if not job.order.lane)

    def _kept(self) -> Collection[str]:
        return [plan.job_token(job.id) for job in self._parts.jobs.open()]

    def _tell_unknown(self) -> None:
        """Two looks, the queue first each time: what a job begins or ends meanwhile is not taken for a lost one."""
        lost = {job.id for job in self._unqueued()}
        for job in self._unqueued():
            if job.id in lost:
                self._parts.journal.append(_unknown(job), by=BY)

    def _unqueued(self) -> tuple[Told, ...]:
        queued = {job.id for job in self._parts.jobs.open()}
        queued |= {plan.proof_job(job) for job in queued}
        found = plan.open_jobs(self._parts.states.snapshot(), self._parts.site)
        return tuple(job for job in found if job.id not in queued)

    def _charge(self, dataset: str) -> Charge:
        known = {charge.dataset.id: charge for charge in self.charges()}
        try:
            return known[DatasetId(dataset)]
        except KeyError:
            what, names = f"protect {dataset!r} from {self._parts.site}", ", ".join(sorted(known)) or "none"
            if DatasetId(dataset) not in self._parts.estate.datasets:
                raise NciaError("backup.no-such-dataset", what, "not in the estate", names) from None
            why = f"{self._parts.site} protects what is active at the other site"
            raise Refusal("backup.not-ours", what, why, f"ask the other site's controller; here: {names}") from None

    def _ask(self, charge: Charge, verb: Verb, by: str, job: JobId, due_at: datetime) -> Job:
        """The dataset's open job, or a new one."""
        points = self._parts.states.snapshot().points.get(charge.dataset.id, ())
        point = plan.provable(points, charge.store_site)
        if verb == "prove" and point is not None:
            return self._parts.jobs.enqueue(self._order(charge, verb, by, job, due_at, point.backup.model_dump()))
        # Nothing to prove yet: make it first.
        job = "backup" + job.removeprefix("proof") if verb == "prove" else job
        return self._parts.jobs.enqueue(self._order(charge, "protect", by, job, due_at, None))

    def _order(
        self, charge: Charge, verb: Verb, by: str, job: JobId, due_at: datetime, point: dict[str, Any] | None
    ) -> Order:
        """A proof needs the store alone; a backup also the source's host and the link between the two."""
        estate, dataset = self._parts.estate, charge.dataset
        copying = verb == "protect"
        hosts = {estate.host_of(charge.store_site, "store").id}
        if copying:
            hosts.add(dataset.copies[charge.source_site].host)
        details = {
            "source_site": charge.source_site,
            "store_site": charge.store_site,
            "interval_seconds": charge.interval_seconds,
            **({} if point is None else {"point": point}),
        }
        return Order(
            id=job,
            verb=verb,
            dataset=dataset.id,
            priority=estate.systems[dataset.system].grade,
            by=by,
            due_at=to_text(due_at),
            link=Link(*sorted((charge.source_site, charge.store_site))).id if copying else "",
            hosts=tuple(sorted(hosts)),
            details=details,
        )


class Desk:
    """What the API offers of it (``ncia.api.ports.BackupDesk``)."""

    def __init__(self, task: BackupTask, agencies: AgencyTask | None = None, points: PointTask | None = None) -> None:
        self._task = task
        self._agencies = agencies
        self._points = points

    def list(self) -> Mapping[str, Any]:
        return self._task.to_json()

    def run(self, dataset: str | None, by: str, emptied: bool = False) -> Mapping[str, Any]:
        """Rows of one dataset or of all; documents where they are named, which alone may be ``emptied``."""
        if dataset is not None and self._agencies is not None and self._agencies.keeps(dataset):
            return {"jobs": [self._agencies.ask(dataset, by, emptied).to_json()]}
        if emptied:
            what, why = f"back up {dataset or 'every dataset'}", "only documents can be said to be emptied"
            raise Refusal("backup.which", what, why, "ncia backup run SYSTEM/documents --emptied")
        return {"jobs": [job.to_json() for job in self._task.ask("protect", dataset, by)]}

    def prove(self, dataset: str | None, by: str) -> Mapping[str, Any]:
        if dataset is not None and self._agencies is not None and self._agencies.keeps(dataset):
            return {"jobs": [self._agencies.prove(dataset, by).to_json()]}
        return {"jobs": [job.to_json() for job in self._task.ask("prove", dataset, by)]}

    def mend(self, dataset: str | None, by: str) -> Mapping[str, Any]:
        if dataset is None or self._agencies is None:
            what, why = "mend a repository", "of no dataset: which agency's is meant?"
            raise Refusal("agency.which", what, why, "ncia backup mend SYSTEM/documents")
        return {"jobs": [self._agencies.mend(dataset, by).to_json()]}

    def forget(self, agency: str, remove_max: int | None, reason: str, by: str) -> Mapping[str, Any]:
        if self._agencies is None:
            raise Refusal("agency.which", f"forget snapshots of {agency}", "no agency has a repository here")
        return self._agencies.forget(agency, remove_max, reason, by)

    def write_off(self, agency: str, reason: str, by: str) -> Mapping[str, Any]:
        if self._agencies is None:
            raise Refusal("agency.which", f"write off snapshots of {agency}", "no agency has a repository here")
        return self._agencies.write_off(agency, reason, by)

    def look(self, dataset: str | None, by: str) -> Mapping[str, Any]:
        return {"looked": [] if self._agencies is None else self._agencies.look_now(dataset)}

    def copy(self, dataset: str | None, by: str) -> Mapping[str, Any]:
        return {"jobs": [job.to_json() for job in self._task.copy(dataset, by)]}

    def keep(self, dataset: str | None, by: str) -> Mapping[str, Any]:
        """Points and programs, into agencies' repositories."""
        return {"jobs": [] if self._points is None else [job.to_json() for job in self._points.keep(dataset, by)]}

    def bring(self, dataset: str | None, subject: str, by: str, burnt: bool = False) -> Mapping[str, Any]:
        if self._points is None or (dataset is None and subject):
            what, why = "bring a copy back", "of no dataset: which one is meant?"
            raise Refusal("backup.which", what, why, "ncia backup bring SYSTEM/rows --point POINT")
        if dataset is None:
            return {"jobs": [job.to_json() for job in self._points.bring_all(by, burnt)]}
        return {"jobs": [self._points.bring(dataset, subject, by, burnt).to_json()]}


def _unknown(job: Told) -> BackupFailed | ProofFailed:
    begun = job.started
    if isinstance(begun, BackupStarted):
        return BackupFailed(job=job.id, dataset=begun.dataset, error=UNKNOWN)
    return ProofFailed(job=job.id, point=begun.point, dataset=begun.dataset, error=UNKNOWN)
