"""What is to be protected, what is due, what was missed, what may go: values in, values out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.base.ids import DatasetId, SiteId, SystemId
from ncia.core.estate.model import Dataset, Estate
from ncia.core.journal.entries import BackupFailed, PointBrought, PointCopied, ProofFailed, ProofFinished
from ncia.core.state import Job, PointCopy, Proof, RecoveryPoint, State
from ncia.core.work.jobs import Job as OpenJob
from ncia.core.work.jobs import JobId
from ncia.core.work.ledger import Expected

SLOT_PREFIX = "ncia_job_"
FIRST_AFTER_SECONDS = 60.0  # a controller that has just started lets the estate settle first
WINDOW_SECONDS_MIN = 120.0
RETRY_SECONDS_MIN = 30.0
NEWEST_KEPT = 2
BROUGHT_KEPT_SECONDS = 7 * 86_400.0  # what somebody had brought back is not cleared away under their hands


@dataclass(frozen=True)
class Charge:
    """One dataset that this site protects: it is active at ``source_site``, its copies go to ``store_site``."""

    dataset: Dataset
    source_site: SiteId
    store_site: SiteId
    interval_seconds: float

    @property
    def window_seconds(self) -> float:
        """How long after its due time a run may still happen before it counts as missed."""
        return max(self.interval_seconds / 2, WINDOW_SECONDS_MIN)


@dataclass(frozen=True)
class Due:
    """A run that is due. ``job`` names it: the same due time and try have the same name, however often asked for."""

    charge: Charge
    due_at: datetime
    job: JobId


def charges(estate: Estate, site: SiteId, active: Mapping[SystemId, SiteId]) -> tuple[Charge, ...]:
    """What ``site`` protects: every PostgreSQL dataset that is active at the other centre, essential ones first."""
    if site not in estate.centres:
        return ()
    peer = estate.peer_of(site)
    systems = sorted(estate.systems.values(), key=lambda system: (system.grade, system.id))
    return tuple(
        Charge(dataset, peer, site, estate.grades[system.grade].backup_interval_seconds)
        for system in systems
        if active.get(system.id, system.home) == peer
        for dataset in system.datasets
        if dataset.kind == "postgresql" and peer in dataset.copies
    )


def due_at(charge: Charge, state: State, since: datetime) -> datetime:
    """When the dataset's next run is due: an interval after its newest proven point at this store, or soon after
    ``since``, the start of the controller, where there is none. A copy counts once it has been proven.

    Where the dataset's newest proof after that found a difference, or failed at the other store (the system was moved
    under it), the run is due at once: nobody is left with "not proven" for an interval."""
    newest, last = _newest_proven(charge, state), state.proofs.get(charge.dataset.id)
    if newest is None:
        return since + timedelta(seconds=FIRST_AFTER_SECONDS)
    regular = newest.at + timedelta(seconds=charge.interval_seconds)
    if last is None or last.matched or last.at <= newest.at or not _counts_against(last, charge, state):
        return regular
    return min(last.at, regular)


def _counts_against(proof: Proof, charge: Charge, state: State) -> bool:
    """A copy that differs does; a proof that could not be done only where it was of the other store's point: here an
    earlier match stands, and somebody may have cancelled it."""
    if isinstance(proof.outcome, ProofFinished):
        return True
    point = state.point(charge.dataset.id, proof.outcome.point)
    return point is not None and point.backup.store_site != charge.store_site


def due(found: Sequence[Charge], state: State, since: datetime, now: datetime) -> tuple[Due, ...]:
    """Whose run is due now, the longest overdue first; one that has just failed is given a pause."""
    waiting = [(charge, due_at(charge, state, since)) for charge in found]
    ready = [
        Due(charge, moment, scheduled_job(charge, moment, len(_failures(charge, state)), now))
        for charge, moment in waiting
        if moment <= now and now >= _not_before(charge, state)
    ]
    return tuple(sorted(ready, key=lambda each: each.due_at))


def scheduled_job(charge: Charge, moment: datetime, failed: int, now: datetime) -> JobId:
    """The name of the run that has been due since ``moment`` and has failed so often. It counts the intervals since:
    a run that was cancelled is not asked for again before the next one."""
    passed = int((now - moment).total_seconds() // charge.interval_seconds)
    newest = moment + timedelta(seconds=passed * charge.interval_seconds)
    return f"backup:{charge.dataset.id}:{to_text(newest)}:{failed + 1}"


def proof_job(job: JobId) -> JobId:
    """The name of the proof that follows the backup ``job``."""
    return "proof" + job.removeprefix("backup")


def attempt_name(job: JobId, fence: int) -> str:
    """What one attempt at a job calls its places and slots: another attempt's are never in its way."""
    kind = job[: len("proof")] if job.startswith("proof") else "backup"
    return f"{kind}-{job_token(job)}x{fence}"


def job_token(job: JobId) -> str:
    """Part of the names of all places of a job and its proof; short, for a socket's path must fit into 107 bytes."""
    subject = job.removeprefix("backup").removeprefix("proof")
    return hashlib.sha256(subject.encode()).hexdigest()[:8]


