"""What was done, folded from the journal: runs, their approvals and their steps. Deterministic; never writes.

An entry may come twice (pulled again, or told by two ways): it counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from ncia.core.base.ids import RunId, SiteId
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    PlanMade,
    RunEnded,
    RunResumed,
    RunStarted,
    RunStopped,
    StepEnded,
    StepIntended,
    StepUndone,
)
from recovery.planned import Plan
from recovery.ports import Recorded


class RunState(StrEnum):
    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABANDONED = "abandoned"

    @property
    def ended(self) -> bool:
        return self in (RunState.SUCCEEDED, RunState.FAILED, RunState.ABANDONED)


RESTORES = ("make_synchronous", "require_partner")  # steps after which commits have a partner again


class StepState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"  # an intent, and the one who intended it is still at it
    UNKNOWN = "unknown"  # an intent without an outcome, from before a restart: look before doing
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
    UNDONE = "undone"


@dataclass(frozen=True)
class StepRecord:
    """``failures`` counts since the run was last started or resumed; ``attempt`` is never reset."""

    state: StepState = StepState.PENDING
    attempt: int = 0
    failures: int = 0
    intended_at: datetime | None = None
    ended_at: datetime | None = None
    evidence: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        return self.state is StepState.DONE


@dataclass
class Run:
    """One run, as far as the journal tells. ``approvals`` are entries that a controller has verified before writing."""

    id: RunId
    plan: Plan
    plan_hash: str
    by: str
    made_at: datetime
    state: RunState = RunState.PLANNED
    site: SiteId | None = None  # whose controller carries it out
    approvals: dict[str, ApprovalGiven] = field(default_factory=dict)
    approved_at: dict[str, datetime] = field(default_factory=dict)
    refusals: list[ApprovalRefused] = field(default_factory=list)
    steps: dict[str, StepRecord] = field(default_factory=dict)
    started_at: datetime | None = None
    ended_at: datetime | None = None
    sentence: str = ""
    stopped_by: str = ""

    @property
    def started(self) -> bool:
        return self.started_at is not None

    def step(self, id: str) -> StepRecord:
        return self.steps.get(id, _UNTOUCHED)

    def copy(self) -> Run:
        """One that goes its own way; plans and entries are frozen and shared."""
        return replace(
            self,
            approvals=dict(self.approvals),
            approved_at=dict(self.approved_at),
            refusals=list(self.refusals),
            steps=dict(self.steps),
        )

    def apply(self, body: Body, at: datetime) -> None:
        """Take one entry of this run into account; the table below is closed."""
        _TRANSITIONS[type(body)](self, body, at)


_UNTOUCHED = StepRecord()


class Runs:
    """Every run of both sites' journals."""

    def __init__(self, entries: Iterable[Recorded] = ()) -> None:
        self._runs: dict[RunId, Run] = {}
        self._seen: set[tuple[SiteId, int]] = set()
        self._early: dict[RunId, list[Recorded]] = {}
        for entry in entries:
            self.apply(entry)

    def apply(self, entry: Recorded) -> Run | None:
        """The run that the entry changed, if any."""
        if type(entry.body) not in _KNOWN or (entry.site, entry.number) in self._seen:
            return None
        self._seen.add((entry.site, entry.number))
        if isinstance(entry.body, PlanMade):
            return self._made(entry.body, entry)
        id = RunId(entry.body.run)  # type: ignore[attr-defined]  # every known body has one
        found = self._runs.get(id)
        if found is None:  # the peer's plan has not been pulled yet
            self._early.setdefault(id, []).append(entry)
            return None
        found.apply(entry.body, entry.at)
        return found

    def _made(self, body: PlanMade, entry: Recorded) -> Run:
        id = RunId(body.run)
        run = Run(id, Plan.from_json(body.plan), body.plan_hash, body.by, entry.at)
        self._runs[id] = run
        for early in self._early.pop(id, []):
            run.apply(early.body, early.at)
        return run

    def get(self, id: str) -> Run | None:
        return self._runs.get(RunId(id))

    def all(self) -> tuple[Run, ...]:
        """Newest first."""
        return tuple(sorted(self._runs.values(), key=lambda run: (run.made_at, run.id), reverse=True))

    def durations(self) -> dict[str, float]:
        """Seconds of each kind of step as last measured: the mean over the newest run that did any of that kind."""
        found: dict[str, float] = {}
        for run in self.all():
            seconds: dict[str, list[float]] = {}
            for step in run.plan.steps:
                took = run.step(step.id).measured.get("seconds")
                if run.step(step.id).state is StepState.DONE and isinstance(took, int | float):
                    seconds.setdefault(step.kind, []).append(float(took))
            for kind, values in seconds.items():
                found.setdefault(kind, round(sum(values) / len(values), 3))
        return found

    def cleared_by(self, system: str, site: str) -> str:
        """The newest run after which ``system``, active at ``site``, has no synchronous partner; empty where none."""
        for run in self.all():
            if any(run.step(f"{system}/{kind}").state is StepState.DONE for kind in RESTORES):
                return ""
            if run.plan.site == site and run.step(f"{system}/clear_synchronous").state is StepState.DONE:
                return run.id
        return ""


