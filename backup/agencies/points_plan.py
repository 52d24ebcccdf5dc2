"""Which recovery points and programs go into their agency's repository, and when: values in, values out.

A store has a point each hour or oftener; its agency's repository gets the newest proven one of each dataset once in its
interval, and a program when it changed. The centre in whose store it lies is the one that keeps it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backup.agencies.locking import again, held_up
from backup.agencies.plan import Charge, attempts, failures_of, locks_of, made_at, not_before
from ncia.core.base.clock import to_text
from ncia.core.base.ids import AgencyId, SiteId
from ncia.core.estate.model import Agency, Dataset, Estate
from ncia.core.estate.repository import AgencyRepository
from ncia.core.journal.entries import BackupFinished, ProgramCaptured
from ncia.core.state import State
from ncia.core.state.repositories import ExpectedSnapshot
from ncia.core.work.jobs import JobId

KEEP_POINT, BRING_POINT = "keep-point", "bring-point"  # verbs of jobs
KEEP_PROGRAM, BRING_PROGRAM = "keep-program", "bring-program"
FIRST_AFTER_SECONDS = 1_800.0  # a controller that has just started has rows and documents to protect first


@dataclass(frozen=True)
class Subject:
    """What is to be kept: a proven point, or a program's archive, in the store of ``charge.site``. The interval of the
    charge's repository is that of this kind of subject."""

    charge: Charge
    body: BackupFinished | ProgramCaptured

    @property
    def id(self) -> str:
        return self.body.point if isinstance(self.body, BackupFinished) else self.body.path

    @property
    def verb(self) -> str:
        return KEEP_POINT if isinstance(self.body, BackupFinished) else KEEP_PROGRAM

    def details(self) -> dict[str, Any]:
        name = "point" if isinstance(self.body, BackupFinished) else "archive"
        return {name: self.body.model_dump(mode="json")}


@dataclass(frozen=True)
class Due:
    subject: Subject
    due_at: datetime
    job: JobId


def subjects(estate: Estate, state: State, site: SiteId) -> tuple[Subject, ...]:
    """What lies in the store of ``site`` and is the newest of its dataset, essential systems first."""
    systems = sorted(estate.systems.values(), key=lambda system: (system.grade, system.id))
    found = []
    for system in systems:
        agency = estate.agencies.get(system.agency)
        if agency is None or agency.repository is None or not made_at(agency, state):
            continue
        for dataset in system.datasets:
            found += list(_subject(agency, agency.repository, dataset, site, state))
    return tuple(found)


def _subject(
    agency: Agency, repository: AgencyRepository, dataset: Dataset, site: SiteId, state: State
) -> Iterator[Subject]:
    point, program = state.newest_proven(dataset.id), state.programs.get(dataset.id)
    if point is not None and point.backup.store_site == site:
        daily = replace(repository, interval_seconds=repository.points_interval_seconds)
        yield Subject(Charge(agency, daily, dataset, site), point.backup)
    elif program is not None and program.captured is not None and program.captured.store_site == site:
        yield Subject(Charge(agency, repository, dataset, site), program.captured)


def is_kept(subject: Subject, state: State) -> bool:
    """Whether each place that is made has it."""
    charge = subject.charge
    places = made_at(charge.agency, state)
    return all(_kept(state, charge.agency.id, site, charge.dataset.id, subject.id) for site in places)


def _kept(state: State, agency: AgencyId, site: SiteId, dataset: str, subject: str = "") -> ExpectedSnapshot | None:
    fact = state.repositories.get((agency, site))
    return fact.kept_of(dataset, subject) if fact else None


def due_at(subject: Subject, state: State, since: datetime) -> datetime:
    """An interval after the oldest of its newest ones at the places that are made, or a while after ``since``."""
    charge = subject.charge
    known = [_kept(state, charge.agency.id, site, charge.dataset.id) for site in made_at(charge.agency, state)]
    newest = [each.at for each in known if each is not None]
    if len(newest) < len(known):
        return since + timedelta(seconds=FIRST_AFTER_SECONDS)
    return min(newest) + timedelta(seconds=charge.repository.interval_seconds)


def due(estate: Estate, state: State, site: SiteId, since: datetime, now: datetime) -> tuple[Due, ...]:
    """What is due now, the longest first; what has just failed is given a pause that grows up to its interval."""
    ready = []
    for subject in subjects(estate, state, site):
        moment, failures = due_at(subject, state, since), failures_of(subject.charge, state)
        locks = locks_of(subject.charge, state, subject.verb)
        if held_up(locks.values(), now):
            continue
        if moment <= now and not is_kept(subject, state) and now >= not_before(subject.charge, failures):
            count = max((each.count for each in failures), default=0)
            named = f"{subject.verb}:{subject.charge.dataset.id}:{subject.id}:{to_text(moment)}"
            job = f"{named}:{count + 1}:{attempts(moment, now)}"
            ready.append(Due(subject, moment, again(job, *locks.values())))
    return tuple(sorted(ready, key=lambda each: each.due_at))


def late(estate: Estate, state: State, now: datetime) -> tuple[tuple[str, str], ...]:
    """What should have been kept an interval ago and is not, at either site: the dataset, and what a person must know,
    in one clause."""
    told = []
    for site in estate.centres:
        for subject in subjects(estate, state, site) if site in state.started else ():
            moment = due_at(subject, state, state.started[site])
            interval = timedelta(seconds=subject.charge.repository.interval_seconds)
            if not is_kept(subject, state) and moment + interval <= now:
                places = len(state.snapshots_of(subject.charge.dataset.id, subject.id))
                made = len(made_at(subject.charge.agency, state))
                why = f"{subject.id} is at {places} of {made} places of its agency's repository"
                told.append((str(subject.charge.dataset.id), f"{why}, due {to_text(moment)[:16]}Z"))
    return tuple(told)


@dataclass(frozen=True)
class Found:
    """Snapshots of one subject, that of the site itself first; ``store_site``: whose store it was kept out of."""

    agency: AgencyId
    subject: str
    store_site: str
    snapshots: tuple[tuple[SiteId, ExpectedSnapshot], ...]


def kept_of(estate: Estate, state: State, site: SiteId, dataset: Dataset, subject: str) -> Found | None:
    """Where a subject of the dataset can be brought from; without one named, the newest that is kept anywhere."""
    agency = estate.agencies.get(estate.systems[dataset.system].agency)
    if agency is None or agency.repository is None:
        return None
    places = sorted(agency.repository.places, key=lambda each: each != site)
    if not subject:
        known = [each for place in places if (each := _kept(state, agency.id, place, dataset.id))]
        newest = max(known, key=lambda each: each.at, default=None)
        if newest is None:
            return None
        held = state.repositories[agency.id, SiteId(newest.kept.site)].holds[newest.kept.snapshot]
        subject = held.subject
    found = [(place, each) for place in places if (each := _kept(state, agency.id, place, dataset.id, subject))]
    if not found:
        return None
    place, each = found[0]
    held = state.repositories[agency.id, place].holds[each.kept.snapshot]
    return Found(agency.id, subject, held.store_site, tuple(found))
