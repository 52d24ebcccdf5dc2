"""The journal as this site's jobs write it: under their fence, and nothing twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from backup import plan
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal import Entry, Journal
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    Body,
    PointBrought,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProgramBrought,
    ProofFailed,
    ProofFinished,
    ProofStarted,
)
from ncia.core.journal.entries_care import (
    LockMet,
    PruneFailed,
    PruneStarted,
    RepositoryMended,
    SnapshotMended,
    SnapshotProofFailed,
    SnapshotProven,
)
from ncia.core.journal.entries_repositories import (
    RepositoryChecked,
    RepositoryMade,
    RepositoryPruned,
    SnapshotFailed,
    SnapshotHolds,
    SnapshotKept,
)
from ncia.core.state import State, StateStore
from ncia.core.work.jobs import Job, JobId

KINDS: tuple[type[Body], ...] = (
    BackupStarted,
    BackupFinished,
    BackupFailed,
    ProofStarted,
    ProofFinished,
    ProofFailed,
    PointDeleted,
    PointRehashed,
    PointCopied,
    PointBrought,
    ProgramBrought,
    RepositoryMade,
    SnapshotKept,
    SnapshotHolds,
    SnapshotFailed,
    RepositoryChecked,
    RepositoryPruned,
    SnapshotMended,
    RepositoryMended,
    PruneStarted,
    PruneFailed,
    SnapshotProven,
    SnapshotProofFailed,
    LockMet,
)
"""What jobs write; nobody who carries out jobs may write anything else."""

LET_GO_LOOKED_AT_MAX = 100  # a deletion that was refused is tried again with the dataset's next job


class JournalLedger:
    """A :class:`backup.ports.Ledger` in the controller's process. ``check`` raises where a fence is old; ``permit``
    returns once an entry is known at a second place, and raises where it is not. ``jobs``: the site's open ones."""

    def __init__(
        self,
        journal: Journal,
        states: StateStore,
        check: Callable[[JobId, int], None],
        permit: Callable[[Entry], object] = lambda entry: None,
        jobs: Callable[[], Iterable[Job]] = tuple,
    ) -> None:
        self._permit = permit
        self._jobs = jobs
        self._journal = journal
        self._states = states
        self._check = check
        self._lock = threading.Lock()

    def append(self, job: JobId, fence: int, body: Body, by: str) -> None:
        entry = None
        with self._lock:  # between the look and the writing nobody else writes for a job
            self._check(job, fence)
            if isinstance(body, PointDeleted):
                self._demand_unspared(body)  # it was chosen a while ago
            if not written(self._states.snapshot(), body):
                entry = self._journal.append(body, by=by)
        if isinstance(body, PointDeleted):
            self._permit(entry or self._deletion(body))  # outside the lock: it waits for other sites

    def _demand_unspared(self, body: PointDeleted) -> None:
        if body.point in self._spared(self._states.snapshot(), body.dataset, body.store_site):
            what = f"delete {body.point} of {body.dataset} at {body.store_site}"
            why = "a job reads it or brings it back, or it came back a short time ago"
            raise Refusal("backup.point-spared", what, why, "nothing: it goes once nobody needs it")

    def _spared(self, state: State, dataset: str, store_site: str) -> frozenset[str]:
        """What is not deleted now, whatever else says that it may go: also what was let go of, for between its files
        and its entry a point that comes back lies in the store and is not listed."""
        return plan.being_read(self._jobs()) | plan.just_brought(state, dataset, store_site)

    def _deletion(self, body: PointDeleted) -> Entry:
        """The entry of a deletion that is written: the job that wrote it may have ended in between."""
        for entry in reversed(self._journal.of_kind(PointDeleted.KIND)):
            found = entry.body
            if isinstance(found, PointDeleted) and (found.point, found.store_site) == (body.point, body.store_site):
                return entry
        why = "its deletion is not written in this site's journal"
        raise NciaError("backup.no-such-point", f"delete {body.point} of {body.dataset}", why)

    def retired(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        state = self._states.snapshot()
        spared = self._spared(state, dataset, store_site)
        here = [point for point in state.points.get(dataset, ()) if point.backup.store_site == store_site]
        return tuple(point.backup for point in plan.retired(here) if point.id not in spared)

    def needless_copies(self, dataset: str, store_site: str) -> tuple[PointCopied, ...]:
        """Those deleted before too, the newest of them: a deletion may have been written and refused."""
        state = self._states.snapshot()
        deleted = [
            body
            for entry in self._journal.of_kind(PointCopied.KIND)
            if isinstance(body := entry.body, PointCopied)
            and (body.dataset, body.store_site) == (dataset, store_site)
            and not state.holds(dataset, body.point, store_site)
        ]
        needless = plan.needless_copies(state.copies.get(dataset, ()), store_site)
        spared = self._spared(state, dataset, store_site)
        return tuple(copy for copy in (*needless, *deleted[-LET_GO_LOOKED_AT_MAX:]) if copy.point not in spared)

    def let_go(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        state = self._states.snapshot()
        deleted = [
            body.point
            for entry in self._journal.of_kind(PointDeleted.KIND)
            if isinstance(body := entry.body, PointDeleted) and (body.dataset, body.store_site) == (dataset, store_site)
            if not state.holds(dataset, body.point, store_site)  # it came back out of a repository
        ]
        newest = set(deleted[-LET_GO_LOOKED_AT_MAX:]) - self._spared(state, dataset, store_site)
        if not newest:
            return ()
        made = [entry.body for entry in self._journal.of_kind(BackupFinished.KIND)]
        return tuple(body for body in made if isinstance(body, BackupFinished) and body.point in newest)


def body_of(kind: str, version: int, told: Mapping[str, Any]) -> Body:
    """The body that a worker sent; raises :class:`NciaError` where jobs do not write such, or it is malformed."""
    found = next((body for body in KINDS if (kind, version) == (body.KIND, body.VERSION)), None)
    if found is None:
        what = f"write {kind} v{version} for a job"
        raise NciaError("jobs.not-theirs", what, "jobs write of backups, proofs and deletions only")
    try:
        return found.model_validate(told)
    except ValidationError as error:
        fault = error.errors()[0]
        why = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
        raise NciaError("jobs.bad-entry", f"write {kind} for a job", why, "is the worker of this release?") from error


def written(state: State, body: Body) -> bool:
    """Whether the journal holds such an entry of the same job, or of the same point, already."""
    match body:
        case BackupStarted() | ProofStarted():
            return body.job in state.jobs
        case BackupFinished() | BackupFailed() | ProofFinished() | ProofFailed():
            known = state.jobs.get(body.job)
            return known is not None and known.ended is not None
        case PointDeleted():
            return not state.holds(body.dataset, body.point, body.store_site)
        case PointCopied():
            return state.holds(body.dataset, body.point, body.store_site)
        case PointBrought() | ProgramBrought():
            return any(each.body.job == body.job for each in state.brought.get((body.dataset, body.store_site), ()))
        case SnapshotHolds():
            holder = state.repositories.get((body.agency, body.site))
            return holder is not None and body.snapshot in holder.holds
        case RepositoryMade():
            made = state.repositories.get((body.agency, body.site))
            return made is not None and made.made.repository == body.repository
        case SnapshotKept() | SnapshotMended():
            there = state.repositories.get((body.agency, body.site))
            return there is not None and any(each.kept.snapshot == body.snapshot for each in there.expected)
        case RepositoryMended():
            return False  # another attempt may have brought more: what it says twice is not wrong
        case SnapshotFailed():
            failure = state.snapshot_failures.get((body.dataset, body.site))
            return failure is not None and failure.last.job == body.job
        case RepositoryChecked():
            place = state.repositories.get((body.agency, body.site))
            read = place.read.get((body.part, body.of)) if place else None
            return read is not None and read.found.job == body.job
        case RepositoryPruned():
            where = state.repositories.get((body.agency, body.site))
            return where is not None and where.pruned is not None and where.pruned.job == body.job
        case PruneStarted() | PruneFailed():
            pruned = state.repositories.get((body.agency, body.site))
            begun = pruned.pruning if pruned is not None else None
            same = begun is not None and begun.begun.job == body.job
            return same and (isinstance(body, PruneStarted) or bool(begun and begun.error))
        case LockMet():
            lock = state.locks_met.get((body.verb, body.dataset, body.site))
            return lock is not None and lock.last.job == body.job
        case SnapshotProven() | SnapshotProofFailed():
            restored = state.repositories.get((body.agency, body.site))
            proof = restored.proofs.get(body.dataset) if restored is not None else None
            return proof is not None and proof.job == body.job
        case PointRehashed():  # of a point that was deleted meanwhile there is nothing to say
            found = state.point(body.dataset, body.point)
            return found is None or (found.reread is not None and found.reread.outcome.job == body.job)
        case _:
            what = f"write {body.KIND} for a job"
            raise NciaError("jobs.not-theirs", what, "jobs write of backups, proofs and deletions only")
