"""Carries out one run: begins what the engine says, on a bounded pool, journalled before and after.

One thread decides and writes; a step's outcome and the intents that follow from it are one transaction of the journal,
so a run costs one write for each step and not two.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    RunEnded,
    RunStopped,
    StepEnded,
    StepIntended,
    StepUndone,
)
from recovery.engine import Actions, Begin, next_actions, served_systems, to_undo
from recovery.ports import World
from recovery.run import Run, RunState
from recovery.step import EVIDENCE_CHARACTERS_MAX, Done, Halted, Target
from recovery.steps import KINDS

ENGINE = "recovery engine"
IDLE_SECONDS = 60.0

log = structlog.get_logger("recovery")


class Waiting:
    """:class:`recovery.ports.Patience` on the machine's clock; ends every pause when the run is told to stop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.halt = threading.Event()

    def now(self) -> datetime:
        return self._clock.now()

    def boottime_ns(self) -> int:
        return self._clock.boottime_ns()

    def pause(self, seconds: float) -> None:
        if self.halt.wait(seconds):
            raise Halted("recovery.halted", "wait", "the run was told to stop")


class Joinable(Protocol):
    def join(self, timeout: float | None = None) -> None: ...


class Hands(Protocol):
    """How a run is carried out; a simulated world has hands of its own."""

    def waiting(self) -> Waiting: ...

    def pool(self, size: int) -> Executor: ...

    def launch(self, name: str, drive: Callable[[], None]) -> Joinable:
        """Begin ``drive`` and come back at once; what is returned ends when it does."""
        ...


