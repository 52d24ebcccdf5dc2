"""The backup report: of each dataset, what was to be copied on a day, what was, and what became of it. Pure.

Everything said names the journal entry that says it (``daejeon#1234``). A day is a local day of the reporting site.
What befell a day's points later (a proof, a reading, a deletion) is told with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, DatasetId, SiteId
from ncia.core.estate import Dataset, Estate
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    PointBrought,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProofFailed,
    ProofFinished,
    RunMissed,
)
from ncia.core.journal.entries_repositories import RepositoryLooked, SnapshotForgotten, SnapshotHolds
from ncia.core.journal.entry import Entry
from ncia.core.reports.continuity import NotProven
from ncia.core.state import State

SITE_LOST = "site-lost"  # the cause of an incident, as ``ncia.core.alerts`` calls it
SNAPSHOT_NAMED = 8  # so many digits of its id stand in the sentence that says that it is missing
MORE = " more"  # and so ends the one after them where not all are named
SCHEDULED = "postgresql"  # the kind of which recovery points are made by the calendar


@dataclass(frozen=True)
class Day:
    """A local day of ``site``, in UTC: ``since`` is in it, ``until`` is not."""

    site: SiteId
    day: date
    timezone: str
    since: datetime
    until: datetime


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


@dataclass(frozen=True)
class Standing:
    """The newest proven point, whatever day it was made on."""

    point: str
    store_site: str
    made_at: str
    proven_at: str


@dataclass(frozen=True)
class DatasetDay:
    """``expected``: how many intervals of its grade ended in the part of the day that is over and was journalled."""

    dataset: str
    system: str
    system_name: str
    agency: str
    kind: str
    grade: int
    interval_seconds: float
    expected: int
    points: tuple[PointTold, ...]
    troubles: tuple[Trouble, ...]
    deleted: tuple[Deleted, ...]
    standing: Standing | None

    @property
    def made(self) -> int:
        return len(self.points)


@dataclass(frozen=True)
class BackupReport:
    """``over``: the day has ended; what is expected of one that has not is what was due so far."""

    site: str
    estate: str
    day: str
    timezone: str
    since: str
    until: str
    as_of: str
    over: bool
    agency: str  # empty: all
    datasets: tuple[DatasetDay, ...]
    not_proven: tuple[NotProven, ...]

    def to_json(self) -> dict[str, Any]:
        told = asdict(self)
        for told_of, each in zip(told["datasets"], self.datasets, strict=True):
            told_of["made"] = each.made
            for point, seen in zip(told_of["points"], each.points, strict=True):
                point["elsewhere"] = seen.elsewhere
        return told


def day_of(text: str, site: SiteId, estate: Estate, now: datetime) -> Day:
    """The site's local day that ``text`` names (``2026-09-26``; empty: today); raises :class:`NciaError` for one that
    is none, or has not begun."""
    zone = ZoneInfo(estate.sites[site].timezone)
    what, today = f"report the backups of {text!r}", now.astimezone(zone).date()
    try:
        day = date.fromisoformat(text) if text else today
    except ValueError as error:
        raise NciaError("report.bad-day", what, "it is no day", f"a day such as {today}") from error
    if day > today:
        raise NciaError("report.bad-day", what, f"it has not begun at {site}", f"today is {today} there")
    since, until = (datetime.combine(d, time(), zone) for d in (day, day + timedelta(days=1)))
    return Day(site, day, str(zone), since, until)


def agency_of(text: str, estate: Estate) -> AgencyId | None:
    """The agency named; None for an empty text; raises :class:`NciaError` for one that the estate does not have."""
    if text and AgencyId(text) not in estate.agencies:
        known = ", ".join(sorted(estate.agencies))
        raise NciaError("report.no-such-agency", "report the backups", f"no agency {text!r} in the estate", known)
    return AgencyId(text) if text else None


def backup_report(
    day: Day,
    agency: AgencyId | None,
    estate: Estate,
    entries: Iterable[Entry],
    began: datetime | None,
    state: State,
    now: datetime,
) -> BackupReport:
    """``entries`` of both sites from a while before the day until now, each site's in order; ``began``: when the first
    entry of all was written."""
    seen = _Seen(day)
    for entry in entries:
        seen.take(entry)
    told = [
        _dataset(dataset, estate, day, seen, began, state, now)
        for dataset in sorted(estate.datasets.values(), key=lambda d: (estate.systems[d.system].grade, d.id))
        if (agency is None or estate.systems[dataset.system].agency == agency)
        and dataset.program is None  # it has no points: `program.captured` says what is held of it
    ]
    return BackupReport(
        site=day.site,
        estate=estate.name,
        day=day.day.isoformat(),
        timezone=day.timezone,
        since=to_text(day.since),
        until=to_text(day.until),
        as_of=to_text(now),
        over=now >= day.until,
        agency=agency or "",
        datasets=tuple(told),
        not_proven=tuple(gap for each in told for gap in _gaps(each, estate, lost_sites(state))),
    )


def lost_sites(state: State) -> dict[str, str]:
    """The sites that are lost now, and since when: of what was kept there nothing is known."""
    return {
        incident.now.root.removeprefix("site:"): to_text(incident.opened_at)
        for incident in state.open_incidents()
        if incident.now.cause == SITE_LOST
    }


@dataclass(frozen=True)
class _KeptAs:
    body: SnapshotHolds
    at: datetime
    entry: str


class _Seen:
    """What the entries say, by dataset and point."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._sources: dict[str, str] = {}  # by job
        self._lies: dict[str, dict[str, str]] = defaultdict(dict)  # by point and store: the entry; empty: gone
        self._brought: dict[str, dict[str, tuple[str, str]]] = defaultdict(dict)  # by point and store: whence, entry
        self._kept: dict[str, dict[str, _KeptAs]] = defaultdict(dict)  # by subject and place
        self._looked: dict[tuple[str, str], tuple[datetime, RepositoryLooked]] = {}  # by agency and place: the newest
        self._forgotten: set[tuple[str, str]] = set()  # by place: it stands in another log, which may be read first
        self.points: dict[str, PointTold] = {}
        self.by_dataset: dict[str, list[str]] = defaultdict(list)
        self.troubles: dict[str, list[Trouble]] = defaultdict(list)
        self.deleted: dict[str, list[Deleted]] = defaultdict(list)

    def take(self, entry: Entry) -> None:
        body, at, name = entry.body, to_text(entry.at), f"{entry.site}#{entry.number}"
        today = self._day.since <= entry.at < self._day.until
        match body:
            case BackupStarted():
                self._sources[body.job] = body.source_site
            case BackupFinished() if today:
                self._lies[body.point][body.store_site] = name
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
            case PointCopied():
                self._lies[body.point][body.store_site] = name
            case SnapshotHolds():
                self._kept[body.subject][body.site] = _KeptAs(body, entry.at, name)
            case RepositoryLooked():
                self._looked[body.agency, body.site] = (entry.at, body)
            case SnapshotForgotten():
                self._forgotten.add((body.site, body.snapshot))
            case PointBrought():
                self._lies[body.point][body.store_site] = name
                self._brought[body.point][body.store_site] = (body.from_site, name)
            case PointDeleted():
                self._lies[body.point][body.store_site] = ""
                if today:
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
        return tuple(self._with_snapshots(self._with_stores(point)) for point in found)

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
        named = snapshot[:SNAPSHOT_NAMED]
        return not looked.why and not any(named in each or each.endswith(MORE) for each in looked.missing)

    def _change(self, point: str, **told: Any) -> None:
        if point in self.points:
            self.points[point] = replace(self.points[point], **told)


