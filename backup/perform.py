"""A backup, a proof, a deletion: recorded steps, journalled before and after, each leaving nothing behind.

Every step may be done twice, by two executors: its places and slots bear the name of the attempt, what the journal
holds is not written again, and what is made, removed or given up may be so already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import structlog

from backup.plan import Charge, attempt_name, proof_job, slot_name
from backup.ports import BaseBackup, ComparePoint, CopyDamaged, Ledger, Sources, Store
from backup.prove import differences
from ncia.core.base.clock import Clock, from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import DatasetId, new_id
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    Body,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    TableSum,
)
from ncia.core.work.jobs import Cancelled, JobId, StepFailed, Steps

BY = "calendar"
RETIRED = "newer points are proven"
SUPERSEDED = "newer copies are here"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Taken:
    """A base backup in the place of the attempt that took it, and the slot that holds its WAL at the source."""

    place: str
    slot: str
    point: str
    base: BaseBackup

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Taken:
        return cls(told["place"], told["slot"], told["point"], BaseBackup(**told["base"]))


class Performer:
    """Carries out one effect at a time. Safe from several threads, for jobs of different datasets."""

    def __init__(self, ledger: Ledger, sources: Sources, store: Store, clock: Clock) -> None:
        self._ledger = ledger
        self._sources = sources
        self._store = store
        self._clock = clock

    def back_up(self, steps: Steps, charge: Charge, due_at: str, by: str = BY) -> BackupFinished:
        """Take a recovery point of the dataset; raises :class:`StepFailed` where none came of it."""
        dataset, job = charge.dataset, steps.job.id
        begun = BackupStarted(
            job=job, dataset=dataset.id, source_site=charge.source_site, store_site=charge.store_site, due_at=due_at
        )
        started = from_text(steps.do("backup: begin", lambda: self._begin(steps, begun, by)))
        try:
            taken = Taken.from_json(steps.do("backup: take", lambda: self._take(steps, charge)))
            compare = _compare_point(steps.do("backup: compare", lambda: self._compare_point(charge, taken)))
            steps.do("backup: release", lambda: self._release(charge, taken.slot))
            description = _description(charge, job, taken, started, compare)
            kept = steps.do("backup: publish", lambda: self._publish(charge, taken, description, started))
        except (StepFailed, Cancelled) as failure:
            failed = BackupFailed(job=job, dataset=dataset.id, error=str(failure))
            steps.clean("backup: give up", lambda: self._give_up(steps, charge, failed, by))
            raise
        finished = BackupFinished(
            job=job,
            point=taken.point,
            dataset=dataset.id,
            store_site=charge.store_site,
            path=kept["path"],
            size_bytes=taken.base.size_bytes,
            files=taken.base.files,
            start_lsn=taken.base.start_lsn,
            stop_lsn=taken.base.stop_lsn,
            manifest_sha256=taken.base.manifest_sha256,
            seconds=kept["seconds"],
            compare_lsn=compare.lsn if compare else "",
            source=compare.tables if compare else (),
        )
        # What lies in the store must be in the journal: also a job that was cancelled meanwhile writes it down.
        steps.clean("backup: finish", lambda: self._finish(steps, charge, finished, by))
        return finished

    def prove(self, steps: Steps, backup: BackupFinished, database: str, by: str = BY) -> ProofFinished:
        """Restore the point, compare it with what its source held; raises :class:`StepFailed` where that could not be
        done. A copy that differs is a result."""
        job = proof_job(steps.job.id)
        begun = ProofStarted(job=job, point=backup.point, dataset=backup.dataset)
        started = from_text(steps.do("proof: begin", lambda: self._begin(steps, begun, by)))
        try:
            found = steps.do("proof: compare", lambda: self._compare(steps, backup, database, started))
        except (StepFailed, Cancelled) as failure:
            failed = ProofFailed(job=job, point=backup.point, dataset=backup.dataset, error=str(failure))
            steps.clean("proof: give up", lambda: self._write(steps, failed, by))
            raise
        finished = ProofFinished(
            job=job,
            point=backup.point,
            dataset=backup.dataset,
            matched=not found["differences"],
            compare_lsn=backup.compare_lsn,
            source=backup.source,
            copy_=tuple(TableSum(**each) for each in found["copy"]),
            differences=tuple(found["differences"]),
            restore_seconds=found["restore_seconds"],
            seconds=found["seconds"],
        )
        steps.clean("proof: finish", lambda: self._write(steps, finished, by))
        return finished

    def read_again(self, steps: Steps, backup: BackupFinished, by: str = BY) -> PointRehashed:
        """Read every byte of the point where it is kept; raises :class:`StepFailed` where that could not be done. A
        copy that is damaged is a result."""
        found = steps.do("verify: read", lambda: self._read(backup))
        told = PointRehashed(
            job=steps.job.id,
            point=backup.point,
            dataset=backup.dataset,
            store_site=backup.store_site,
            matched=not found["why"],
            manifest_sha256=backup.manifest_sha256,
            size_bytes=backup.size_bytes,
            files=backup.files,
            seconds=found["seconds"],
            why=found["why"],
        )
        steps.clean("verify: finish", lambda: self._write(steps, told, by))
        return told

    def copy(self, steps: Steps, backup: BackupFinished, store_site: str, by: str = BY) -> PointCopied:
        """Bring the other site's point into ours; raises :class:`StepFailed` where it did not come whole. Then let go
        of copies that newer ones here have made needless."""
        dataset = DatasetId(backup.dataset)
        try:
            found = steps.do("copy: fetch", lambda: self._fetch(steps, backup))
        except (StepFailed, Cancelled):
            steps.clean("copy: give up", lambda: self._discard(steps, dataset, steps.job.fence))
            raise
        copied = PointCopied(
            job=steps.job.id,
            point=backup.point,
            dataset=backup.dataset,
            from_site=backup.store_site,
            store_site=store_site,
            path=found["path"],
            size_bytes=backup.size_bytes,
            files=backup.files,
            manifest_sha256=backup.manifest_sha256,
            seconds=found["seconds"],
        )
        steps.clean("copy: finish", lambda: self._write(steps, copied, by))
        needless = steps.do("copy: choose", lambda: self._needless_copies(backup.dataset, store_site))
        gone = [PointCopied.model_validate(each) for each in needless]
        steps.do("copy: delete", lambda: self._delete_all(steps, gone, SUPERSEDED, by))
        return copied

    def retire(self, steps: Steps, charge: Charge, by: str = BY) -> None:
        """Delete the dataset's points that newer, proven ones have made needless; and those whose deletion was written
        and refused before, for want of a second place that heard of it, or broke off."""
        chosen = steps.do("retire: choose", lambda: self._needless(charge))
        gone = [BackupFinished.model_validate(each) for each in chosen]
        steps.do("retire: delete", lambda: self._delete_all(steps, gone, RETIRED, by))

    def delete(self, steps: Steps, backup: BackupFinished | PointCopied, reason: str, by: str = BY) -> None:
        """Write it down, then delete. Both may have been done already."""
        deleted = PointDeleted(
            point=backup.point,
            dataset=backup.dataset,
            store_site=backup.store_site,
            path=backup.path,
            reason=reason,
        )
        self._write(steps, deleted, by)
        self._store.remove(backup.path)

    def _begin(self, steps: Steps, body: BackupStarted | ProofStarted, by: str) -> str:
        self._write(steps, body, by)
        return to_text(self._clock.now())

    def _write(self, steps: Steps, body: Body, by: str) -> None:
        self._ledger.append(steps.job.id, steps.job.fence, body, by)

    def _take(self, steps: Steps, charge: Charge) -> dict[str, Any]:
        """The WAL is held at the source from before the copy on; what a crashed attempt held there is released."""
        place = attempt_name(steps.job.id, steps.job.fence)
        slot = slot_name(place)
        source = self._sources.of(charge.dataset, charge.source_site)
        source.hold(slot)
        base = self._store.take(place, source.origin, slot)
        point = new_id("point", self._clock.now())
        return {"place": place, "slot": slot, "point": point, "base": asdict(base)}

    def _compare_point(self, charge: Charge, taken: Taken) -> dict[str, Any] | None:
        source = self._sources.of(charge.dataset, charge.source_site)
        try:
            compare = source.compare_point()
            self._store.join_wal(taken.place, source.origin, taken.slot, compare.end_lsn)
        except NciaError as error:
            # The base backup is whole without it: better a copy that cannot be proven than none.
            _log.warning("backup.no-compare-point", place=taken.place, dataset=charge.dataset.id, why=str(error))
            return None
        tables = [each.model_dump() for each in compare.tables]
        return {"lsn": compare.lsn, "end_lsn": compare.end_lsn, "tables": tables}

    def _release(self, charge: Charge, slot: str) -> None:
        """A slot that cannot be dropped now is dropped by the dataset's next job."""
        try:
            self._sources.of(charge.dataset, charge.source_site).release(slot)
        except NciaError as error:
            _log.warning("backup.slot-left", slot=slot, why=str(error))

    def _publish(self, charge: Charge, taken: Taken, description: bytes, started: datetime) -> dict[str, Any]:
        path = self._store.publish(taken.place, charge.dataset.id, taken.point, description)
        return {"path": path, "seconds": self._since(started)}

    def _finish(self, steps: Steps, charge: Charge, finished: BackupFinished, by: str) -> None:
        self._write(steps, finished, by)
        self._discard(steps, charge.dataset.id, steps.job.fence - 1)

    def _give_up(self, steps: Steps, charge: Charge, failed: BackupFailed, by: str) -> None:
        self._write(steps, failed, by)
        for fence in range(1, steps.job.fence + 1):
            self._release(charge, slot_name(attempt_name(steps.job.id, fence)))
        self._discard(steps, charge.dataset.id, steps.job.fence)

    def _discard(self, steps: Steps, dataset: DatasetId, fence_max: int) -> None:
        """Remove the partial copies of the job's attempts up to that one."""
        for fence in range(1, fence_max + 1):
            place = attempt_name(steps.job.id, fence)
            try:
                self._store.discard(place, dataset)
            except NciaError as error:
                _log.warning("backup.partial-left", place=place, why=str(error))

    def _compare(self, steps: Steps, backup: BackupFinished, database: str, started: datetime) -> dict[str, Any]:
        """The copy's sums, the seconds until it answered, and what is different."""
        job = proof_job(steps.job.id)
        for fence in range(1, steps.job.fence):
            self._store.abandon(attempt_name(job, fence))
        if not backup.compare_lsn:
            why = "its source could not be summed up when it was taken"
            raise NciaError("proof.no-compare-point", f"prove {backup.point}", why, f"ncia backup run {backup.dataset}")
        place = attempt_name(job, steps.job.fence)
        tables: tuple[TableSum, ...] = ()
        try:
            restoring = self._store.restore(place, backup.path, database, backup.compare_lsn, backup.manifest_sha256)
            with restoring as copy:
                restored_seconds = self._since(started)
                tables = copy.tables()
            found: Sequence[str] = differences(backup.source, tables)
        except CopyDamaged as damage:
            restored_seconds, found = self._since(started), [str(damage)]
        return {
            "copy": [each.model_dump() for each in tables],
            "restore_seconds": restored_seconds,
            "differences": list(found),
            "seconds": self._since(started),
        }

    def _fetch(self, steps: Steps, backup: BackupFinished) -> dict[str, Any]:
        began = self._clock.now()
        self._discard(steps, DatasetId(backup.dataset), steps.job.fence - 1)
        path = self._store.fetch(attempt_name(steps.job.id, steps.job.fence), backup)
        return {"path": path, "seconds": self._since(began)}

    def _needless_copies(self, dataset: str, store_site: str) -> list[dict[str, Any]]:
        needless = {copy.path: copy for copy in self._ledger.needless_copies(dataset, store_site)}
        return [needless[path].model_dump() for path in self._store.present(tuple(needless))]

    def _read(self, backup: BackupFinished) -> dict[str, Any]:
        began, why = self._clock.now(), ""
        try:
            self._store.reread(backup.path, backup.manifest_sha256)
        except CopyDamaged as damage:
            why = damage.why
        return {"why": why, "seconds": self._since(began)}

    def _needless(self, charge: Charge) -> list[dict[str, Any]]:
        needless = self._ledger.retired(charge.dataset.id, charge.store_site)
        let_go = {point.path: point for point in self._ledger.let_go(charge.dataset.id, charge.store_site)}
        left = [let_go[path] for path in self._store.present(tuple(let_go))]
        return [point.model_dump() for point in (*needless, *left)]

    def _delete_all(self, steps: Steps, chosen: Iterable[BackupFinished | PointCopied], reason: str, by: str) -> None:
        for each in chosen:
            try:
                self.delete(steps, each, reason, by)
            except NciaError as error:
                _log.warning("backup.not-deleted", point=each.point, store=each.store_site, why=str(error))

    def _since(self, moment: datetime) -> float:
        return round((self._clock.now() - moment).total_seconds(), 3)


def _compare_point(told: dict[str, Any] | None) -> ComparePoint | None:
    if told is None:
        return None
    return ComparePoint(told["lsn"], told["end_lsn"], tuple(TableSum(**each) for each in told["tables"]))


def _description(charge: Charge, job: JobId, taken: Taken, taken_at: datetime, compare: ComparePoint | None) -> bytes:
    """What lies beside the copy, for whoever has the store and nothing else."""
    told = {
        "point": taken.point,
        "job": job,
        "dataset": charge.dataset.id,
        "system": charge.dataset.system,
        "database": charge.dataset.database,
        "source_site": charge.source_site,
        "begun_at": to_text(taken_at),
        "start_lsn": taken.base.start_lsn,
        "stop_lsn": taken.base.stop_lsn,
        "manifest_sha256": taken.base.manifest_sha256,
        "compare_lsn": compare.lsn if compare else "",
        "tables": [each.model_dump() for each in compare.tables] if compare else [],
    }
    return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