class Threads:
    """A thread for each run and a bounded pool for its steps. They die with the process: a run survives that."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def waiting(self) -> Waiting:
        return Waiting(self._clock)

    def pool(self, size: int) -> Executor:
        return ThreadPoolExecutor(size, thread_name_prefix="recovery")

    def launch(self, name: str, drive: Callable[[], None]) -> Joinable:
        thread = threading.Thread(target=drive, name=name, daemon=True)
        thread.start()
        return thread


@dataclass(frozen=True)
class Ended:
    """``entries``: what the step wants to be written with its end."""

    begin: Begin
    body: StepEnded
    entries: tuple[Body, ...] = ()


Record = Callable[[Sequence[Body]], None]


class Performer:
    """Drives ``run`` until it has ended, is stuck, or is told to stop. ``record`` writes bodies and folds them into
    the same ``run``; nothing else may fold it while this drives."""

    def __init__(self, run: Run, world: World, hands: Hands, record: Record) -> None:
        self._run = run
        self._world = world
        self._waiting = hands.waiting()
        self._record = record
        self._pool = hands.pool(run.plan.moves_at_once)
        self._ended: queue.Queue[Ended | None] = queue.Queue()
        self._stop: tuple[str, str] | None = None
        self._left = False
        self._flying = 0

    def leave(self) -> None:
        """Let go without a word in the journal, as a crash would: whoever resumes looks before doing."""
        self._left = True
        self._waiting.halt.set()
        self._ended.put(None)

    def stop(self, by: str, reason: str) -> None:
        """Begin nothing more; steps under way end first (a waiting one at once)."""
        self._stop = (by, reason)
        self._waiting.halt.set()
        self._ended.put(None)

    def drive(self) -> None:
        """Returns when the run has ended or stopped, which the journal then says."""
        outcomes: list[Ended] = []
        with self._pool:
            while not self._left:
                actions = self._decide(outcomes)
                for begin in actions.begin:
                    self._flying += 1
                    self._pool.submit(self._one, begin)
                if not self._flying and (self._run.state is not RunState.RUNNING or actions.again_at is None):
                    return
                outcomes = self._wait(actions.again_at)

    def _decide(self, outcomes: Sequence[Ended]) -> Actions:
        """Outcomes and what follows from them, in one transaction."""
        shadow = self._preview([outcome.body for outcome in outcomes])
        ends: list[Body] = [body for outcome in outcomes for body in (*outcome.entries, outcome.body)]
        if self._stop:
            if not self._flying:
                by, reason = self._stop
                self._finish([*ends, RunStopped(run=self._run.id, by=by, reason=reason)])
            elif ends:
                self._record(ends)
            return Actions()
        actions = next_actions(shadow, self._waiting.now(), self._run.plan.moves_at_once)
        intents: list[Body] = [
            StepIntended(run=self._run.id, step=begin.step.id, attempt=begin.attempt) for begin in actions.begin
        ]
        if actions.succeeded:
            self._record([*ends, self._succeeded(shadow)])
        elif actions.stuck:
            self._finish([*ends, RunStopped(run=self._run.id, by=ENGINE, reason=actions.stuck)])
        elif ends or intents:
            self._record([*ends, *intents])
        return actions

    def _preview(self, bodies: Sequence[Body]) -> Run:
        """The run as it will be once ``bodies`` are written."""
        shadow = self._run.copy()
        for body in bodies:
            shadow.apply(body, self._waiting.now())
        return shadow

    def _wait(self, again_at: datetime | None) -> list[Ended]:
        """Every outcome there is by the time that something is to be decided."""
        seconds = IDLE_SECONDS
        if again_at is not None:
            seconds = max(0.0, (again_at - self._waiting.now()).total_seconds())
        found: list[Ended] = []
        with contextlib.suppress(queue.Empty, Halted):
            if self._flying:
                self._take(found, self._ended.get(timeout=seconds))
            else:
                self._waiting.pause(seconds)  # only the next try is waited for
            while True:
                self._take(found, self._ended.get_nowait())
        self._flying -= len(found)
        return found

    @staticmethod
    def _take(found: list[Ended], outcome: Ended | None) -> None:
        if outcome is not None:
            found.append(outcome)

    def _one(self, begin: Begin) -> None:
        body, entries = perform(self._run, begin, self._world, self._waiting)
        self._ended.put(Ended(begin, body, entries))

    def _succeeded(self, run: Run) -> RunEnded:
        seconds = (self._waiting.now() - run.started_at).total_seconds() if run.started_at else 0.0
        count = len(served_systems(run))
        what = "all 1 system" if count == 1 else f"all {count} systems"
        of = f"moved from {run.plan.lost_site} are" if run.plan.is_planned_move else f"of {run.plan.lost_site} are"
        sentence = f"{what} {of} served from {run.plan.site} after {seconds:.1f} s"
        return RunEnded(run=run.id, outcome="succeeded", sentence=sentence, seconds=round(seconds, 3))

    def _finish(self, bodies: Sequence[Body]) -> None:
        """Stopped: take back what can be taken back, then say so."""
        *ends, stopped = bodies
        if ends:
            self._record(ends)
        undone: list[Body] = [undo(self._run, step.kind, step.id, self._world) for step in to_undo(self._run)]
        self._record([*undone, stopped])


def perform(run: Run, begin: Begin, world: World, waiting: Waiting) -> tuple[StepEnded, tuple[Body, ...]]:
    """Check, then do. Whatever happens ends as an outcome, with what else is to be written."""
    kind = KINDS[begin.step.kind]
    target = target_of(run, begin)
    began_ns = waiting.boottime_ns()
    entries: tuple[Body, ...] = ()
    try:
        found = kind.check(world, target, waiting)
        outcome = "already" if found else "done"
        done: Done = found or kind.do(world, target, waiting)
        evidence, measured, entries = done.evidence, dict(done.measured), done.entries
    except Refusal as refusal:
        outcome, evidence, measured = "refused", str(refusal), {}
    except NciaError as error:
        outcome, evidence, measured = "failed", str(error), {}
    except Exception as error:  # the one broad catch: a surprise is a failed step, journalled and logged
        log.exception("step.surprise", run=run.id, step=begin.step.id)
        outcome, evidence, measured = "failed", f"{type(error).__name__}: {error}", {}
    measured["seconds"] = round((waiting.boottime_ns() - began_ns) / 1e9, 4)
    log.info("step.ended", run=run.id, step=begin.step.id, outcome=outcome, seconds=measured["seconds"])
    ended = StepEnded(
        run=run.id,
        step=begin.step.id,
        attempt=begin.attempt,
        outcome=outcome,
        evidence=evidence[:EVIDENCE_CHARACTERS_MAX],
        measured=measured,
    )
    return ended, entries


def undo(run: Run, kind: str, step: str, world: World) -> StepUndone:
    what = KINDS[kind]
    evidence = f"nothing to undo: {what.no_undo}; looked at again on resuming"
    if what.undo:
        try:
            evidence = what.undo(world, _target(run, step))
        except NciaError as error:
            evidence = f"not undone: {error}"
    return StepUndone(run=run.id, step=step, evidence=evidence[:EVIDENCE_CHARACTERS_MAX])


def target_of(run: Run, begin: Begin) -> Target:
    return _target(run, begin.step.id)


def _target(run: Run, step_id: str) -> Target:
    plan = run.plan
    step = next(step for step in plan.steps if step.id == step_id)
    known: dict[str, Any] = {}
    if step.system:
        move = plan.move_of(step.system)
        known = {
            "system": SystemId(step.system),
            "epoch": move.epoch,
            "mod_revision": move.mod_revision,
            "lost_at": move.lost_at,
            "loss_how": move.loss.how,
            "accepted": move.loss.accepted,
            "synchronous": move.synchronous,
        }
    return Target(
        run=run.id,
        lost_site=plan.lost_site,
        site=plan.site,
        by_site=run.site,
        lease_ttl_seconds=plan.lease_ttl_seconds,
        timeout_seconds=step.timeout_seconds,
        **known,
    )
