"""Signals of the site's agent, taken in at its controller: findings into the journal, and out of it when they are over.

A finding is over once nothing came for its rule's quiet time; or, once a person has acknowledged its incident, as soon
as it is calm. If it goes on after that it is opened again, and so is its incident. Taking a signal twice changes
nothing. Only the controller of the site whose logs told it changes a finding; the other one only while the agent there
is silent.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ncia.core.alerts import intrusions
from ncia.core.alerts.acks import holds
from ncia.core.base.clock import Clock, from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal import Journal
from ncia.core.journal.entries import Body, FindingChanged, FindingClosed, FindingOpened
from ncia.core.state.facts import Finding, Incident
from ncia.core.state.state import State

SIGNALS_MAX = 500  # in one word of an agent
CALM_SECONDS = 10.0  # an acknowledged attack is over once so long nothing came
SHOWN_CLOSED_MAX = 50
BY = "findings"


class Signal(BaseModel):
    """One attack as the agent's detector knows it; the fields are those of :class:`FindingOpened`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    id: str = Field(max_length=80)
    rule: str = Field(max_length=200)
    title: str = Field(max_length=500)
    level: str
    host: str = Field(pattern=r"^[a-z0-9._-]{1,63}$")
    entered: bool
    group: dict[str, str] = Field(max_length=16)
    sentence: str = Field(max_length=1000)
    first_at: str
    last_at: str
    count: int = Field(ge=1)
    examples: tuple[str, ...] = Field(max_length=10)
    quiet_seconds: float = Field(gt=0)


class Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    id: str
    title: str
    level: str
    inactive: str  # why it can never fire; empty where it can


class Word(BaseModel):
    """The body of POST /v1/agents/{vantage}/findings."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    signals: tuple[Signal, ...] = Field(default=(), max_length=SIGNALS_MAX)
    counts: dict[str, int] = Field(default_factory=dict, max_length=64)
    rules: tuple[Rule, ...] = Field(default=(), max_length=10_000)


class FindingDesk:
    """Safe to use from many threads. ``speaking`` are the sites whose agents are heard."""

    def __init__(
        self,
        journal: Journal,
        snapshot: Callable[[], State],
        clock: Clock,
        speaking: Callable[[], Mapping[SiteId, object]],
    ) -> None:
        self._journal = journal
        self._snapshot = snapshot
        self._clock = clock
        self._speaking = speaking
        self._lock = threading.Lock()
        self._word: Word | None = None
        self._rules: tuple[Rule, ...] = ()
        self._heard_at: datetime | None = None

    def take(self, vantage: str, told: Mapping[str, Any]) -> None:
        """What the site's own agent tells; raises :class:`NciaError`."""
        what = f"take the findings of {vantage}"
        if vantage != self._journal.site:
            hint = "an agent tells its findings to its own site's controller"
            raise NciaError("monitors.not-our-agent", what, f"this is the controller of {self._journal.site}", hint)
        try:
            word = Word.model_validate(told)
            bodies = [(signal, _body(signal)) for signal in word.signals]
        except (ValidationError, ValueError) as error:
            raise NciaError(
                "monitors.bad-findings", what, str(error), "are agent and controller one release?"
            ) from error
        with self._lock:
            state = self._snapshot()
            fresh = tuple(entry for signal, body in bodies if (entry := _news(state, signal, body)) is not None)
            self._journal.append_all(fresh, by=f"agent@{vantage}")
            self._word, self._heard_at = word, self._clock.now()
            self._rules = word.rules or self._rules  # not told in every word

    def tick(self) -> None:
        """Close what is over; call it every second or so."""
        with self._lock:
            self._journal.append_all(tuple(self._over(self._snapshot(), self._clock.now())), by=BY)

    def to_json(self) -> dict[str, Any]:
        """For people: the open findings and the newest closed ones of both sites; this site's rules and counts."""
        state = self._snapshot()
        closed = sorted((f for f in state.findings.values() if not f.open), key=lambda f: f.now.last_at)
        shown = sorted(state.open_findings(), key=lambda f: f.now.last_at, reverse=True)
        shown += reversed(closed[-SHOWN_CLOSED_MAX:])
        word = self._word or Word()
        return {
            "site": self._journal.site,
            "findings": [_shown(finding) for finding in shown],
            "rules": [rule.model_dump() for rule in self._rules],
            "counts": dict(word.counts),
            "heard_at": to_text(self._heard_at) if self._heard_at else None,
        }

    def _over(self, state: State, now: datetime) -> Iterator[FindingClosed]:
        incidents = {incident.now.root: incident for incident in state.open_incidents()}
        speaking = self._speaking()
        for finding in state.open_findings():
            if finding.site != self._journal.site and SiteId(finding.site) in speaking:
                continue
            reason = _end(finding, incidents.get(intrusions.root_of(finding)), now)
            if reason:
                yield FindingClosed(finding=finding.id, reason=reason)


def _end(finding: Finding, incident: Incident | None, now: datetime) -> str:
    """Why a finding is over; empty while it is not."""
    silent = now - from_text(finding.now.last_at)
    if silent >= timedelta(seconds=finding.now.quiet_seconds):
        return f"nothing came for {finding.now.quiet_seconds:g} s"
    if incident is not None and holds(incident, now) and silent >= timedelta(seconds=CALM_SECONDS):
        ack = incident.ack
        return f"acknowledged by {ack.by}: {ack.comment}" if ack is not None else ""
    return ""


def _body(signal: Signal) -> FindingOpened:
    from_text(signal.first_at)
    from_text(signal.last_at)
    return FindingOpened.model_validate({"finding": signal.id, **signal.model_dump(exclude={"id"})})


def _news(state: State, signal: Signal, body: FindingOpened) -> Body | None:
    known = state.findings.get(signal.id)
    if known is None:
        return body
    if signal.count <= known.now.count:
        return None
    return FindingChanged(**body.model_dump()) if known.open else body


def _shown(finding: Finding) -> dict[str, Any]:
    return {
        "site": finding.site,
        "opened_at": to_text(finding.opened_at),
        "closed_at": to_text(finding.closed_at) if finding.closed_at else None,
        "reason": finding.reason,
        **finding.now.model_dump(mode="json"),
    }
