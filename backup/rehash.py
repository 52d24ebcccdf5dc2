"""Reading recovery points again where they are kept: a copy that was good once rots in silence.

Every file is read and compared with the point's manifest, and the manifest with the hash that the journal holds of it.
No source is asked and nothing is restored, so this is light enough for every point; that a copy can be *restored* only
a proof shows. Each point is read again once in ``REREAD_SECONDS``, a proof that matched counting as a reading.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from backup.ports import CopyDamaged
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId, new_id
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries import PointRehashed
from ncia.core.state import RecoveryPoint, State, StateStore

REREAD_SECONDS = 24 * 3600.0
BY = "calendar"

_log = structlog.get_logger()


class Rereader(Protocol):
    def reread(self, path: str, manifest_sha256: str) -> None:
        """Read every file of the point at ``path``; raises :class:`CopyDamaged` where it is not what was written, and
        another :class:`NciaError` where it could not be read."""
        ...


@dataclass(frozen=True)
class Parts:
    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    store: Rereader
    clock: Clock


class RehashTask:
    """Reads one point of this site's store at a time, the longest unread first."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rehash")
        self._lock = threading.Lock()
        self._working: Future[None] | None = None

    def tick(self, now: datetime) -> None:
        """Begin with the point that was unread longest, where one is due and none is being read."""
        with self._lock:
            if self._working is not None and not self._working.done():
                return
            point = due(here(self._parts.states.snapshot(), self._parts.site), now)
            if point is not None:
                self._working = self._pool.submit(self._drive, point)

    def read_now(self, dataset: str | None, by: str) -> dict[str, Any]:
        """Read the newest point of one dataset, or of each, now; answers what was found of each."""
        known = here(self._parts.states.snapshot(), self._parts.site)
        what = f"read {dataset or 'every dataset'} again at {self._parts.site}"
        if dataset is not None and dataset not in self._parts.estate.datasets:
            names = ", ".join(sorted(known)) or "none is kept here"
            raise NciaError("backup.no-such-dataset", what, "not in the estate", names)
        wanted = [points[-1] for name, points in sorted(known.items()) if dataset in (None, name)]
        if not wanted:
            why = "no recovery point of it is kept at this site"
            raise Refusal("backup.not-ours", what, why, "ask the other site's controller, or: ncia backup run")
        return {"read": [told.model_dump() for told in (self.read(point, by) for point in wanted)]}

    def read(self, point: RecoveryPoint, by: str) -> PointRehashed:
        """Read one point in this thread and journal what was found; a point that cannot be read is an error."""
        job, began = new_id("rehash", self._parts.clock.now()), self._parts.clock.now()
        backup, why = point.backup, ""
        try:
            self._parts.store.reread(backup.path, backup.manifest_sha256)
        except CopyDamaged as damage:
            if self._parts.states.snapshot().point(point.dataset, point.id) is None:
                what = f"read {point.id} again"
                raise Refusal("backup.deleted", what, "it was deleted meanwhile", "ncia backup list") from damage
            why = damage.why
        told = PointRehashed(
            job=job,
            point=point.id,
            dataset=point.dataset,
            store_site=backup.store_site,
            matched=not why,
            manifest_sha256=backup.manifest_sha256,
            size_bytes=backup.size_bytes,
            files=backup.files,
            seconds=round((self._parts.clock.now() - began).total_seconds(), 3),
            why=why,
        )
        self._parts.journal.append(told, by=by)
        return told

    def close(self) -> None:
        """Begin no other reading. One that is under way ends by itself: it changes nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _drive(self, point: RecoveryPoint) -> None:
        try:
            told = self.read(point, BY)
        except NciaError as error:
            _log.warning("backup.not-reread", point=point.id, why=str(error))
        else:
            _log.info("backup.reread", point=point.id, matched=told.matched, why=told.why)


def here(state: State, site: SiteId) -> Mapping[str, tuple[RecoveryPoint, ...]]:
    """The points kept at ``site``, by dataset, oldest first."""
    kept = {name: tuple(p for p in points if p.backup.store_site == site) for name, points in state.points.items()}
    return {name: points for name, points in kept.items() if points}


def due(kept: Mapping[str, tuple[RecoveryPoint, ...]], now: datetime) -> RecoveryPoint | None:
    """The point that was unread longest, where that is longer than ``REREAD_SECONDS``; damaged ones are known."""
    points = [point for of_one in kept.values() for point in of_one if not point.damaged]
    oldest = min(points, key=lambda point: (read_at(point), point.id), default=None)
    return oldest if oldest and now - read_at(oldest) >= timedelta(seconds=REREAD_SECONDS) else None


def read_at(point: RecoveryPoint) -> datetime:
    """When every byte of it was last read: when it was taken, proven, or read again."""
    moments = [point.at]
    if point.proof is not None and point.proof.matched:
        moments.append(point.proof.at)
    if point.reread is not None:
        moments.append(point.reread.at)
    return max(moments)
