"""Acknowledgements: somebody owns an incident until a moment; it falls by itself when things get worse or well."""

from __future__ import annotations

from datetime import datetime, timedelta

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import PersonId
from ncia.core.estate.model import Estate
from ncia.core.journal.entries import AlertAcked
from ncia.core.state.facts import Incident
from ncia.core.state.state import State


def acknowledge(
    estate: Estate, state: State, incident: str, by: str, comment: str, minutes: float, now: datetime
) -> AlertAcked:
    """The entry to journal; raises :class:`NciaError` for an incident that is not open or a person we do not know.

    ``incident`` is its id, or its root.
    """
    what = f"acknowledge incident {incident}"
    found = next((i for i in state.open_incidents() if incident in (i.id, i.now.root)), None)
    if found is None:
        known = ", ".join(sorted(i.id for i in state.open_incidents())) or "there is none"
        raise NciaError("alerts.no-such-incident", what, "no open incident has this name", f"open: {known}")
    if PersonId(by) not in estate.people:
        people = ", ".join(sorted(estate.people))
        raise NciaError("alerts.no-such-person", what, f"the estate has no person {by!r}", f"--by one of {people}")
    return AlertAcked(incident=found.id, by=by, comment=comment, until=to_text(now + timedelta(minutes=minutes)))


def holds(incident: Incident, now: datetime) -> bool:
    """Whether somebody owns the incident now."""
    return incident.open and incident.ack is not None and now < from_text(incident.ack.until)


def withdrawn(incident: Incident, why: str, by: str, now: datetime) -> AlertAcked:
    """The entry that ends an acknowledgement before its time."""
    return AlertAcked(incident=incident.id, by=by, comment=why, until=to_text(now))
