"""The backup report: of each dataset, what was to be copied on a day, what was, and what became of it. Pure.

Everything said names the journal entry that says it (``daejeon#1234``). A day is a local day of the reporting site.
What befell a day's points later (a proof, a reading, a deletion) is told with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, DatasetId, SiteId
from ncia.core.estate import Dataset, Estate
from ncia.core.journal.entry import Entry
from ncia.core.reports.backup_places import PointTold
from ncia.core.reports.backup_points import Day, Deleted, Seen, Trouble
from ncia.core.reports.continuity import NotProven
from ncia.core.state import State

SITE_LOST = "site-lost"  # the cause of an incident, as ``ncia.core.alerts`` calls it
SCHEDULED = "postgresql"  # the kind of which recovery points are made by the calendar


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
    seen = Seen(day)
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


def _dataset(
    dataset: Dataset, estate: Estate, day: Day, seen: Seen, began: datetime | None, state: State, now: datetime
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
