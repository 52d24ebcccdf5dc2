"""The ledger of missed runs: work that was expected and did not succeed within its window. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.journal.entries import RunMissed
from ncia.core.state import Missed

PEER_GRACE_SECONDS = 60.0
"""How long the peer has to say itself what it missed."""


@dataclass(frozen=True)
class Expected:
    """Recurring work. ``first_due`` is an interval after its newest success; a run counts when it succeeds within
    ``window_seconds`` of a due time. ``work`` is ``<verb>:<dataset>``, and its jobs' ids begin with the verb."""

    work: str
    dataset: str
    first_due: datetime
    interval_seconds: float
    window_seconds: float


def overdue(
    expected: Iterable[Expected], written: Iterable[Missed], now: datetime, awake_since: datetime
) -> tuple[RunMissed, ...]:
    """The entries to write now: for each work the newest due time whose window has passed, unless it is written.

    ``awake_since`` is when this controller started: a window that had passed by then was slept through.
    """
    found = []
    for each, due_at in _lapsed(expected, written, now, 0.0):
        slept = due_at + timedelta(seconds=each.window_seconds) <= awake_since
        reason = "the controller was not running" if slept else f"no success within {each.window_seconds:g} s"
        found.append(RunMissed(job=each.work, dataset=each.dataset, due_at=to_text(due_at), reason=reason))
    return tuple(found)


def overdue_at_peer(
    expected: Iterable[Expected], written: Iterable[Missed], now: datetime, peer: str, heard_of: datetime | None
) -> tuple[RunMissed, ...]:
    """The entries to write now of what the ``peer`` should have done: it has neither done it nor said that it missed
    it, a while after it should have said so. It is silent, dead, or out of reach; ``heard_of``: its newest entry.

    Both sites reckon due times from the same entries, so what both write of one run is one missed run.
    """
    heard = "we have no entry of it" if heard_of is None else f"its newest entry is of {to_text(heard_of)[:19]}Z"
    reason = f"{peer} has said neither that it was done nor that it was missed; {heard}"
    return tuple(
        RunMissed(job=each.work, dataset=each.dataset, due_at=to_text(due_at), reason=reason)
        for each, due_at in _lapsed(expected, written, now, PEER_GRACE_SECONDS)
    )


def _lapsed(
    expected: Iterable[Expected], written: Iterable[Missed], now: datetime, grace_seconds: float
) -> Iterator[tuple[Expected, datetime]]:
    """Each work's newest due time whose window, and the grace after it, has passed, unless it is written."""
    known = {(each.run.job, each.run.due_at) for each in written}
    for each in expected:
        lapsed = (now - each.first_due).total_seconds() - each.window_seconds - grace_seconds
        if lapsed < 0:
            continue
        due_at = each.first_due + timedelta(seconds=each.interval_seconds * int(lapsed // each.interval_seconds))
        if (each.work, to_text(due_at)) not in known:
            yield each, due_at
