"""What agents report, taken in at a controller: verdicts into the journal, heartbeats and measures into memory.

Every agent speaks to both controllers. A controller journals what its own site's agent and the witness saw; the
verdicts of the other centre's agent it keeps in memory, for that site's controller journals them and we pull its
journal. Silence is written down of the own agent alone, for another's may be the link's fault.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from monitors.clocks import Pendulum
from monitors.targets import vantages
from ncia.core.alerts.evidence import Sight, Skew, Vantage
from ncia.core.alerts.words import SILENT
from ncia.core.base.clock import Clock, from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries import VerdictChange, VerdictsChanged
from ncia.core.views import Live

SILENT_AFTER_SECONDS = 5.0
FIRST_WORD_SECONDS = 30.0  # an agent that starts after its controller has so long to speak for the first time
CHANGES_MAX = 5000
MEASURES_MAX = 5000


class MeasureReport(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    subject: str
    name: str
    value: float
    at: str


class Report(BaseModel):
    """The body of POST /v1/agents/{vantage}/report."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    tick: int
    at: str = ""  # the time of day by the agent's clock as it sends; none from an agent of an earlier release
    changes: tuple[VerdictChange, ...] = Field(max_length=CHANGES_MAX)
    measures: tuple[MeasureReport, ...] = Field(default=(), max_length=MEASURES_MAX)


@dataclass
class _Heard:
    """Of one agent: when it last spoke, and the newest of everything it said."""

    at: datetime | None = None
    silent: bool = False
    verdicts: dict[str, VerdictChange] = field(default_factory=dict)
    sights: dict[str, Sight] = field(default_factory=dict)  # the same as diagnoses read them, made once a change
    doubts: set[str] = field(default_factory=set)
    clock: Pendulum = field(default_factory=Pendulum)

    def take(self, changes: Iterable[VerdictChange]) -> None:
        for change in changes:
            self.verdicts[change.subject] = change
            self.sights[change.subject] = Sight(change.verdict, from_text(change.since), change.evidence)


class Intake:
    """Safe to use from many threads. ``known`` are the verdicts by vantage that the journal already holds."""

    def __init__(
        self,
        journal: Journal,
        clock: Clock,
        estate: Estate,
        known: Mapping[str, Mapping[str, VerdictChange]] | None = None,
    ) -> None:
        self._journal = journal
        self._clock = clock
        self._estate = estate
        self._lock = threading.Lock()
        self._started = clock.now()
        self._heard = {site: _Heard() for site in vantages(estate)}
        self._measures: dict[tuple[str, str], tuple[float, datetime]] = {}
        self._journals = frozenset(site for site in self._heard if site == journal.site or site not in estate.centres)
        for site, heard in self._heard.items():
            if site in self._journals:
                heard.take((known or {}).get(site, {}).values())

    def report(self, vantage: str, report: Mapping[str, Any]) -> None:
        """Take in one report; raises :class:`NciaError` where it is not one, or from a site without an agent."""
        what = f"take a report of the agent at {vantage}"
        heard = self._heard.get(SiteId(vantage))
        if heard is None:
            known = ", ".join(self._heard)
            raise NciaError("monitors.unknown-vantage", what, "the estate has no agent there", f"one of {known}")
        try:
            told = Report.model_validate(report)
            measures = [(m.subject, m.name, m.value, from_text(m.at)) for m in told.measures]
            said = from_text(told.at) if told.at else None
            for change in told.changes:
                from_text(change.since)
        except (ValidationError, ValueError) as error:
            raise NciaError("monitors.bad-report", what, str(error), "are agent and controller one release?") from error
        with self._lock:
            now = self._clock.now()
            changed = tuple(
                change.model_copy(update={"previous": before.verdict if before else "unknown"})
                for change in told.changes
                if _differs(before := heard.verdicts.get(change.subject), change)
            )
            if changed and SiteId(vantage) in self._journals:
                self._journal.append(VerdictsChanged(vantage=vantage, changes=changed), by=f"agent@{vantage}")
            heard.take(changed)
            heard.at, heard.silent = now, False
            if said is not None:
                heard.clock.hear(said, now)
            for subject, name, value, at in measures:
                if name == "doubted":
                    (heard.doubts.add if value else heard.doubts.discard)(subject)
                else:
                    self._measures[(subject, name)] = (value, at)

    def mark_silent(self) -> None:
        """Make unknown what only a silent agent could know; call it every second or so."""
        now = self._clock.now()
        with self._lock:
            for site, heard in self._heard.items():
                if heard.silent or not self._is_silent(heard, now):
                    continue
                heard.silent = True
                heard.doubts.clear()
                since = heard.at or self._started
                unknown = tuple(
                    VerdictChange(
                        subject=change.subject,
                        verdict="unknown",
                        previous=change.verdict,
                        since=to_text(since),
                        evidence=SILENT,
                    )
                    for change in heard.verdicts.values()
                    if change.verdict != "unknown"
                )
                if unknown and site == self._journal.site:
                    self._journal.append(VerdictsChanged(vantage=site, changes=unknown), by="intake")
                heard.take(unknown)

    def live(self) -> Live:
        """What is known now and in no journal."""
        with self._lock:
            return Live(
                vantages={site: heard.at for site, heard in self._heard.items() if heard.at is not None},
                measures=dict(self._measures),
            )

    def speaking(self) -> Mapping[SiteId, Vantage]:
        """Every agent that is heard, with all that it sees."""
        now = self._clock.now()
        with self._lock:
            return {
                site: Vantage(
                    heard.at,
                    dict(heard.sights),
                    frozenset(heard.doubts),
                )
                for site, heard in self._heard.items()
                if heard.at is not None and not self._is_silent(heard, now)
            }

    def clocks(self) -> Mapping[SiteId, Skew]:
        """Of every agent that was heard of late, how far its clock is ahead of ours."""
        now = self._clock.now()
        with self._lock:
            return {site: skew for site, heard in self._heard.items() if (skew := heard.clock.told(now)) is not None}

    def silent(self) -> Mapping[SiteId, datetime]:
        """Every agent that is not heard, and since when."""
        now = self._clock.now()
        with self._lock:
            return {s: heard.at or self._started for s, heard in self._heard.items() if self._is_silent(heard, now)}

    def active(self) -> Mapping[SystemId, tuple[SiteId, int]]:
        """Where each system is active, and under which epoch: the highest that any agent reported from its site's
        lease file. A system of which nobody spoke yet is left out."""
        with self._lock:
            measures = dict(self._measures)
        found: dict[SystemId, tuple[SiteId, int]] = {}
        for system in self._estate.systems.values():
            for site in system.applications:
                epoch = int(measures.get((f"app:{system.id}@{site}", "active_epoch"), (0.0, None))[0])
                if epoch > found.get(system.id, (site, 0))[1]:
                    found[system.id] = (site, epoch)
        return found

    def _is_silent(self, heard: _Heard, now: datetime) -> bool:
        if heard.at is None:
            return now - self._started > timedelta(seconds=FIRST_WORD_SECONDS)
        return now - heard.at > timedelta(seconds=SILENT_AFTER_SECONDS)


def _differs(before: VerdictChange | None, change: VerdictChange) -> bool:
    if before is None:
        return change.verdict != "unknown"
    return (before.verdict, before.evidence) != (change.verdict, change.evidence)
