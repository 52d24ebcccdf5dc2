"""Which documents go into which repository, when, and what a look at one has found: values in, values out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from backup.agencies.locking import again, held_up, met
from backup.agencies.ports import Holding
from backup.repository.care.forgetting import Policy, demand_modest, judge
from backup.repository.format.snapshots import Snapshot
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SHORT, AgencyId, SiteId, SystemId
from ncia.core.estate.model import Agency, Dataset, Estate
from ncia.core.estate.repository import AgencyRepository, Keep
from ncia.core.journal.entries_repositories import RepositoryLooked
from ncia.core.state import State
from ncia.core.state.repositories import ExpectedSnapshot, LockFact, SnapshotFailure
from ncia.core.work.jobs import JobId

MAKE, KEEP, MEND = "make-repository", "snapshot", "mend-repository"  # verbs of jobs
MAKE_AFTER_SECONDS = 480.0  # a controller that has just started has rows to protect first
FIRST_AFTER_SECONDS = 600.0
MAKE_RETRY_SECONDS = 300.0
RETRY_SECONDS_MIN = 300.0
CANCELLED_SECONDS = 1_800.0
LOOK_SECONDS = 900.0  # between two looks at one repository
LOOK_AGAIN_SECONDS = 60.0  # where something is missing: it may have been mended
NEVER = -1  # so many files are known of what was never kept
NAMED_MAX = 20
MENDED_MAX = 1_000  # snapshots that one mending looks for: more are the next one's


@dataclass(frozen=True)
class Charge:
    """One dataset's documents, active at ``site``, which go into the agency's repository at both centres."""

    agency: Agency
    repository: AgencyRepository
    dataset: Dataset
    site: SiteId


@dataclass(frozen=True)
class Due:
    charge: Charge
    due_at: datetime
    job: JobId


def charges(estate: Estate, site: SiteId, active: Mapping[SystemId, SiteId]) -> tuple[Charge, ...]:
    """What the controller of ``site`` keeps: the documents of systems that are active there, essential ones first."""
    systems = sorted(estate.systems.values(), key=lambda system: (system.grade, system.id))
    return tuple(
        Charge(agency, agency.repository, dataset, site)
        for system in systems
        if active.get(system.id, system.home) == site
        for dataset in system.documents
        if (agency := estate.agencies.get(system.agency)) and agency.repository and site in dataset.documents
    )


def maker(estate: Estate, agency: Agency, active: Mapping[SystemId, SiteId]) -> SiteId:
    """The one centre that makes an agency's repository, for two that make one make two: where its most essential system
    is active. The epochs say so, and not a guess: once the systems of a centre that is lost were moved, the other makes
    what is not made yet."""
    owned = (system for system in estate.systems.values() if system.agency == agency.id)
    first = min(owned, key=lambda system: (system.grade, system.id), default=None)
    return active.get(first.id, first.home) if first is not None else estate.centres[0]


def unmade(
    estate: Estate, state: State, site: SiteId, active: Mapping[SystemId, SiteId], since: datetime, now: datetime
) -> tuple[Agency, ...]:
    """The repositories that ``site`` has to make, a while after ``since``, its start; a place where that has just
    failed is given a pause that grows up to the interval."""
    if site not in estate.centres or now < since + timedelta(seconds=MAKE_AFTER_SECONDS):
        return ()
    return tuple(
        agency
        for agency in estate.agencies.values()
        if agency.repository
        and not made(agency, state)
        and any(_makeable(estate, state, agency, place, now) for place in lacking_at(agency, state))
        and maker(estate, agency, active) == site
    )


def made(agency: Agency, state: State) -> bool:
    """At all of its places."""
    return not lacking_at(agency, state)


def made_at(agency: Agency, state: State) -> tuple[SiteId, ...]:
    places = agency.repository.places if agency.repository else {}
    return tuple(site for site in places if (agency.id, site) in state.repositories)


def lacking_at(agency: Agency, state: State) -> tuple[SiteId, ...]:
    places = agency.repository.places if agency.repository else {}
    return tuple(site for site in places if (agency.id, site) not in state.repositories)


def waiting(estate: Estate, agency: Agency) -> tuple[Dataset, ...]:
    """What is kept nowhere else and so waits for the repository to be made: documents; where there are none, all."""
    owned = [system for system in estate.systems.values() if system.agency == agency.id]
    documents = tuple(each for system in owned for each in system.documents)
    return documents or tuple(each for system in owned for each in system.datasets)


def _makeable(estate: Estate, state: State, agency: Agency, site: SiteId, now: datetime) -> bool:
    """Not within the pause after the newest failure there."""
    if agency.repository is None:
        return False
    known = [state.snapshot_failures.get((each.id, site)) for each in waiting(estate, agency)]
    newest = max((each for each in known if each is not None), key=lambda each: each.at, default=None)
    if newest is None:
        return True
    pause = min(agency.repository.interval_seconds, MAKE_RETRY_SECONDS * 2 ** min(newest.count - 1, 16))
    return newest.at + timedelta(seconds=pause) <= now


def making_job(agency: Agency, now: datetime) -> JobId:
    """Its name; another one after a while, where the first has failed."""
    return f"repository:{agency.id}:{int(now.timestamp() // MAKE_RETRY_SECONDS)}"


def due_at(charge: Charge, state: State, since: datetime) -> datetime:
    """An interval after the older one of the newest whole snapshots of the places that are made, or soon after
    ``since``."""
    found = []
    for site in made_at(charge.agency, state):
        fact = state.repositories.get((charge.agency.id, site))
        newest = fact.newest_whole(charge.dataset.id) if fact else None
        if newest is None:
            return since + timedelta(seconds=FIRST_AFTER_SECONDS)
        found.append(newest.at)
    if not found:
        return since + timedelta(seconds=FIRST_AFTER_SECONDS)
    return min(found) + timedelta(seconds=charge.repository.interval_seconds)


def due(found: Sequence[Charge], state: State, since: datetime, now: datetime) -> tuple[Due, ...]:
    """Whose backup is due now; one that has just failed is given a pause that grows up to the interval."""
    ready = []
    for charge in found:
        moment = due_at(charge, state, since)
        failures, locks = failures_of(charge, state), locks_of(charge, state)
        if held_up(locks.values(), now):
            continue
        if made_at(charge.agency, state) and moment <= now and now >= not_before(charge, failures):
            count = max((each.count for each in failures), default=0)
            passed = int((now - moment).total_seconds() // charge.repository.interval_seconds)
            named = moment + timedelta(seconds=passed * charge.repository.interval_seconds)
            job = f"snapshot:{charge.dataset.id}:{to_text(named)}:{count + 1}:{attempts(named, now)}"
            ready.append(Due(charge, moment, again(job, *locks.values())))
    return tuple(sorted(ready, key=lambda each: each.due_at))


def attempts(moment: datetime, now: datetime) -> int:
    """How often a job that is due since ``moment`` may have been ordered before: one that was cancelled while it
    waited told nobody, and is due again a while later."""
    return int((now - moment).total_seconds() // CANCELLED_SECONDS)


def failures_of(charge: Charge, state: State) -> tuple[SnapshotFailure, ...]:
    """In places that are made: that one is lacking holds up no backup into the other."""
    known = (state.snapshot_failures.get((charge.dataset.id, site)) for site in made_at(charge.agency, state))
    return tuple(each for each in known if each is not None)


def files_known(charge: Charge, state: State) -> int:
    """How many files its newest whole snapshot has, wherever that is; ``NEVER`` where none is."""
    newest = (
        state.repositories[charge.agency.id, site].newest_whole(charge.dataset.id)
        for site in made_at(charge.agency, state)
    )
    last = max((each for each in newest if each is not None), key=lambda each: (each.at, each.kept.files), default=None)
    return NEVER if last is None else last.kept.files


def locks_of(charge: Charge, state: State, verb: str = KEEP) -> dict[SiteId, LockFact]:
    """The locks that its backups have met at places where nothing of it was kept since."""
    found = {}
    for site in made_at(charge.agency, state):
        newest = state.repositories[charge.agency.id, site].newest_whole(charge.dataset.id)
        lock = met(state, verb, charge.dataset.id, site, newest.at if newest else None)
        if lock is not None:
            found[site] = lock
    return found


def not_before(charge: Charge, failures: Collection[SnapshotFailure]) -> datetime:
    if not failures:
        return datetime.min.replace(tzinfo=UTC)
    newest = max(failures, key=lambda each: each.at)
    pause = min(charge.repository.interval_seconds, RETRY_SECONDS_MIN * 2 ** min(newest.count - 1, 16))
    return newest.at + timedelta(seconds=pause)


@dataclass(frozen=True)
class Compared:
    """What a look came to. ``strangers``: ids of snapshots that nobody wrote down; ``gone``: of the missing ones."""

    missing: tuple[str, ...]
    strangers: frozenset[str]
    why: str = ""
    gone: frozenset[str] = frozenset()


def compared(repository: str, expected: Sequence[ExpectedSnapshot], holding: Holding) -> Compared:
    """What should be there against what is. A snapshot's id is the hash of its file, and ``tree`` that of all that is
    in it: one that is there and reads so is the one that was kept."""
    if holding.repository != repository:
        why = f"it is repository {holding.repository[:SHORT]}, and {repository[:SHORT]} was made there"
        return Compared((), frozenset(), why)
    trees = {each.snapshot: each.tree for each in holding.snapshots}
    missing, gone = [], set()
    for each in expected:
        kept = each.kept
        if trees.get(kept.snapshot) != kept.tree:
            gone.add(kept.snapshot)
            fault = "is not there" if kept.snapshot not in trees else "has another tree than was kept"
            missing.append(
                f"snapshot {kept.snapshot[:SHORT]} of {kept.dataset}, kept {to_text(each.at)[:19]}Z, {fault}"
            )
    known = {each.kept.snapshot for each in expected}
    if missing:
        missing += holding.damaged[:NAMED_MAX]
    more = len(missing) - NAMED_MAX
    told = (*missing[:NAMED_MAX], f"and {more} more") if more > 0 else tuple(missing)
    return Compared(told, frozenset(trees) - known, "", frozenset(gone))


def lacking(
    there: Sequence[ExpectedSnapshot], here: Sequence[ExpectedSnapshot], forgotten: Collection[str]
) -> list[dict[str, Any]]:
    """What is kept there and not here, the newest of it, as an entry would tell it here."""
    known = {each.kept.snapshot for each in here} | {*forgotten}
    found = [each for each in there if each.kept.snapshot not in known][-MENDED_MAX:]
    return [{**each.kept.model_dump(mode="json", exclude={"seconds"}), "kept_at": to_text(each.at)} for each in found]


def over(
    expected: Sequence[ExpectedSnapshot],
    keep: Keep,
    now: datetime,
    removed_max: int | None = None,
    proven: Collection[str] = (),
) -> tuple[tuple[ExpectedSnapshot, str], ...]:
    """Which snapshots of one place need not be kept any more, and why. Those of a dataset are judged together, by when
    the journal has them: nobody else's clock counts. The newest ``proven`` one of each stays whatever the rules say, or
    where none is, the newest whole one; so do all partial ones after that. Raises :class:`Refusal` where much would go
    at once: somebody is to look at that first, and then says ``removed_max``."""
    whole = [each for each in expected if each.whole]
    newest = {each.kept.dataset: each for each in whole}
    policy = Policy(keep.last, daily=keep.daily, weekly=keep.weekly, monthly=keep.monthly, yearly=keep.yearly)
    sure = {*proven} | {each.kept.snapshot for each in _unproven(whole, proven).values()}
    judged = judge(map(_judgeable, whole), policy, now, sure)
    demand_modest(judged, removed_max)
    gone = {each.snapshot.id for each in judged if not each.kept}
    counts = ", ".join(f"{word} {count}" for word, count in vars(keep).items() if count)
    found = [(each, f"newer ones take its places: {counts}") for each in whole if each.kept.snapshot in gone]
    for each in expected:
        later = newest.get(each.kept.dataset)
        if not each.whole and later is not None and later.at > each.at:
            found.append((each, f"it is partial, and {later.kept.snapshot[:SHORT]} after it is whole"))
    return tuple(found)


def _unproven(whole: Sequence[ExpectedSnapshot], proven: Collection[str]) -> dict[str, ExpectedSnapshot]:
    """The newest one of each dataset of which none is proven; one with files before an empty one."""
    surely = {each.kept.dataset for each in whole if each.kept.snapshot in proven}
    return {each.kept.dataset: each for each in sorted(whole, key=_has_files) if each.kept.dataset not in surely}


def _has_files(each: ExpectedSnapshot) -> bool:
    return each.kept.files > 0


def _judgeable(each: ExpectedSnapshot) -> Snapshot:
    kept = each.kept
    return Snapshot(each.at, bytes.fromhex(kept.tree), (kept.dataset,), kept.agency, "", id=kept.snapshot)


def looked(agency: AgencyId, site: SiteId, expected: int, found: Compared) -> RepositoryLooked:
    return RepositoryLooked(
        agency=agency,
        site=site,
        expected=expected,
        missing=found.missing,
        strangers=len(found.strangers),
        why=found.why,
    )