def _dataset(
    dataset: Dataset, estate: Estate, day: Day, seen: _Seen, began: datetime | None, state: State, now: datetime
) -> DatasetDay:
    system = estate.systems[dataset.system]
    interval = estate.grades[system.grade].backup_interval_seconds
    proven = state.newest_proven(dataset.id)
    standing = None
    if proven is not None and proven.proof is not None:
        standing = Standing(proven.id, proven.backup.store_site, to_text(proven.at), to_text(proven.proof.at))
    return DatasetDay(
        dataset=dataset.id,
        system=system.id,
        system_name=system.name_ko or system.name,
        agency=estate.agencies[system.agency].name,
        kind=dataset.kind,
        grade=system.grade,
        interval_seconds=interval,
        expected=_expected(dataset, day, interval, began, now),
        points=seen.points_of(dataset.id),
        troubles=tuple(seen.troubles.get(dataset.id, ())),
        deleted=tuple(seen.deleted.get(dataset.id, ())),
        standing=standing,
    )


def _expected(dataset: Dataset, day: Day, interval: float, began: datetime | None, now: datetime) -> int:
    if dataset.kind != SCHEDULED or began is None:
        return 0
    covered = (min(day.until, now) - max(day.since, began)).total_seconds()
    return max(0, int(covered // interval))


def _gaps(told: DatasetDay, estate: Estate, lost: Mapping[str, str]) -> list[NotProven]:
    """Everything of the dataset that nobody has shown."""
    found: list[str] = []
    made, points = told.made, told.points
    if made < told.expected:
        found.append(f"{told.expected - made} of {told.expected} expected points were not made")
    if told.standing is None:
        none = "no recovery point of it is proven" if told.kind == SCHEDULED else "no recovery point of it is made"
        if told.kind == SCHEDULED or not points:
            found.append(none)
    elif told.standing.store_site in lost:
        where, since = told.standing.store_site, lost[told.standing.store_site]
        found.append(f"its newest proven point is at {where}, which is lost since {since[:19]}Z: nobody knows it there")
    unproven = [p for p in points if p.proven is None and p.present]
    if unproven:
        found.append(f"{_points(len(unproven))} never restored and compared")
    for point in points:
        if point.why:
            found.append(f"{point.point}: {point.why}")
        if not point.elsewhere:
            where = (
                f"is kept at {point.store_site}, where its source is" if point.source_site else "has no known source"
            )
            found.append(f"{point.point} {where}")
    unread = [p for p in points if p.reread_ok is None and p.present]
    if unread:
        found.append(f"{_points(len(unread))} never read again where kept")
    if estate.datasets[DatasetId(told.dataset)].unprotected:
        found.append("its recovery: it is held at one site only")
    return [NotProven(told.dataset, what) for what in found]


def _points(count: int) -> str:
    return "1 point was" if count == 1 else f"{count} points were"
