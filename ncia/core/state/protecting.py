"""What protects the data: jobs, recovery points and what was proven of them, programs, mirrors, what was missed.

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import from_text, to_text
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    MirrorChanged,
    PointBrought,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProgramBrought,
    ProgramCaptured,
    ProgramCompared,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    RunMissed,
)
from ncia.core.journal.entry import Entry
from ncia.core.state.bounds import without_oldest
from ncia.core.state.facts import (
    Brought,
    Job,
    MirrorState,
    Missed,
    PointCopy,
    ProgramFact,
    Proof,
    RecoveryPoint,
    Reread,
)

if TYPE_CHECKING:
    from ncia.core.state.state import State

POINTS_PER_DATASET_MAX = 100
BROUGHT_MAX = POINTS_PER_DATASET_MAX
JOBS_ENDED_MAX = 500
MISSED_MAX = 500


def backup_started(state: State, entry: Entry, body: BackupStarted) -> None:
    _start_job(state, entry, body)


def backup_finished(state: State, entry: Entry, body: BackupFinished) -> None:
    _end_job(state, entry, body)
    point = RecoveryPoint(body.point, body.dataset, entry.at, body)
    kept = (*state.points.get(body.dataset, ()), point)[-POINTS_PER_DATASET_MAX:]
    state.points = {**state.points, body.dataset: kept}
    _settle_missed(state, body.job, body.dataset)


def backup_failed(state: State, entry: Entry, body: BackupFailed) -> None:
    _end_job(state, entry, body)


def proof_started(state: State, entry: Entry, body: ProofStarted) -> None:
    _start_job(state, entry, body)


def proof_finished(state: State, entry: Entry, body: ProofFinished) -> None:
    """The comparison's word is final for its point: what matched counts, what did not counts no longer."""
    _end_job(state, entry, body)
    _prove(state, Proof(entry.at, body))
    _settle_missed(state, body.job, body.dataset)
    state.missed = tuple(each for each in state.missed if not makes_good(state, each.run))


def proof_failed(state: State, entry: Entry, body: ProofFailed) -> None:
    """Nothing was compared: an earlier match of the point stands."""
    _end_job(state, entry, body)
    _prove(state, Proof(entry.at, body))


def point_deleted(state: State, entry: Entry, body: PointDeleted) -> None:
    """Of a store's copy of another store's point only the copy is gone."""
    copies = tuple(each for each in state.copies.get(body.dataset, ()) if not _is_of(each, body))
    if len(copies) < len(state.copies.get(body.dataset, ())):
        state.copies = {**state.copies, body.dataset: copies}
        return
    kept = tuple(
        point
        for point in state.points.get(body.dataset, ())
        if (point.id, point.backup.store_site) != (body.point, body.store_site)
    )
    state.points = {**state.points, body.dataset: kept}
    proven = state.proven.get(body.dataset)
    if proven is not None and (proven.id, proven.backup.store_site) == (body.point, body.store_site):
        without = {dataset: point for dataset, point in state.proven.items() if dataset != body.dataset}
        standing = [point for point in kept if point.proven]
        state.proven = {**without, body.dataset: standing[-1]} if standing else without


def point_rehashed(state: State, entry: Entry, body: PointRehashed) -> None:
    """A point whose bytes changed counts no longer, whatever was proven of it before."""
    points = tuple(
        replace(point, reread=Reread(entry.at, body)) if point.id == body.point else point
        for point in state.points.get(body.dataset, ())
    )
    state.points = {**state.points, body.dataset: points}
    _stand(state, body.dataset, points, bad="" if body.matched else body.point)


def point_copied(state: State, entry: Entry, body: PointCopied) -> None:
    known = state.copies.get(body.dataset, ())
    if not any((each.copied.point, each.copied.store_site) == (body.point, body.store_site) for each in known):
        kept = (*known, PointCopy(entry.at, body))[-POINTS_PER_DATASET_MAX:]
        state.copies = {**state.copies, body.dataset: kept}


def point_brought(state: State, entry: Entry, body: PointBrought) -> None:
    """Where that store's point is listed, it is there again. Where another store's is, this is a second copy of it.
    Where none is any more, it is one again, with nothing proven of it, at its place in time."""
    _brought(state, entry, body)
    known = state.points.get(body.dataset, ())
    if state.holds(body.dataset, body.point, body.store_site):
        return
    told = body.model_dump()
    if any(point.id == body.point for point in known):
        copied = PointCopied(**{name: told[name] for name in PointCopied.model_fields})
        point_copied(state, entry, copied)
        return
    taken = {**told, "job": body.taken_by, "seconds": body.taken_seconds}
    backup = BackupFinished(**{name: taken[name] for name in BackupFinished.model_fields})
    point = RecoveryPoint(body.point, body.dataset, from_text(body.taken_at), backup)
    kept = sorted((*known, point), key=lambda each: each.at)[-POINTS_PER_DATASET_MAX:]
    state.points = {**state.points, body.dataset: tuple(kept)}


