"""Named loss as the API and the calendar call it: take receipts, and list what the active rows do not hold of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from ncia.core.base.clock import Clock, from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import LossListed
from ncia.core.journal.entry import Entry
from ncia.core.reports.loss import (
    Compared,
    LossReport,
    Question,
    Receipt,
    Stream,
    Unnamed,
    loss_report,
    unnamed_of,
    vouched_since,
)
from ncia.core.reports.naming import Naming, naming_of
from ncia.core.reports.protection import CLAIM, step_of
from ncia.core.state import Run, State
from recovery.loss.ports import Contents, Receipts
from recovery.loss.wire import batch_of

FORGETS_A_TICK_MAX = 20
FRESH_SECONDS = 5.0  # a door speaks once a second: what it said last is of now

_log = structlog.get_logger()


class Journal(Protocol):
    def append(self, body: Body, *, by: str) -> Entry: ...


@dataclass(frozen=True)
class Parts:
    """What a desk is made of. ``active`` answers at which site each system is active now."""

    site: SiteId
    estate: Estate
    receipts: Receipts
    contents: Contents
    journal: Journal
    state: Callable[[], State]
    active: Callable[[], Mapping[SystemId, SiteId]]
    clock: Clock


class LossDesk:
    """Everything that one site's controller does about receipts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def take(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a door's batch; durable when it answers."""
        batch = batch_of(told, self._parts.estate, self._parts.site)
        self._parts.receipts.keep(batch.stream, batch.receipts)
        return {"taken": len(batch.receipts)}

    def naming(self) -> dict[SiteId, Naming]:
        """Of the other centre, whose receipts are kept here: whether a loss of it now would have names."""
        served_by, now = self._parts.estate.peer_of(self._parts.site), self._parts.clock.now()
        return {served_by: naming_of(self._parts.receipts.streams(served_by), now)}

    def report(self, *, run: str, site: str, since: str, agency: str, by: str) -> dict[str, Any]:
        """The loss report, journalled; raises :class:`NciaError` for a question that nothing answers."""
        parts, now = self._parts, self._parts.clock.now()
        question = self._question(run, site, since, agency, now)
        streams = parts.receipts.streams(question.lost_site)
        receipts = parts.receipts.held(question.lost_site, question.systems, question.since, question.until)
        compared = {system: self._compare(system, receipts) for system in question.systems}
        unnamed = self._unnamed(question, streams, now)
        report = loss_report(parts.site, parts.estate, question, receipts, compared, unnamed, now)
        entry = parts.journal.append(_listed(report), by=by)
        return replace(report, entry=f"{entry.site}#{entry.number}").to_json()

    def tick(self, now: datetime) -> None:
        """Let go of what is older than the estate says, a bounded number at a time."""
        for _ in range(FORGETS_A_TICK_MAX):
            gone = self._parts.receipts.forget(self._kept_since(now))
            if not gone:
                return
            _log.info("receipts.forgotten", count=gone)

    def _question(self, run: str, site: str, since: str, agency: str, now: datetime) -> Question:
        estate, what = self._parts.estate, "list a loss"
        if bool(run) == bool(site):
            hint = "--run RUN, or --site SITE --since TIME"
            raise NciaError("loss.ask-one", what, "name either a run or a site", hint)
        if agency and AgencyId(agency) not in estate.agencies:
            known = ", ".join(sorted(estate.agencies))
            raise NciaError("loss.no-such-agency", what, f"no agency {agency!r} in the estate", known)
        question = self._of_run(run, now) if run else self._of_site(site, now)
        if since:
            question = replace(question, since=_moment(since))
        if agency:
            own = tuple(s for s in question.systems if estate.systems[s].agency == agency)
            question = replace(question, systems=own, agency=AgencyId(agency))
        return question

    def _of_run(self, name: str, now: datetime) -> Question:
        runs = self._parts.state().runs
        run = runs.get(name)
        if run is None:
            known = ", ".join(sorted(runs)[-5:]) or "none was planned"
            raise NciaError("loss.no-such-run", "list a loss", f"no run {name!r}", known)
        moves = run.plan.plan.get("moves", ())
        systems = tuple(SystemId(move["system"]) for move in moves)
        lost = SiteId(str(run.plan.plan.get("lost_site", "")))
        self._demand_kept(lost)
        return Question(lost, systems, self._since(lost, now), left_at(run, systems) or now, run=name)

    def _of_site(self, name: str, now: datetime) -> Question:
        site = SiteId(name)
        if site not in self._parts.estate.centres:
            known = ", ".join(self._parts.estate.centres)
            raise NciaError("loss.no-such-site", "list a loss", f"no centre {name!r} in the estate", known)
        self._demand_kept(site)
        return Question(site, tuple(self._parts.estate.systems), self._since(site, now), self._heard(site, now))

    def _demand_kept(self, lost: SiteId) -> None:
        site = self._parts.site
        if lost == site:
            why = f"the receipts of acts that {lost} served are kept at {self._parts.estate.peer_of(site)}"
            raise NciaError("loss.other-site", f"list what was lost of {lost}", why, "ask the other site's controller")

    def _since(self, lost: SiteId, now: datetime) -> datetime:
        """Since when receipts are vouched for and kept."""
        vouched = vouched_since(self._parts.receipts.streams(lost))
        kept = self._kept_since(now)
        return kept if vouched is None else max(vouched, kept)

    def _heard(self, site: SiteId, now: datetime) -> datetime:
        """Now, or a moment ago where every door spoke just now: it vouches up to its last word."""
        ends: dict[SiteId, datetime] = {}
        for stream in self._parts.receipts.streams(site):
            ends[stream.door] = max(ends.get(stream.door, stream.complete_until), stream.complete_until)
        least = min(ends.values(), default=now)
        return least if timedelta(0) <= now - least <= timedelta(seconds=FRESH_SECONDS) else now

    def _kept_since(self, now: datetime) -> datetime:
        return now - timedelta(days=self._parts.estate.settings.receipts_kept_days)

    def _compare(self, system: SystemId, receipts: Sequence[Receipt]) -> Compared:
        site = self._parts.active().get(system, self._parts.estate.systems[system].home)
        acts = [receipt.act for receipt in receipts if receipt.system == system]
        try:
            return Compared(site, self._parts.contents.hashes(system, site, acts) if acts else {})
        except NciaError as error:
            return Compared(site, why=f"{error.what}: {error.why}")

    def _unnamed(self, question: Question, streams: Sequence[Stream], now: datetime) -> tuple[Unnamed, ...]:
        kept = self._kept_since(now)
        forgotten: tuple[Unnamed, ...] = ()
        if question.since < kept:
            days = self._parts.estate.settings.receipts_kept_days
            why = f"receipts are kept for {days} days"
            forgotten = (Unnamed(to_text(question.since), to_text(min(kept, question.until)), None, why),)
        return forgotten + unnamed_of(streams, max(question.since, kept), question.until)


def left_at(run: Run, systems: Sequence[SystemId]) -> datetime | None:
    """When the last of the systems was taken from its old site, after which nothing of that one is passed on; the
    run's start where none was taken yet."""
    steps = [step_of(run, system, CLAIM) for system in systems]
    taken = [step.ended_at for step in steps if step and step.finished and step.ended_at]
    return max(taken, default=run.started_at)


def _listed(report: LossReport) -> LossListed:
    by_system: dict[str, int] = {}
    for agency in report.agencies:
        for act in agency.lost:
            by_system[act.system] = by_system.get(act.system, 0) + 1
    return LossListed(
        run=report.run,
        lost_site=report.lost_site,
        agency=report.agency,
        since=report.since,
        until=report.until,
        receipts=report.receipts,
        lost=report.lost,
        altered=report.altered,
        lost_by_system=by_system,
        uncompared=tuple(each.system for each in report.uncompared),
        unnamed=tuple(f"{each.since}/{each.until}" for each in report.unnamed),
        list_sha256=report.list_sha256,
    )


def _moment(text: str) -> datetime:
    try:
        return from_text(text)
    except ValueError as error:
        hint = "an RFC 3339 moment, such as 2026-09-26T20:15:00+09:00"
        raise NciaError("loss.bad-moment", "list a loss", f"--since: {error}", hint) from error
