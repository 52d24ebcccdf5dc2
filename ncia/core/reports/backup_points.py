"""What became of a day's recovery points: made, copied, proven, read again, deleted, and what failed. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    PointDeleted,
    PointRehashed,
    ProofFailed,
    ProofFinished,
    RunMissed,
)
from ncia.core.journal.entry import Entry
from ncia.core.reports.backup_places import Places, PointTold


@dataclass(frozen=True)
class Day:
    """A local day of ``site``, in UTC: ``since`` is in it, ``until`` is not."""

    site: SiteId
    day: date
    timezone: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Trouble:
    """``what``: ``missed`` (a run that was due and did not happen), ``backup`` or ``proof`` (one that failed)."""

    what: str
    at: str
    reason: str
    entry: str


@dataclass(frozen=True)
class Deleted:
    point: str
    at: str
    store_site: str
    by: str
    reason: str
    entry: str


class Seen:
    """What the entries say, by dataset and point."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._sources: dict[str, str] = {}  # by job
        self._places = Places()
        self.points: dict[str, PointTold] = {}
        self.by_dataset: dict[str, list[str]] = defaultdict(list)
        self.troubles: dict[str, list[Trouble]] = defaultdict(list)
        self.deleted: dict[str, list[Deleted]] = defaultdict(list)

    def take(self, entry: Entry) -> None:
        body, at, name = entry.body, to_text(entry.at), f"{entry.site}#{entry.number}"
        today = self._day.since <= entry.at < self._day.until
        self._places.take(entry)
        match body:
            case BackupStarted():
                self._sources[body.job] = body.source_site
            case BackupFinished() if today:
                self.points[body.point] = self._made(body, at, name)
                self.by_dataset[body.dataset].append(body.point)
            case BackupFailed() if today:
                self.troubles[body.dataset].append(Trouble("backup", at, body.error, name))
            case RunMissed() if today:
                self.troubles[body.dataset].append(Trouble("missed", body.due_at, body.reason, name))
            case ProofFailed() if today:
                self.troubles[body.dataset].append(Trouble("proof", at, body.error, name))
            case ProofFinished():
                self._change(body.point, proven_at=at, proven=body.matched, proven_entry=name)
                if body.matched:
                    told = {"restore_seconds": body.restore_seconds, "why": ""}
                    self._change(body.point, reread_at=at, reread_ok=True, reread_entry=name, **told)
                else:
                    self._change(body.point, why="; ".join(body.differences))
            case PointRehashed():
                self._change(body.point, reread_at=at, reread_ok=body.matched, reread_entry=name)
                if not body.matched:
                    self._change(body.point, proven=False, why=body.why)
            case PointDeleted() if today:
                gone = Deleted(body.point, at, body.store_site, entry.by, body.reason, name)
                self.deleted[body.dataset].append(gone)
            case _:
                return

    def _made(self, body: BackupFinished, at: str, name: str) -> PointTold:
        return PointTold(
            point=body.point,
            made_at=at,
            entry=name,
            source_site=self._sources.get(body.job, ""),
            store_site=body.store_site,
            size_bytes=body.size_bytes,
            files=body.files,
            manifest_sha256=body.manifest_sha256,
            present=True,
        )

    def points_of(self, dataset: str) -> tuple[PointTold, ...]:
        """In the order in which they were made."""
        found = (self.points[point] for point in self.by_dataset.get(dataset, ()))
        return tuple(self._places.placed(point) for point in found)

    def _change(self, point: str, **told: Any) -> None:
        if point in self.points:
            self.points[point] = replace(self.points[point], **told)