def program_brought(state: State, entry: Entry, body: ProgramBrought) -> None:
    _brought(state, entry, body)


def _brought(state: State, entry: Entry, body: PointBrought | ProgramBrought) -> None:
    where = (body.dataset, body.store_site)
    kept = (*state.brought.get(where, ()), Brought(entry.at, body))[-BROUGHT_MAX:]
    state.brought = {**state.brought, where: kept}


def _is_of(copy: PointCopy, body: PointDeleted) -> bool:
    return (copy.copied.point, copy.copied.store_site) == (body.point, body.store_site)


def program_captured(state: State, entry: Entry, body: ProgramCaptured) -> None:
    known = state.programs.get(body.dataset, ProgramFact())
    state.programs = {**state.programs, body.dataset: replace(known, captured=body, captured_at=entry.at)}


def program_compared(state: State, entry: Entry, body: ProgramCompared) -> None:
    known = state.programs.get(body.dataset, ProgramFact())
    state.programs = {**state.programs, body.dataset: replace(known, compared=body, compared_at=entry.at)}


def mirror_changed(state: State, entry: Entry, body: MirrorChanged) -> None:
    key = (body.dataset, body.target_site)
    state.mirrors = {**state.mirrors, key: MirrorState(entry.at, body)}


def run_missed(state: State, entry: Entry, body: RunMissed) -> None:
    """Both sites may write one down. The peer may have done the work where the other could not hear of it: what was
    proven since the run was due makes it good, whichever entry is read first."""
    known = any(each.run.job == body.job and each.run.due_at == body.due_at for each in state.missed)
    if not known and not makes_good(state, body):
        state.missed = (*state.missed, Missed(entry.at, body))[-MISSED_MAX:]


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    BackupStarted.KIND: backup_started,
    BackupFinished.KIND: backup_finished,
    BackupFailed.KIND: backup_failed,
    ProofStarted.KIND: proof_started,
    ProofFinished.KIND: proof_finished,
    ProofFailed.KIND: proof_failed,
    PointDeleted.KIND: point_deleted,
    PointRehashed.KIND: point_rehashed,
    PointCopied.KIND: point_copied,
    PointBrought.KIND: point_brought,
    ProgramBrought.KIND: program_brought,
    ProgramCaptured.KIND: program_captured,
    ProgramCompared.KIND: program_compared,
    MirrorChanged.KIND: mirror_changed,
    RunMissed.KIND: run_missed,
}


def makes_good(state: State, body: RunMissed) -> bool:
    """Whether the dataset has a proven point from after the run was due."""
    proven = state.proven.get(body.dataset)
    return proven is not None and to_text(proven.at) >= body.due_at


def _start_job(state: State, entry: Entry, body: BackupStarted | ProofStarted) -> None:
    state.jobs = {**state.jobs, body.job: Job(body.job, entry.site, entry.at, body)}


def _end_job(state: State, entry: Entry, body: BackupFinished | BackupFailed | ProofFinished | ProofFailed) -> None:
    job = state.jobs.get(body.job)
    if job is None:
        state.strays += 1
        return
    jobs = {**state.jobs, body.job: replace(job, ended_at=entry.at, ended=body)}
    state.jobs = without_oldest(jobs, lambda each: each.ended is not None, JOBS_ENDED_MAX)


def _prove(state: State, proof: Proof) -> None:
    outcome = proof.outcome
    state.proofs = {**state.proofs, outcome.dataset: proof}
    compared = isinstance(outcome, ProofFinished)
    points = tuple(
        replace(point, proof=proof) if point.id == outcome.point and (compared or not point.proven) else point
        for point in state.points.get(outcome.dataset, ())
    )
    state.points = {**state.points, outcome.dataset: points}
    _stand(state, outcome.dataset, points)


def _stand(state: State, dataset: str, points: tuple[RecoveryPoint, ...], bad: str = "") -> None:
    """Say which proven point of the dataset is its newest; ``bad``: one that counts no longer, listed or not."""
    standing = [point for point in points if point.proven]
    before = state.proven.get(dataset)
    if before is not None and before.id != bad and all(point.id != before.id for point in points):
        standing.insert(0, before)  # too old to be listed, and still the newest that was ever proven
    without = {name: point for name, point in state.proven.items() if name != dataset}
    state.proven = {**without, dataset: standing[-1]} if standing else without


def _settle_missed(state: State, job: str, dataset: str) -> None:
    """A finished job makes good what the same work on the same dataset had missed."""
    if state.missed:
        state.missed = tuple(
            each for each in state.missed if (_work(each.run.job), each.run.dataset) != (_work(job), dataset)
        )


def _work(job: str) -> str:
    """``backup`` of ``backup-20260101T000000-abcdef`` or ``backup:hometax/rows``."""
    return re.split(r"[^a-z]", job, maxsplit=1)[0]