def _approved(run: Run, body: ApprovalGiven, at: datetime) -> None:
    if body.plan_hash == run.plan_hash:
        run.approvals.setdefault(body.person, body)
        run.approved_at.setdefault(body.person, at)


def _refused(run: Run, body: ApprovalRefused, at: datetime) -> None:
    run.refusals.append(body)


def _started(run: Run, body: RunStarted, at: datetime) -> None:
    run.state, run.site, run.started_at = RunState.RUNNING, SiteId(body.site), run.started_at or at
    run.sentence = run.stopped_by = ""


def _intended(run: Run, body: StepIntended, at: datetime) -> None:
    before = run.step(body.step)
    run.steps[body.step] = replace(before, state=StepState.RUNNING, attempt=body.attempt, intended_at=at, ended_at=None)


def _ended_step(run: Run, body: StepEnded, at: datetime) -> None:
    state = StepState.DONE if body.outcome in ("done", "already") else StepState(body.outcome)
    before = run.step(body.step)
    run.steps[body.step] = replace(
        before,
        state=state,
        attempt=body.attempt,
        failures=before.failures + (state is StepState.FAILED),
        ended_at=at,
        evidence=body.evidence,
        measured=body.measured,
    )


def _undone(run: Run, body: StepUndone, at: datetime) -> None:
    run.steps[body.step] = replace(run.step(body.step), state=StepState.UNDONE, ended_at=at, evidence=body.evidence)


def _stopped(run: Run, body: RunStopped, at: datetime) -> None:
    run.state, run.sentence, run.stopped_by = RunState.STOPPED, body.reason, body.by


def _resumed(run: Run, body: RunResumed, at: datetime) -> None:
    """Who intended before is gone: an intent without outcome is unknown, what failed is tried again."""
    run.state, run.site, run.sentence, run.stopped_by = RunState.RUNNING, SiteId(body.site), "", ""
    again = {
        StepState.RUNNING: StepState.UNKNOWN,
        StepState.FAILED: StepState.PENDING,
        StepState.REFUSED: StepState.PENDING,
        StepState.UNDONE: StepState.PENDING,
    }
    stale = _after_undone(run)
    for id, step in run.steps.items():
        state = StepState.PENDING if id in stale else again.get(step.state, step.state)
        run.steps[id] = replace(step, state=state, failures=0)


def _after_undone(run: Run) -> set[str]:
    """Steps of a system that came after one which was taken back: what they saw is no longer so."""
    undone: set[str] = set()
    found: set[str] = set()
    for step in run.plan.steps:
        if step.system and step.system in undone:
            found.add(step.id)
        if run.step(step.id).state is StepState.UNDONE:
            undone.add(step.system)
    return found


def _ended(run: Run, body: RunEnded, at: datetime) -> None:
    run.state, run.sentence, run.ended_at = RunState(body.outcome), body.sentence, at


_TRANSITIONS: Mapping[type[Body], Callable[[Run, Any, datetime], None]] = {
    ApprovalGiven: _approved,
    ApprovalRefused: _refused,
    RunStarted: _started,
    StepIntended: _intended,
    StepEnded: _ended_step,
    StepUndone: _undone,
    RunStopped: _stopped,
    RunResumed: _resumed,
    RunEnded: _ended,
}
_KNOWN = {PlanMade, *_TRANSITIONS}
