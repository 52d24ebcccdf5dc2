"""The run engine: what comes next, from what the journal says was done. Sans I/O: no clock, thread or port in here.

A step begins when everything it needs is done. Slots are given in the plan's order, highest grade first, so a system
that waits (for a dependency, for its next try) holds up nobody. A step that failed is tried again a bounded number of
times; one that was refused waits for a person; systems that do not need it go on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from recovery.planned import Plan, PlannedStep
from recovery.run import Run, RunState, StepRecord, StepState
from recovery.step import Scope
from recovery.steps import KINDS

BACKOFF_SECONDS = (0.1, 0.3, 1.0, 3.0)  # the last one again and again
TIMEOUTS_MAX = 3  # tries that each looked for their whole time
SENTENCE_STEPS_MAX = 3
DISTANT_PAST = datetime.min.replace(tzinfo=UTC)
CLAIMS = ("claim_epoch", "claim_held")


@dataclass(frozen=True)
class Begin:
    step: PlannedStep
    attempt: int


@dataclass(frozen=True)
class Actions:
    """``again_at``: when the next retry comes due. ``succeeded``: every step is done. ``stuck``: one sentence why
    nothing more can happen without a person."""

    begin: tuple[Begin, ...] = ()
    again_at: datetime | None = None
    succeeded: bool = False
    stuck: str = ""


def next_actions(run: Run, now: datetime, limit: int) -> Actions:
    """What to begin now, with at most ``limit`` steps at the same time."""
    if run.state is not RunState.RUNNING:
        return Actions()
    ready: list[Begin] = []
    again_at: datetime | None = None
    done = {id for id, record in run.steps.items() if record.state is StepState.DONE}
    undone = running = 0
    for step in run.plan.steps:
        if step.id in done:
            continue
        record = run.step(step.id)
        undone += 1
        running += record.state is StepState.RUNNING
        if record.state in (StepState.RUNNING, StepState.REFUSED) or not done.issuperset(step.needs):
            continue
        due = due_at(record, step.timeout_seconds)
        if due is None:
            continue
        if due > now:
            again_at = due if again_at is None else min(again_at, due)
        else:
            ready.append(Begin(step, record.attempt + 1))
    begin = tuple(ready[: max(0, limit - running)])
    if undone == 0:
        return Actions(succeeded=True)
    if not (begin or running or again_at):
        return Actions(stuck=why_stuck(run))
    return Actions(begin=begin, again_at=again_at)


def due_at(record: StepRecord, timeout_seconds: float) -> datetime | None:
    """When a step may begin: the distant past for one never tried, ``None`` where it has failed too often."""
    if record.state is not StepState.FAILED or record.ended_at is None:
        return DISTANT_PAST
    waited_out = record.measured.get("seconds", 0.0) >= timeout_seconds
    if record.failures >= (TIMEOUTS_MAX if waited_out else attempts_max(timeout_seconds)):
        return None
    pause = BACKOFF_SECONDS[min(record.failures, len(BACKOFF_SECONDS)) - 1]
    return record.ended_at + timedelta(seconds=pause)


def attempts_max(timeout_seconds: float) -> int:
    """Of a step that fails at once: what it needs may be away, to be started again, as long as one that looks waits."""
    more = (timeout_seconds - sum(BACKOFF_SECONDS)) / BACKOFF_SECONDS[-1]
    return len(BACKOFF_SECONDS) + 1 + max(0, math.ceil(more))


def why_stuck(run: Run) -> str:
    """One sentence: what stopped, why, what was served all the same, what to try."""
    bad = [
        (step, run.step(step.id))
        for step in run.plan.steps
        if run.step(step.id).state in (StepState.FAILED, StepState.REFUSED)
    ]
    told = "; ".join(f"{step.id} {_how(record)}: {record.evidence}" for step, record in bad[:SENTENCE_STEPS_MAX])
    more = f"; and {len(bad) - SENTENCE_STEPS_MAX} more" if len(bad) > SENTENCE_STEPS_MAX else ""
    served = len(served_systems(run))
    return f"stopped with {served} of {len(run.plan.moves)} systems served: {told}{more}"


def _how(record: StepRecord) -> str:
    if record.state is StepState.REFUSED:
        return "was refused"
    return f"failed {record.failures} times" if record.failures > 1 else "failed"


def served_systems(run: Run) -> tuple[str, ...]:
    """Systems all of whose steps are done."""
    return tuple(
        move.system
        for move in run.plan.moves
        if all(run.step(s.id).state is StepState.DONE for s in run.plan.steps if s.system == move.system)
    )


def to_undo(run: Run) -> tuple[PlannedStep, ...]:
    """What a stopped run takes back, last first: of the run as a whole everything, while no system can have been
    claimed, and of each system what has an undo, while it itself cannot; afterwards nothing, for an epoch only rises
    and the way out is forward. Who recovers from a loss takes nothing back once anything was claimed."""
    claimed = {
        step.system
        for step in run.plan.steps
        if step.kind in CLAIMS and run.step(step.id).attempt and run.step(step.id).state is not StepState.REFUSED
    }
    if claimed and not run.plan.is_planned_move:
        return ()
    done = [
        step
        for step in run.plan.steps
        if run.step(step.id).attempt
        and run.step(step.id).state is not StepState.UNDONE
        and (
            not claimed if KINDS[step.kind].scope is Scope.RUN else KINDS[step.kind].undo and step.system not in claimed
        )
    ]
    return tuple(reversed(done))


@dataclass(frozen=True)
class Forecast:
    """Seconds from the start of the run until each system is served, and until the run ends."""

    served_after: dict[str, float]
    seconds: float


def forecast(plan: Plan, now: datetime) -> Forecast:
    """The engine itself, run on the plan's expected seconds instead of the world."""
    run = Run(plan.run, plan, "", "", now, state=RunState.RUNNING)
    clock = now
    ends: dict[str, datetime] = {}
    served: dict[str, float] = {}
    while True:
        actions = next_actions(run, clock, plan.moves_at_once)
        if actions.succeeded:
            return Forecast(served, (clock - now).total_seconds())
        for begin in actions.begin:
            run.steps[begin.step.id] = StepRecord(state=StepState.RUNNING, attempt=1)
            ends[begin.step.id] = clock + timedelta(seconds=begin.step.expected_seconds)
        first = min(ends, key=lambda id: ends[id])
        clock = ends.pop(first)
        run.steps[first] = replace(run.steps[first], state=StepState.DONE)
        system = first.split("/")[0]
        if "/" in first:
            served[system] = (clock - now).total_seconds()  # its last step is the one that stays
