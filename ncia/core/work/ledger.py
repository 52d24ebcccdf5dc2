"""The ledger of missed runs: work that was expected and did not succeed within its window. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncia.core.base.clock import to_text
from ncia.core.journal.entries import RunMissed
from ncia.core.state import Missed


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
    known = {(each.run.job, each.run.due_at) for each in written}
    found = []
    for each in expected:
        lapsed = (now - each.first_due).total_seconds() - each.window_seconds
        if lapsed < 0:
            continue
        due_at = each.first_due + timedelta(seconds=each.interval_seconds * int(lapsed // each.interval_seconds))
        if (each.work, to_text(due_at)) in known:
            continue
        slept = due_at + timedelta(seconds=each.window_seconds) <= awake_since
        reason = "the controller was not running" if slept else f"no success within {each.window_seconds:g} s"
        found.append(RunMissed(job=each.work, dataset=each.dataset, due_at=to_text(due_at), reason=reason))
    return tuple(found)
