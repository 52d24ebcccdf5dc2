"""By which right a run acts: its plan, its approvals and its start, known at a second place before anything is claimed.

Kept from the journal, by run. A run whose permits a second place holds is not asked about again until it has new ones.
Asking begins as soon as a run does, so that it is over before the lost site's lease is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import structlog

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    PlanMade,
    RunResumed,
    RunStarted,
    RunSworn,
)
from recovery.ports import Journal, Recorded

PERMITS = (PlanMade, ApprovalGiven, RunStarted, RunResumed)

_log = structlog.get_logger("recovery")

Demand = Callable[[Sequence[Any], str, str], str]  # (entries, what for, override) -> the second place, or a Refusal


class RunPermits:
    """:class:`recovery.ports.Permits` on a journal. Safe to use from many threads."""

    def __init__(self, journal: Journal, demand: Demand) -> None:
        self._demand = demand
        self._lock = threading.Lock()
        self._entries: dict[RunId, list[Recorded]] = {}
        self._oaths: dict[RunId, RunSworn] = {}
        self._known: dict[RunId, tuple[int, str]] = {}  # of so many permits a second place knows: which
        self._asking = threading.Lock()
        self._begun: dict[RunId, int] = {}  # how often it was asked about a run
        self._refusals: dict[RunId, tuple[int, Refusal]] = {}  # which asking was refused last, and how
        journal.subscribe(self._take)
        for entry in journal.merged():
            self._take(entry)

    def demand(self, run: RunId, what: str) -> str:
        """One sentence by which right; a Refusal where nobody else knows of it. Steps that come at the same time wait
        for one answer; each of them has its whole time for it."""
        begun_before = self._begun.get(run, 0)
        with self._asking:
            which, refusal = self._refusals.get(run, (0, None))
            if refusal is not None and which > begun_before:
                raise refusal  # it was asked since we came, and refused
            self._begun[run] = which = self._begun.get(run, 0) + 1
            try:
                return self._demanded(run, what)
            except Refusal as refusal:
                self._refusals[run] = (which, refusal)
                raise

    def foresee(self, entry: Recorded) -> None:
        """Ask in a thread of its own as soon as a run begins or is resumed: a subscriber of the journal."""
        if isinstance(entry.body, RunStarted | RunResumed):
            run = RunId(entry.body.run)
            threading.Thread(target=self._ask_early, args=(run,), name=f"permits-{run}", daemon=True).start()

    def _ask_early(self, run: RunId) -> None:
        try:
            self.demand(run, f"begin run {run}")
        except NciaError as error:
            _log.warning("run.not-permitted-yet", run=run, **error.as_problem())  # its claims ask again, and tell

    def _demanded(self, run: RunId, what: str) -> str:
        with self._lock:
            entries, oath = tuple(self._entries.get(run, ())), self._oaths.get(run)
            count, place = self._known.get(run, (0, ""))
        if oath is not None:
            return f"on the word of {oath.by} alone: {oath.reason}"
        if not entries:
            why = f"the journal here knows no plan and no start of {run}"
            raise Refusal("recovery.no-permit", what, why, "pull it first")
        if count < len(entries):
            place = self._demand(entries, what, override_of(run))
            with self._lock:
                self._known[run] = (len(entries), place)
        return f"the run's permits are known at {place} too"

    def _take(self, entry: Recorded) -> None:
        body = entry.body
        if isinstance(body, RunSworn):
            with self._lock:
                self._oaths[RunId(body.run)] = body
        elif isinstance(body, PERMITS):
            with self._lock:
                known = self._entries.setdefault(RunId(body.run), [])
                if (entry.site, entry.number) not in {(each.site, each.number) for each in known}:
                    known.append(entry)


def override_of(run: RunId) -> str:
    return f"where both are gone for good: ncia recover alone {run} --by PERSON --reason TEXT, then resume it"
