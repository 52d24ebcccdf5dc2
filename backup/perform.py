"""A backup, a proof, a deletion: each journalled before it begins and after it ended, each leaving nothing behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import structlog

from backup.plan import Charge, slot_name
from backup.ports import BaseBackup, ComparePoint, CopyDamaged, RestoredCopy, Source, Sources, Store
from backup.prove import differences
from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import new_id
from ncia.core.journal import Journal
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    PointDeleted,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    TableSum,
)

BY = "calendar"
ERROR_CHARACTERS_MAX = 1000

_log = structlog.get_logger()


class Performer:
    """Carries out one effect at a time. Safe from several threads, for jobs of different datasets."""

    def __init__(self, journal: Journal, sources: Sources, store: Store, clock: Clock) -> None:
        self._journal = journal
        self._sources = sources
        self._store = store
        self._clock = clock

    def back_up(self, charge: Charge, due_at: datetime, job: str, by: str = BY) -> BackupFinished:
        """Take a recovery point of the dataset; raises :class:`NciaError` where none came of it."""
        dataset = charge.dataset
        begun = BackupStarted(
            job=job,
            dataset=dataset.id,
            source_site=charge.source_site,
            store_site=charge.store_site,
            due_at=to_text(due_at),
        )
        started = self._begin(begun, by)
        try:
            base, compare = self._copy(charge, job)
            point = new_id("point", self._clock.now())
            path = self._store.publish(job, dataset.id, point, _description(charge, job, point, started, base, compare))
        except Exception as error:
            self._journal.append(BackupFailed(job=job, dataset=dataset.id, error=_told(error)), by=by)
            self._discard(charge, job)
            raise
        finished = BackupFinished(
            job=job,
            point=point,
            dataset=dataset.id,
            store_site=charge.store_site,
            path=path,
            size_bytes=base.size_bytes,
            files=base.files,
            start_lsn=base.start_lsn,
            stop_lsn=base.stop_lsn,
            manifest_sha256=base.manifest_sha256,
            seconds=self._since(started),
            compare_lsn=compare.lsn if compare else "",
            source=compare.tables if compare else (),
        )
        self._journal.append(finished, by=by)
        return finished

    def prove(self, backup: BackupFinished, database: str, job: str, by: str = BY) -> ProofFinished:
        """Restore the point, compare it with what its source held; raises :class:`NciaError` where that could not be
        done. A copy that differs is a result."""
        started = self._begin(ProofStarted(job=job, point=backup.point, dataset=backup.dataset), by)
        try:
            copy, restored_seconds, found = self._compare(backup, database, job, started)
        except Exception as error:
            failed = ProofFailed(job=job, point=backup.point, dataset=backup.dataset, error=_told(error))
            self._journal.append(failed, by=by)
            raise
        finished = ProofFinished(
            job=job,
            point=backup.point,
            dataset=backup.dataset,
            matched=not found,
            compare_lsn=backup.compare_lsn,
            source=backup.source,
            copy_=copy,
            differences=found,
            restore_seconds=restored_seconds,
            seconds=self._since(started),
        )
        self._journal.append(finished, by=by)
        return finished

    def delete(self, backup: BackupFinished, reason: str, by: str = BY) -> None:
        self._journal.append(
            PointDeleted(
                point=backup.point,
                dataset=backup.dataset,
                store_site=backup.store_site,
                path=backup.path,
                reason=reason,
            ),
            by=by,
        )
        self._store.remove(backup.path)

    def _copy(self, charge: Charge, job: str) -> tuple[BaseBackup, ComparePoint | None]:
        source = self._sources.of(charge.dataset, charge.source_site)
        with _held(source, slot_name(job)) as slot:
            base = self._store.take(job, source.origin, slot)
            try:
                compare = source.compare_point()
                self._store.join_wal(job, source.origin, slot, compare.end_lsn)
            except NciaError as error:
                # The base backup is whole without it: better a copy that cannot be proven than none.
                _log.warning("backup.no-compare-point", job=job, dataset=charge.dataset.id, why=str(error))
                return base, None
        return base, compare

    def _compare(
        self, backup: BackupFinished, database: str, job: str, started: datetime
    ) -> tuple[tuple[TableSum, ...], float, tuple[str, ...]]:
        """The copy's sums, the seconds until it answered, and what is different."""
        if not backup.compare_lsn:
            why = "its source could not be summed up when it was taken"
            raise NciaError("proof.no-compare-point", f"prove {backup.point}", why, f"ncia backup run {backup.dataset}")
        try:
            restoring = self._store.restore(job, backup.path, database, backup.compare_lsn, backup.manifest_sha256)
            with restoring as copy:
                return self._read(copy, backup, started)
        except CopyDamaged as damage:
            return (), self._since(started), (str(damage),)

    def _read(
        self, copy: RestoredCopy, backup: BackupFinished, started: datetime
    ) -> tuple[tuple[TableSum, ...], float, tuple[str, ...]]:
        restored_seconds = self._since(started)
        tables = copy.tables()
        return tables, restored_seconds, differences(backup.source, tables)

    def _begin(self, body: BackupStarted | ProofStarted, by: str) -> datetime:
        self._journal.append(body, by=by)
        return self._clock.now()

    def _discard(self, charge: Charge, job: str) -> None:
        try:
            self._store.discard(job, charge.dataset.id)
        except NciaError as error:
            _log.warning("backup.partial-left", job=job, why=str(error))

    def _since(self, moment: datetime) -> float:
        return round((self._clock.now() - moment).total_seconds(), 3)


@contextmanager
def _held(source: Source, slot: str) -> Iterator[str]:
    """The source's WAL is held within; a slot that cannot be dropped now is dropped by the dataset's next job."""
    source.hold(slot)
    try:
        yield slot
    finally:
        try:
            source.release(slot)
        except NciaError as error:
            _log.warning("backup.slot-left", slot=slot, why=str(error))


def _description(
    charge: Charge, job: str, point: str, taken_at: datetime, base: BaseBackup, compare: ComparePoint | None
) -> bytes:
    """What lies beside the copy, for whoever has the store and nothing else."""
    told = {
        "point": point,
        "job": job,
        "dataset": charge.dataset.id,
        "system": charge.dataset.system,
        "database": charge.dataset.database,
        "source_site": charge.source_site,
        "begun_at": to_text(taken_at),
        "start_lsn": base.start_lsn,
        "stop_lsn": base.stop_lsn,
        "manifest_sha256": base.manifest_sha256,
        "compare_lsn": compare.lsn if compare else "",
        "tables": [each.model_dump() for each in compare.tables] if compare else [],
    }
    return json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _told(error: Exception) -> str:
    return (str(error) if isinstance(error, NciaError) else f"{type(error).__name__}: {error}")[:ERROR_CHARACTERS_MAX]
