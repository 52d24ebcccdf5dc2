"""When what no snapshot needs is removed from which place, and why it is not yet: values in, values out.

The controller of the site where a place lies is the one that removes there. While something is missing or damaged it
removes nothing: what nobody needs today may be all that mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.agencies.locking import met, told
from backup.agencies.plan import Charge, due_at, failures_of
from backup.agencies.ports import Holding
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SHORT, SiteId
from ncia.core.estate.model import Agency, Estate
from ncia.core.estate.repository import AgencyRepository
from ncia.core.state import State
from ncia.core.state.repositories import RepositoryFact
from ncia.core.work.jobs import JobId

PRUNE = "prune-repository"  # verb of jobs
RETRY_SECONDS = 3_600.0
LATE_SHARE = 0.5  # of an interval: so much later it waits for no quiet hour any longer


@dataclass(frozen=True)
class Clearing:
    """A place that is due. ``urgent``: backups that are due soon, and other jobs, are waited for no longer."""

    agency: Agency
    site: SiteId
    fact: RepositoryFact
    due_at: datetime
    urgent: bool

    def job(self, now: datetime) -> JobId:
        """Its name; another one after a while, where the first has failed."""
        where, tried = f"{self.agency.id}@{self.site}", int(now.timestamp() // RETRY_SECONDS)
        return f"prune:{where}:{to_text(self.due_at)}:{tried}"


def next_at(fact: RepositoryFact, repository: AgencyRepository) -> datetime:
    return (fact.pruned_at or fact.made_at) + timedelta(seconds=repository.prune_interval_seconds)


def clearings(estate: Estate, state: State, site: SiteId, now: datetime) -> tuple[Clearing, ...]:
    """The places of ``site`` that are due and have nothing to wait for, the longest first."""
    found = []
    for agency in estate.agencies.values():
        fact = state.repositories.get((agency.id, site))
        if fact is None or agency.repository is None or waits(estate, state, agency, site, now):
            continue
        moment = next_at(fact, agency.repository)
        if moment <= now:
            found.append(Clearing(agency, site, fact, moment, _late(moment, agency.repository, now)))
    return tuple(sorted(found, key=lambda each: (each.due_at, each.agency.id)))


def waits(estate: Estate, state: State, agency: Agency, site: SiteId, now: datetime) -> str:
    """Why a place that is due is not pruned now, in one clause; empty where it is, or is not due."""
    repository, fact = agency.repository, state.repositories.get((agency.id, site))
    if repository is None or fact is None or next_at(fact, repository) > now:
        return ""
    trouble = fact.trouble()
    if trouble is not None:
        return f"something is missing or damaged: {trouble[1]}"
    if fact.looked is None:
        return "nobody has looked into it yet"
    if _late(next_at(fact, repository), repository, now):
        return ""
    for charge in _charges(estate, agency, repository, site):
        moment = due_at(charge, state, now)
        if failures_of(charge, state) or moment - now < timedelta(seconds=repository.interval_seconds / 2):
            return f"a backup of {charge.dataset.id} is due, and would find it locked"
    return ""


def unwell(estate: Estate, state: State, agency: Agency, site: SiteId, now: datetime) -> str:
    """In one clause what a person must know: why it waits, or that nothing came of it for an interval."""
    repository, fact = agency.repository, state.repositories.get((agency.id, site))
    why = waits(estate, state, agency, site, now)
    if why or repository is None or fact is None:
        return f"its prune waits: {why}" if why else ""
    lock = met(state, PRUNE, agency.id, site, next_at(fact, repository))
    if lock is not None:
        return told(lock, "prune")
    if fact.pruning is not None and fact.pruning.error:
        begun = fact.pruning
        return f"its prune of {to_text(begun.at)[:16]}Z ({begun.by}) did not end well: {begun.error}"
    moment = next_at(fact, repository)
    if moment + timedelta(seconds=repository.prune_interval_seconds) <= now:
        return f"its prune is due since {to_text(moment)[:16]}Z, and no job carried it out"
    return ""


def lacking(repository: str, expected: dict[str, str], holding: Holding) -> str:
    """Why nothing may be removed from what is held, against the snapshots (and trees) that are expected; or nothing."""
    if holding.repository != repository:
        return f"it is repository {holding.repository[:SHORT]}, and another one was made there"
    if holding.damaged:
        return holding.damaged[0]
    trees = {each.snapshot: each.tree for each in holding.snapshots}
    gone = [name for name, tree in expected.items() if trees.get(name) != tree]
    return f"snapshot {gone[0][:SHORT]} is not there as it was kept" if gone else ""


def _late(moment: datetime, repository: AgencyRepository, now: datetime) -> bool:
    return moment + timedelta(seconds=LATE_SHARE * repository.prune_interval_seconds) <= now


def _charges(estate: Estate, agency: Agency, repository: AgencyRepository, site: SiteId) -> tuple[Charge, ...]:
    """All that goes into it, from whichever site."""
    owned = (system for system in estate.systems.values() if system.agency == agency.id)
    return tuple(Charge(agency, repository, dataset, site) for system in owned for dataset in system.documents)
