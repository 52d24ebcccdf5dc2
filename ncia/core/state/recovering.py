"""What recovery does: plans and their runs step by step, who waits for whom, what was stranded and lost.

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import from_text
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    DivergenceListed,
    DocumentsStranded,
    LossListed,
    PlanMade,
    RunEnded,
    RunResumed,
    RunStarted,
    RunStopped,
    RunSworn,
    StepEnded,
    StepIntended,
    StepUndone,
    SyncDegraded,
    SyncRestored,
)
from ncia.core.journal.entry import Entry
from ncia.core.state.facts import Run, Step, SyncChange

if TYPE_CHECKING:
    from ncia.core.state.state import State


def plan_made(state: State, entry: Entry, body: PlanMade) -> None:
    if body.run in state.runs:
        state.strays += 1  # a run has one plan: another plan is another run
        return
    run = Run(body.run, body, entry.at, entry.site, log=(entry,))
    state.runs = {**state.runs, body.run: run}


def approval_given(state: State, entry: Entry, body: ApprovalGiven) -> None:
    _change_run(state, entry, body.run, lambda run: replace(run, approvals=(*run.approvals, body)))


def approval_refused(state: State, entry: Entry, body: ApprovalRefused) -> None:
    _change_run(state, entry, body.run, lambda run: replace(run, refusals=(*run.refusals, body)))


def run_started(state: State, entry: Entry, body: RunStarted) -> None:
    def started(run: Run) -> Run:
        return run if run.started else replace(run, started=body, started_at=entry.at)

    _change_run(state, entry, body.run, started)


def step_intended(state: State, entry: Entry, body: StepIntended) -> None:
    def intended(step: Step) -> Step:
        first = step.intended_at or entry.at
        return replace(step, intents=(*step.intents, body), intended_at=first, undone=None)

    _change_step(state, entry, body.run, body.step, intended)


def step_ended(state: State, entry: Entry, body: StepEnded) -> None:
    def ended(step: Step) -> Step:
        return replace(step, ends=(*step.ends, body), ended_at=entry.at)

    _change_step(state, entry, body.run, body.step, ended)


def step_undone(state: State, entry: Entry, body: StepUndone) -> None:
    _change_step(state, entry, body.run, body.step, lambda step: replace(step, undone=body))


def run_stopped(state: State, entry: Entry, body: RunStopped) -> None:
    _change_run(state, entry, body.run, lambda run: replace(run, stopped=body))


def run_resumed(state: State, entry: Entry, body: RunResumed) -> None:
    _change_run(state, entry, body.run, lambda run: replace(run, resumed=body, stopped=None))


def run_sworn(state: State, entry: Entry, body: RunSworn) -> None:
    _change_run(state, entry, body.run, lambda run: replace(run, sworn=body))


def run_ended(state: State, entry: Entry, body: RunEnded) -> None:
    def ended(run: Run) -> Run:
        return run if run.ended else replace(run, ended=body, ended_at=entry.at)

    _change_run(state, entry, body.run, ended)


def sync_degraded(state: State, entry: Entry, body: SyncDegraded) -> None:
    change = SyncChange(False, from_text(body.since), body.site, body.reason)
    state.syncs = {**state.syncs, body.system: change}


def sync_restored(state: State, entry: Entry, body: SyncRestored) -> None:
    state.syncs = {**state.syncs, body.system: SyncChange(True, entry.at, body.site)}


def divergence_listed(state: State, entry: Entry, body: DivergenceListed) -> None:
    state.divergences = {**state.divergences, body.system: body}


def documents_stranded(state: State, entry: Entry, body: DocumentsStranded) -> None:
    state.stranded_documents = {**state.stranded_documents, body.system: body}


def loss_listed(state: State, entry: Entry, body: LossListed) -> None:
    """The list is with the agencies; what is known now does not change by it."""


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    PlanMade.KIND: plan_made,
    ApprovalGiven.KIND: approval_given,
    ApprovalRefused.KIND: approval_refused,
    RunStarted.KIND: run_started,
    StepIntended.KIND: step_intended,
    StepEnded.KIND: step_ended,
    StepUndone.KIND: step_undone,
    RunStopped.KIND: run_stopped,
    RunResumed.KIND: run_resumed,
    RunSworn.KIND: run_sworn,
    RunEnded.KIND: run_ended,
    SyncDegraded.KIND: sync_degraded,
    SyncRestored.KIND: sync_restored,
    DivergenceListed.KIND: divergence_listed,
    DocumentsStranded.KIND: documents_stranded,
    LossListed.KIND: loss_listed,
}


def _change_run(state: State, entry: Entry, name: str, change: Callable[[Run], Run]) -> None:
    run = state.runs.get(name)
    if run is None:
        state.strays += 1
        return
    state.runs = {**state.runs, name: replace(change(run), log=(*run.log, entry))}


def _change_step(state: State, entry: Entry, run: str, name: str, change: Callable[[Step], Step]) -> None:
    def changed(known: Run) -> Run:
        return replace(known, steps={**known.steps, name: change(known.steps.get(name, Step(name)))})

    _change_run(state, entry, run, changed)
