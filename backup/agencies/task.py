"""Agencies' repositories as the calendar sees them: made, filled when they are due, and looked into.

Documents are kept by the centre where their system is active, into both places. Each centre looks into its own places
and compares them with what the journal expects there: restic itself cannot notice that a snapshot is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import structlog

from backup.agencies import plan
from backup.agencies.clearing import PRUNE, Clearing, clearings
from backup.agencies.forgetting import Forgetting
from backup.agencies.plan import KEEP, MAKE, MEND, Charge, Compared
from backup.agencies.ports import Engine, Place
from backup.agencies.proving import PROVE, Proving, provings
from backup.agencies.quiet import QUIET, attempt, copy_waits_since
from backup.agencies.reading import CHECK, Turn, damaged_parts, turns
from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import AgencyId, DatasetId, PersonId, SiteId, SystemId, new_id
from ncia.core.estate.model import Agency, Dataset, Estate, Link, Role, TreeCopy
from ncia.core.estate.repository import AgencyRepository
from ncia.core.journal import Entry, Journal
from ncia.core.journal.entries_care import PruneFailed
from ncia.core.journal.entries_repositories import SnapshotForgotten, SnapshotKept
from ncia.core.state import State, StateStore
from ncia.core.state.repositories import RepositoryFact
from ncia.core.work.jobs import Job, JobId, Jobs, Order

BY = "calendar"
AFTER_BACKUPS = 10  # added to the grade: rows come first
CARE_PRIORITY = 2 * AFTER_BACKUPS
GRAVE = ("repository.none", "repository.wrong-password", "repository.damaged")  # told at once; silence may pass

log = structlog.get_logger("backup.agencies")


@dataclass(frozen=True)
class Parts:
    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    jobs: Jobs
    clock: Clock
    engine_of: Callable[[AgencyRepository], Engine]
    place_of: Callable[[Agency, SiteId], Place]
    active: Callable[[], Mapping[SystemId, SiteId]]
    permit: Callable[[Sequence[Entry]], object] = lambda entries: None
    """Returns once these entries are known at a second place, and raises where they are not."""


@dataclass
class AgencyTask:
    """``tick`` may be called at any time; calls must not overlap."""

    parts: Parts
    _looked: dict[AgencyId, datetime] = field(default_factory=dict)
    _strange: dict[AgencyId, frozenset[str]] = field(default_factory=dict)  # at the look before
    _silent: set[AgencyId] = field(default_factory=set)  # gave no answer at the look before
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._made_at = self.parts.clock.now()
        self._forgetting = Forgetting(self.parts)

    def tick(self, now: datetime) -> None:
        """Order what is due, and look into the repository that was looked into longest ago."""
        state = self.parts.states.snapshot()
        busy = {job.order.holds for job in self.parts.jobs.open()}
        making = any(job.order.verb == MAKE for job in self.parts.jobs.open())
        for agency in plan.unmade(*self._whose(state), self._since(state), now):
            order = self._making(agency, now, BY, AFTER_BACKUPS)
            if not making and self.parts.jobs.get(order.id) is None:  # one at a time: rows need the executors too
                self.parts.jobs.enqueue(order)
                break
        for each in plan.due(self.charges(), state, self._since(state), now):
            order = self._keeping(each.charge, state, BY, each.job, f"due at {to_text(each.due_at)}")
            if order.holds not in busy:
                self.parts.jobs.enqueue(order)
        self._tell_interrupted()
        self._order_care(now)
        agency_due = self._to_look_at(state, now)
        if agency_due is not None:
            found = self.look(agency_due)
            if found is not None and not (found.missing or found.why):
                self._forgetting.retain(agency_due, found.strangers, now)

    def _tell_interrupted(self) -> None:
        """A prune that began, whose job is over and told no end: the queue is asked first, and then the journal."""
        parts, waiting = self.parts, {job.id for job in self.parts.jobs.open()}
        for (agency, site), fact in parts.states.snapshot().repositories.items():
            begun = fact.pruning.begun if fact.pruning is not None and not fact.pruning.error else None
            if begun is not None and site == parts.site and begun.job not in waiting:
                why = "it was interrupted: how far it came is unknown, and the next one goes on from there"
                parts.journal.append(PruneFailed(job=begun.job, agency=agency, site=site, error=why), by=BY)

    def _order_care(self, now: datetime) -> None:
        """One place at a time is read or pruned, while nothing else waits or runs; some time later all the same, but
        beside no copy of a point, and after one that has waited longer."""
        parts, waiting = self.parts, self.parts.jobs.open()
        if any(job.order.verb in QUIET for job in waiting):
            return
        state, site = parts.states.snapshot(), parts.site
        copy = copy_waits_since(parts.estate, state, site, self._since(state), now, parts.jobs.get)

        def is_next(each: Clearing | Turn | Proving, job: JobId) -> bool:
            is_before = copy is None or each.due_at <= copy
            return is_before and (each.urgent or not waiting) and parts.jobs.get(job) is None

        for clearing in clearings(parts.estate, state, site, now):
            job = attempt(state, PRUNE, clearing.agency.id, site, clearing.due_at, clearing.job(now), now)
            if is_next(clearing, job) and self._is_well(clearing.agency):
                parts.jobs.enqueue(self._clearing(clearing, job))
                return
        for turn in turns(parts.estate, state, site, now):
            job = attempt(state, CHECK, turn.agency.id, site, turn.due_at, turn.job(now), now)
            if is_next(turn, job):
                parts.jobs.enqueue(self._reading(turn, job))
                return
        for each in provings(parts.estate, state, site, now):
            job = attempt(state, PROVE, each.dataset.id, site, each.due_at, each.job(now), now)
            if is_next(each, job):
                parts.jobs.enqueue(self._proving(each, job, BY, CARE_PRIORITY))
                return

    def _is_well(self, agency: Agency) -> bool:
        found = self.look(agency)
        return found is not None and not (found.missing or found.why)

    def charges(self) -> tuple[Charge, ...]:
        return plan.charges(self.parts.estate, self.parts.site, self.parts.active())

    def ask(self, dataset: str, by: str, emptied: bool = False) -> Job:
        """Have the documents of one dataset kept now; answers the job that does, or the one that makes the agency's
        repository first, where that is not made yet: then it is asked again. ``emptied``: its store may list nothing,
        or few of many."""
        what = f"keep {dataset} from {self.parts.site}"
        charge = next((each for each in self.charges() if each.dataset.id == dataset), None)
        if charge is None:
            why = "its agency has no repository, or its system is active at the other site"
            raise Refusal("backup.not-ours", what, why, "ask the other site's controller; ncia backup list")
        state = self.parts.states.snapshot()
        now, maker = self.parts.clock.now(), plan.maker(self.parts.estate, charge.agency, self.parts.active())
        grade = self.parts.estate.systems[charge.dataset.system].grade  # somebody waits for it: rows do not come first
        if not plan.made_at(charge.agency, state):
            if self.parts.site == maker:
                return self.parts.jobs.enqueue(self._making(charge.agency, now, by, grade))
            why = f"the repository of {charge.agency.id} is not made yet"
            raise Refusal("agency.not-made", what, why, f"{maker} makes it within minutes of its start")
        job = new_id(KEEP, now)
        reason = f"{by} asked for it" + (", and said that the store was emptied" if emptied else "")
        order = self._keeping(charge, state, by, job, reason)
        details = {**order.details, "known": 0} if emptied else order.details
        return self.parts.jobs.enqueue(replace(order, priority=grade, details=details))

    def mend(self, dataset: str, by: str) -> Job:
        """Have this site's place of a dataset's agency, whatever is in it, mended from its twin; answers the job."""
        agency = self._owner(dataset)
        fact = self.parts.states.snapshot().repositories.get((agency.id, self.parts.site)) if agency else None
        if agency is None or fact is None:
            why = "no repository of it is made at this site"
            raise Refusal("agency.not-made", f"mend the repository of {dataset}", why, "ncia backup list")
        grade = self.parts.estate.systems[SystemId(dataset.split("/", 1)[0])].grade
        told: dict[str, Any] = {"repository": fact.made.repository}
        told |= {"parts": [list(part) for part in damaged_parts(fact)], "there": self._there(agency, fact)}
        return self.parts.jobs.enqueue(
            self._order(new_id(MEND, self.parts.clock.now()), MEND, agency, agency.id, grade, by, told)
        )

    def _there(self, agency: Agency, fact: RepositoryFact) -> list[dict[str, Any]]:
        """What is expected at the twin and not here, and was not forgotten here: a mending brings it."""
        state, here = self.parts.states.snapshot(), self.parts.site
        twin = state.repositories.get((agency.id, self.parts.estate.peer_of(here)))
        if twin is None or twin.made.repository != fact.made.repository:
            return []
        forgotten = {
            body.snapshot
            for entry in self.parts.journal.of_kind(SnapshotForgotten.KIND)
            if isinstance(body := entry.body, SnapshotForgotten) and body.site == here
        }
        return plan.lacking(twin.expected, fact.expected, forgotten)

    def forget(self, agency: str, remove_max: int | None, reason: str, by: str) -> dict[str, Any]:
        """Tell what the rules have no place for in this site's place; with ``remove_max`` let it go, once. Nothing goes
        where something is missing: what nobody needs today may be what mends it."""
        known, what = self._named(agency), f"forget snapshots of {agency}"
        if remove_max is not None:
            self._demand_officer(by, what)
        if remove_max is not None and not self._is_well(known):
            why = f"what its place at {self.parts.site} holds is not as it was kept, or it does not answer"
            raise Refusal("agency.not-as-kept", what, why, "ncia backup look; ncia backup mend")
        return self._forgetting.allow(known, remove_max, reason, by, self.parts.clock.now())

    def write_off(self, agency: str, reason: str, by: str) -> dict[str, Any]:
        """Expect no more what is missing in this site's place and nowhere else: nothing is forgotten or pruned there
        before that."""
        known, what = self._named(agency), f"write off snapshots of {agency}"
        self._demand_officer(by, what)
        found = self.look(known)
        if found is None or found.why:
            why = found.why if found is not None else "it gave no answer this time"
            raise Refusal("agency.not-as-kept", what, why, "ncia backup look")
        return self._forgetting.write_off(known, found.gone, reason, by)

    def _named(self, agency: str) -> Agency:
        known = self.parts.estate.agencies.get(AgencyId(agency))
        if known is None or known.repository is None:
            owners = ", ".join(each.id for each in self.parts.estate.agencies.values() if each.repository)
            what, why = f"find the repository of {agency}", "no agency with a repository is called so"
            raise NciaError("agency.unknown", what, why, owners)
        return known

    def _demand_officer(self, by: str, what: str) -> None:
        people = self.parts.estate.people
        person = people.get(PersonId(by))
        if person is None or person.role is not Role.RETENTION_OFFICER:
            officers = ", ".join(each.id for each in people.values() if each.role is Role.RETENTION_OFFICER)
            why = f"{by or 'nobody'} is no retention officer"
            raise Refusal("agency.not-officer", what, why, f"one of {officers or 'nobody in the estate'}")

    def prove(self, dataset: str, by: str) -> Job:
        """Have the newest whole snapshot of a dataset in this site's place restored and compared now."""
        agency = self._owner(dataset)
        fact = self.parts.states.snapshot().repositories.get((agency.id, self.parts.site)) if agency else None
        newest = fact.newest_whole(dataset) if fact else None
        found = self.parts.estate.datasets.get(DatasetId(dataset))
        if agency is None or newest is None or found is None or not found.documents:
            why = "no whole snapshot of it is in this site's place"
            raise Refusal("agency.no-snapshot", f"prove {dataset}", why, "ncia backup run; ncia backup list")
        now, grade = self.parts.clock.now(), self.parts.estate.systems[found.system].grade
        each = Proving(agency, self.parts.site, found, newest, now, True)
        return self.parts.jobs.enqueue(self._proving(each, new_id(PROVE, now), by, grade))

    def keeps(self, dataset: str) -> bool:
        """Whether it is documents of an agency that has a repository."""
        found = self.parts.estate.datasets.get(DatasetId(dataset))
        return bool(found and found.documents) and self._owner(dataset) is not None

    def _owner(self, dataset: str) -> Agency | None:
        estate = self.parts.estate
        found = estate.datasets.get(DatasetId(dataset))
        agency = estate.agencies.get(estate.systems[found.system].agency) if found else None
        return agency if agency is not None and agency.repository is not None else None

    def look_now(self, dataset: str | None) -> list[dict[str, Any]]:
        """Look into this site's place of a dataset's agency, or of each; answers what was found. A place that does not
        answer is told so, also the first time."""
        estate, site = self.parts.estate, self.parts.site
        known = {key[0] for key in self.parts.states.snapshot().repositories if key[1] == site}
        system = estate.systems.get(SystemId((dataset or "").split("/", 1)[0]))
        owners = known if dataset is None else {system.agency} & known if system else set()
        wanted = [agency for agency in estate.agencies.values() if agency.id in owners]
        if not wanted:
            what, why = (
                f"look into the repository of {dataset or 'any agency'}",
                "no repository of it is made at this site",
            )
            raise Refusal("agency.not-made", what, why, "ncia backup list")
        return [self._told(agency, self.look(agency)) for agency in wanted]

    def _told(self, agency: Agency, found: Compared | None) -> dict[str, Any]:
        fact = self.parts.states.snapshot().repositories[agency.id, self.parts.site]
        told = {"agency": agency.id, "site": self.parts.site, "expected": len(fact.expected)}
        if found is None:
            return {**told, "missing": [], "strangers": 0, "why": "it gave no answer this time"}
        return {**told, "missing": list(found.missing), "strangers": len(found.strangers), "why": found.why}

    def look(self, agency: Agency) -> Compared | None:
        """Compare this site's place with what is expected there, and write down what is new of it. None where nothing
        can be said yet: it gave no answer, this once."""
        with self._lock:
            key = (agency.id, self.parts.site)
            self._looked[agency.id] = self.parts.clock.now()
            before = self.parts.states.snapshot().repositories.get(key)
            if before is None or agency.repository is None:
                return None
            found = self._compared(agency, agency.repository, before)
            after = self.parts.states.snapshot().repositories[key]
            if found is not None:
                told = plan.looked(agency.id, self.parts.site, len(before.expected), found)
                known = after.looked
                if known is None or (told.missing, told.strangers, told.why) != (
                    known.missing,
                    known.strangers,
                    known.why,
                ):
                    self.parts.journal.append(told, by=BY)
                    log.info("repository.looked", **told.model_dump())
            return found

    def _compared(self, agency: Agency, repository: AgencyRepository, before: RepositoryFact) -> Compared | None:
        try:
            holding = self.parts.engine_of(repository).snapshots(self.parts.place_of(agency, self.parts.site))
        except NciaError as error:
            passing = error.code not in GRAVE and agency.id not in self._silent
            self._silent.add(agency.id)
            log.warning("repository.not-looked-into", agency=agency.id, why=str(error))
            return None if passing else Compared((), frozenset(), error.why)
        self._silent.discard(agency.id)
        after = self.parts.states.snapshot().repositories[agency.id, self.parts.site]
        still = {each.kept.snapshot for each in after.expected}
        both = [each for each in before.expected if each.kept.snapshot in still]  # none was forgotten meanwhile
        found = plan.compared(before.made.repository, both, holding)
        strange = found.strangers - still  # one that is written down a moment later is none
        lasting, self._strange[agency.id] = strange & self._strange.get(agency.id, frozenset()), strange
        return Compared(found.missing, lasting, found.why, found.gone)

    def _to_look_at(self, state: State, now: datetime) -> Agency | None:
        waiting = []
        for agency in self.parts.estate.agencies.values():
            fact = state.repositories.get((agency.id, self.parts.site))
            if fact is not None and agency.repository is not None:
                bad = fact.looked is not None and bool(fact.looked.missing or fact.looked.why)
                seconds = plan.LOOK_AGAIN_SECONDS if bad else plan.LOOK_SECONDS
                due = self._looked.get(agency.id, self._made_at) + timedelta(seconds=seconds)
                waiting.append((due, agency.id, agency))
        moment, _, found = min(waiting, default=(now, "", None), key=lambda each: each[:2])
        return found if moment <= now else None

    def _since(self, state: State) -> datetime:
        return state.started.get(self.parts.site, self._made_at)

    def _whose(self, state: State) -> tuple[Estate, State, SiteId, Mapping[SystemId, SiteId]]:
        return self.parts.estate, state, self.parts.site, self.parts.active()

    def _making(self, agency: Agency, now: datetime, by: str, priority: int) -> Order:
        told = {"made": list(plan.made_at(agency, self.parts.states.snapshot()))}
        return self._order(plan.making_job(agency, now), MAKE, agency, agency.id, priority, by, told)

    def _keeping(self, charge: Charge, state: State, by: str, job: JobId, reason: str) -> Order:
        grade = self.parts.estate.systems[charge.dataset.system].grade
        ids = {
            site: state.repositories[charge.agency.id, site].made.repository
            for site in plan.made_at(charge.agency, state)
        }
        told: dict[str, Any] = {"repositories": ids, "reason": reason}
        told["known"] = plan.files_known(charge, state)
        told |= {"met": {site: lock.count for site, lock in plan.locks_of(charge, state).items()}}
        return self._order(job, KEEP, charge.agency, charge.dataset.id, AFTER_BACKUPS + grade, by, told)

    def _reading(self, turn: Turn, job: JobId) -> Order:
        """Behind all that protects; it loads this site's own place and no link."""
        told = {"repository": turn.repository, "part": turn.share.number, "of": turn.share.of}
        return self._own_place(
            self._order(job, CHECK, turn.agency, turn.agency.id, CARE_PRIORITY, BY, told), turn.agency
        )

    def _clearing(self, clearing: Clearing, job: JobId) -> Order:
        """With what must be there before anything goes."""
        expected = {each.kept.snapshot: each.kept.tree for each in clearing.fact.expected}
        reason = f"due at {to_text(clearing.due_at)}: what no snapshot needs"
        told = {"repository": clearing.fact.made.repository, "expected": expected, "reason": reason}
        agency = clearing.agency
        return self._own_place(self._order(job, PRUNE, agency, agency.id, CARE_PRIORITY, BY, told), agency)

    def _proving(self, each: Proving, job: JobId, by: str, priority: int) -> Order:
        kept = each.newest.kept
        told: dict[str, Any] = {"repository": kept.repository, "snapshot": kept.snapshot, "tree": kept.tree}
        told |= {"files": kept.files, "staged_here": self._is_staged_here(each.dataset, kept.snapshot)}
        order = self._order(job, PROVE, each.agency, each.dataset.id, priority, by, told)
        return self._own_place(order, each.agency)

    def _is_staged_here(self, dataset: Dataset, snapshot: str) -> bool:
        """Whether this site has made it, of documents that are active here still."""
        return any(charge.dataset.id == dataset.id for charge in self.charges()) and any(
            isinstance(entry.body, SnapshotKept) and entry.body.snapshot == snapshot and entry.site == self.parts.site
            for entry in self.parts.journal.of_kind(SnapshotKept.KIND)
        )

    def _own_place(self, order: Order, agency: Agency) -> Order:
        place = agency.repository.places.get(self.parts.site) if agency.repository else None
        hosts = (place.host,) if isinstance(place, TreeCopy) else ()
        return replace(order, link="", hosts=hosts, lane=order.verb)

    def _order(
        self, job: JobId, verb: str, agency: Agency, dataset: str, priority: int, by: str, details: dict[str, Any]
    ) -> Order:
        places = agency.repository.places.values() if agency.repository else ()
        return Order(
            id=job,
            verb=verb,
            dataset=dataset,
            priority=priority,
            by=by,
            due_at=to_text(self.parts.clock.now()),
            link=Link(*sorted(self.parts.estate.centres)).id,
            hosts=tuple(sorted(place.host for place in places if isinstance(place, TreeCopy))),
            details={"agency": agency.id, **details},
            lane=KEEP,
        )