def expected(charge: Charge, state: State, since: datetime) -> Expected:
    """What the ledger of missed runs is to watch for."""
    name = charge.dataset.id
    first = due_at(charge, state, since)
    return Expected(work_name(name), name, first, charge.interval_seconds, charge.window_seconds)


def retired(points: Iterable[RecoveryPoint]) -> tuple[RecoveryPoint, ...]:
    """Which points of one dataset and store may be deleted: all but the newest ones and the newest proven one, and
    none at all while nothing is proven."""
    known = sorted(points, key=lambda point: point.at)
    proven = [point for point in known if point.proven]
    if not proven:
        return ()
    kept = {point.id for point in known[-NEWEST_KEPT:]} | {proven[-1].id}
    return tuple(point for point in known if point.id not in kept and point.at < proven[-1].at)


def just_brought(state: State, dataset: str, store_site: str) -> frozenset[str]:
    """The points that came back out of an agency's repository into that store a short time ago."""
    if state.last_at is None:
        return frozenset()
    since = state.last_at - timedelta(seconds=BROUGHT_KEPT_SECONDS)
    found = (each for each in state.brought.get((dataset, store_site), ()) if each.at > since)
    return frozenset(each.body.point for each in found if isinstance(each.body, PointBrought))


def being_read(jobs: Iterable[OpenJob]) -> frozenset[str]:
    """The points that jobs were ordered for, and may be reading: nobody deletes one under them."""
    told = (job.order.details.get("point") for job in jobs)
    return frozenset(str(point["point"]) for point in told if point)


def uncopied(state: State, peer: str, site: str, dataset: str | None = None) -> tuple[RecoveryPoint, ...]:
    """Each dataset's newest proven point in the peer's store, where ``site`` has no copy of it."""
    found = []
    for name, points in sorted(state.points.items()):
        proven = [point for point in points if point.proven and point.backup.store_site == peer]
        newest = proven[-1] if proven and dataset in (None, name) else None
        if newest is not None and not state.holds(name, newest.id, site):
            found.append(newest)
    return tuple(found)


def needless_copies(copies: Iterable[PointCopy], store_site: str) -> tuple[PointCopied, ...]:
    """Which of the second copies of one dataset in that store may be deleted: all but the newest ones."""
    here = [each for each in copies if each.copied.store_site == store_site]
    newest_last = sorted(here, key=lambda each: (each.copied.point, each.at))  # a point's name begins with its time
    return tuple(each.copied for each in newest_last[:-NEWEST_KEPT])


def grade_of(estate: Estate, dataset: str) -> int:
    """The grade of its system; 0 where the estate has it no more."""
    system = estate.systems.get(SystemId(dataset.split("/", 1)[0]))
    return system.grade if system else 0


def open_jobs(state: State, site: SiteId) -> tuple[Job, ...]:
    """The jobs of ``site`` of whose end nothing is known."""
    return tuple(job for job in state.jobs.values() if job.site == site and job.ended is None)


def underway(state: State, charge: Charge, site: SiteId, now: datetime) -> bool:
    """Whether ``site`` has begun work on the dataset within the last interval and not said how it ended. Older than
    that it is no excuse: who died in the middle of a job never says so."""
    since = now - timedelta(seconds=charge.interval_seconds)
    return any(job.started.dataset == charge.dataset.id and job.started_at > since for job in open_jobs(state, site))


def provable(points: Iterable[RecoveryPoint], store_site: SiteId) -> RecoveryPoint | None:
    """The newest point at that store which carries its source's sums."""
    known = [p for p in points if p.backup.store_site == store_site and p.backup.compare_lsn]
    return max(known, key=lambda point: point.at, default=None)


def slot_name(job: str) -> str:
    """The replication slot of a job: what crashed jobs leave is known by its name."""
    return SLOT_PREFIX + "".join(letter if letter.isalnum() else "_" for letter in job.lower())


def work_name(dataset: DatasetId) -> str:
    """The scheduled work, as the ledger of missed runs calls it."""
    return f"backup:{dataset}"


def _newest_proven(charge: Charge, state: State) -> RecoveryPoint | None:
    points = state.points.get(charge.dataset.id, ())
    here = [point for point in points if point.proven and point.backup.store_site == charge.store_site]
    return max(here, key=lambda point: point.at, default=None)


def _not_before(charge: Charge, state: State) -> datetime:
    """After a failure: a pause that grows with the number of failures since the newest proof, up to the interval."""
    failed = _failures(charge, state)
    if not failed:
        return datetime.min.replace(tzinfo=UTC)
    pause = min(charge.interval_seconds, RETRY_SECONDS_MIN * 2 ** min(len(failed) - 1, 16))
    return max(failed) + timedelta(seconds=pause)


def _failures(charge: Charge, state: State) -> tuple[datetime, ...]:
    """When the dataset's runs failed since its newest proof."""
    newest = _newest_proven(charge, state)
    return tuple(
        job.ended_at
        for job in state.jobs.values()
        if job.started.dataset == charge.dataset.id and job.ended_at is not None and _failed(job)
        if newest is None or job.ended_at > newest.at
    )


def _failed(job: Job) -> bool:
    if isinstance(job.ended, ProofFinished):
        return not job.ended.matched
    return isinstance(job.ended, BackupFailed | ProofFailed)
