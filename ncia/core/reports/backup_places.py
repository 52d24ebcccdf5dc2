"""Where a day's recovery points lie now: in which stores, at which places of agencies' repositories. Pure.

What one store has stands in one log, in its order, and what a place has in another: they are joined here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime

from ncia.core.base.ids import SHORT
from ncia.core.journal.entries import BackupFinished, PointBrought, PointCopied, PointDeleted
from ncia.core.journal.entries_repositories import RepositoryLooked, SnapshotForgotten, SnapshotHolds
from ncia.core.journal.entry import Entry

MORE = " more"  # so ends the sentence after those of missing snapshots where not all are named


@dataclass(frozen=True)
class PointTold:
    """``present``: made and not deleted. ``reread_ok``, ``proven`` None: never done. A proof that matched has read
    every byte, so it counts as a reading. ``source_site`` is empty where the entry that began the job is not held."""

    point: str
    made_at: str
    entry: str
    source_site: str
    store_site: str
    size_bytes: int
    files: int
    manifest_sha256: str
    present: bool
    reread_at: str | None = None
    reread_ok: bool | None = None
    reread_entry: str = ""
    proven_at: str | None = None
    proven: bool | None = None
    proven_entry: str = ""
    restore_seconds: float | None = None
    why: str = ""  # what is wrong with it
    copied_to: str = ""  # a second store that has it too
    copied_entry: str = ""
    kept_at: tuple[str, ...] = ()  # the places of its agency's repository that have it as a snapshot
    kept_entries: tuple[str, ...] = ()
    brought_from: str = ""  # a place of that repository, out of which it came back into its store
    brought_entry: str = ""

    @property
    def elsewhere(self) -> bool:
        return bool(self.source_site) and self.source_site != self.store_site


@dataclass(frozen=True)
class _KeptAs:
    body: SnapshotHolds
    at: datetime
    entry: str


class Places:
    """What the entries say of where points are."""

    def __init__(self) -> None:
        self._lies: dict[str, dict[str, str]] = defaultdict(dict)  # by point and store: the entry; empty: gone
        self._brought: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)  # by point and store: whence, entry
        self._kept: dict[str, dict[str, _KeptAs]] = defaultdict(dict)  # by subject and place
        self._looked: dict[tuple[str, str], tuple[datetime, RepositoryLooked]] = {}  # by agency and place: the newest
        self._forgotten: set[tuple[str, str]] = set()  # by place: it stands in another log, which may be read first

    def take(self, entry: Entry) -> None:
        body, name = entry.body, f"{entry.site}#{entry.number}"
        match body:
            case BackupFinished() | PointCopied():
                self._lies[body.point][body.store_site] = name
            case PointBrought():
                self._lies[body.point][body.store_site] = name
                self._brought[body.point][body.store_site] = (body.from_site, name)
            case PointDeleted():
                self._lies[body.point][body.store_site] = ""
            case SnapshotHolds():
                self._kept[body.subject][body.site] = _KeptAs(body, entry.at, name)
            case RepositoryLooked():
                self._looked[body.agency, body.site] = (entry.at, body)
            case SnapshotForgotten():
                self._forgotten.add((body.site, body.snapshot))
            case _:
                return

    def placed(self, point: PointTold) -> PointTold:
        """The point with where it lies."""
        return self._with_snapshots(self._with_stores(point))

    def _with_stores(self, point: PointTold) -> PointTold:
        """What one store has stands in one log, in its order; the logs are joined here. One that its store let go of,
        and that came back into the other, lies there."""
        lies = {site: entry for site, entry in sorted(self._lies[point.point].items()) if entry}
        brought, store = self._brought.get(point.point, {}), point.store_site
        if store not in lies:
            store = next((site for site in lies if site in brought), store)
        copy = next((site for site in lies if site != store), "")
        whence, entry = brought.get(store) or brought.get(copy) or ("", "")
        moved = replace(point, store_site=store, present=store in lies, copied_to=copy)
        return replace(moved, copied_entry=lies.get(copy, ""), brought_from=whence, brought_entry=entry)

    def _with_snapshots(self, point: PointTold) -> PointTold:
        places = [kept for _, kept in sorted(self._kept.get(point.point, {}).items()) if self._is_there(kept)]
        sites, entries = (tuple(found) for found in ([p.body.site for p in places], [p.entry for p in places]))
        return replace(point, kept_at=sites, kept_entries=entries)

    def _is_there(self, kept: _KeptAs) -> bool:
        """Not forgotten; and whoever looked into that place since it was kept could, and found it."""
        place, snapshot = kept.body.site, kept.body.snapshot
        if (place, snapshot) in self._forgotten:
            return False
        at, looked = self._looked.get((kept.body.agency, place), (None, None))
        if at is None or looked is None or at < kept.at:
            return True
        named = snapshot[:SHORT]
        return not looked.why and not any(named in each or each.endswith(MORE) for each in looked.missing)
