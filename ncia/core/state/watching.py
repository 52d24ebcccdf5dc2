"""What is watched: verdicts, the incidents that follow from them, and the attacks that rules found.

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncia.core.journal.entries import (
    AlertAcked,
    FindingChanged,
    FindingClosed,
    FindingOpened,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    VerdictsChanged,
)
from ncia.core.journal.entry import Entry
from ncia.core.state.bounds import without_oldest
from ncia.core.state.facts import Finding, Incident

if TYPE_CHECKING:
    from ncia.core.state.state import State

INCIDENTS_CLOSED_MAX = 500
FINDINGS_CLOSED_MAX = 500


def verdicts_changed(state: State, entry: Entry, body: VerdictsChanged) -> None:
    changed = {change.subject: change for change in body.changes}
    state.verdicts = {**state.verdicts, body.vantage: {**state.verdicts.get(body.vantage, {}), **changed}}
    state.heard = {**state.heard, body.vantage: entry.at}


def incident_opened(state: State, entry: Entry, body: IncidentOpened) -> None:
    """Both sites may open one incident (its id derives from its root): the first opening stands, the words are new."""
    known = state.incidents.get(body.incident)
    if known is not None and known.open:
        incident = replace(known, now=body)
    else:
        incident = Incident(body.incident, entry.at, entry.site, body)
    incidents = {**state.incidents, body.incident: incident}
    state.incidents = without_oldest(incidents, lambda each: not each.open, INCIDENTS_CLOSED_MAX)


def incident_changed(state: State, entry: Entry, body: IncidentChanged) -> None:
    known = state.incidents.get(body.incident)
    if known is None:
        state.strays += 1
        return
    state.incidents = {**state.incidents, body.incident: replace(known, now=body)}


def incident_closed(state: State, entry: Entry, body: IncidentClosed) -> None:
    known = state.incidents.get(body.incident)
    if known is None:
        state.strays += 1
        return
    if known.open:
        closed = replace(known, closed_at=entry.at, reason=body.reason)
        state.incidents = {**state.incidents, body.incident: closed}


def alert_acked(state: State, entry: Entry, body: AlertAcked) -> None:
    known = state.incidents.get(body.incident)
    if known is None:
        state.strays += 1
        return
    state.incidents = {**state.incidents, body.incident: replace(known, ack=body)}


def finding_opened(state: State, entry: Entry, body: FindingOpened) -> None:
    """One that was closed goes on where it is told again."""
    finding = Finding(body.finding, entry.site, entry.at, body)
    findings = {**state.findings, body.finding: finding}
    state.findings = without_oldest(findings, lambda each: not each.open, FINDINGS_CLOSED_MAX)


def finding_changed(state: State, entry: Entry, body: FindingChanged) -> None:
    known = state.findings.get(body.finding)
    if known is None:
        state.strays += 1
        return
    state.findings = {**state.findings, body.finding: replace(known, now=body)}


def finding_closed(state: State, entry: Entry, body: FindingClosed) -> None:
    known = state.findings.get(body.finding)
    if known is None:
        state.strays += 1
        return
    if known.open:
        closed = replace(known, closed_at=entry.at, reason=body.reason)
        state.findings = {**state.findings, body.finding: closed}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    VerdictsChanged.KIND: verdicts_changed,
    IncidentOpened.KIND: incident_opened,
    IncidentChanged.KIND: incident_changed,
    IncidentClosed.KIND: incident_closed,
    AlertAcked.KIND: alert_acked,
    FindingOpened.KIND: finding_opened,
    FindingChanged.KIND: finding_changed,
    FindingClosed.KIND: finding_closed,
}
