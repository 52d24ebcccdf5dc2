"""What each kind of entry means: one table, kind to function. Pure, deterministic, and never failing.

A function sets new containers on the state and leaves the old ones as they are. What is kept of the past is bounded
here; the journal keeps all of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ncia.core.base.clock import from_text, to_text
from ncia.core.journal.entries import (
    AlertAcked,
    BackupFailed,
    BackupFinished,
    BackupStarted,
    ControllerStarted,
    EstateLoaded,
    FindingChanged,
    FindingClosed,
    FindingOpened,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    JournalSworn,
    MirrorChanged,
    PointDeleted,
    PointRehashed,
    ProgramCaptured,
    ProgramCompared,
    ProofFailed,
    ProofFinished,
    ProofStarted,
    RunMissed,
    VerdictsChanged,
)
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
from ncia.core.state import accounts
from ncia.core.state.facts import (
    Finding,
    Incident,
    Job,
    MirrorState,
    Missed,
    ProgramFact,
    Proof,
    RecoveryPoint,
    Reread,
    Run,
    Step,
    SyncChange,
)

if TYPE_CHECKING:
    from ncia.core.state.state import State

INCIDENTS_CLOSED_MAX = 500
FINDINGS_CLOSED_MAX = 500
POINTS_PER_DATASET_MAX = 100
JOBS_ENDED_MAX = 500
MISSED_MAX = 500

K = TypeVar("K")
V = TypeVar("V")


def controller_started(state: State, entry: Entry, body: ControllerStarted) -> None:
    state.controllers = {**state.controllers, entry.site: body}
    state.started = {**state.started, entry.site: entry.at}


def estate_loaded(state: State, entry: Entry, body: EstateLoaded) -> None:
    state.estates = {**state.estates, entry.site: body}


def journal_sworn(state: State, entry: Entry, body: JournalSworn) -> None:
    state.sworn = {**state.sworn, entry.site: body}


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
    state.incidents = _bounded_incidents({**state.incidents, body.incident: incident})


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
    state.findings = _without_oldest(findings, lambda each: not each.open, FINDINGS_CLOSED_MAX)


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


def backup_started(state: State, entry: Entry, body: BackupStarted) -> None:
    _start_job(state, entry, body)


def backup_finished(state: State, entry: Entry, body: BackupFinished) -> None:
    _end_job(state, entry, body)
    point = RecoveryPoint(body.point, body.dataset, entry.at, body)
    kept = (*state.points.get(body.dataset, ()), point)[-POINTS_PER_DATASET_MAX:]
    state.points = {**state.points, body.dataset: kept}
    _settle_missed(state, body.job, body.dataset)


def backup_failed(state: State, entry: Entry, body: BackupFailed) -> None:
    _end_job(state, entry, body)


def proof_started(state: State, entry: Entry, body: ProofStarted) -> None:
    _start_job(state, entry, body)


def proof_finished(state: State, entry: Entry, body: ProofFinished) -> None:
    """The comparison's word is final for its point: what matched counts, what did not counts no longer."""
    _end_job(state, entry, body)
    _prove(state, Proof(entry.at, body))
    _settle_missed(state, body.job, body.dataset)
    state.missed = tuple(each for each in state.missed if not makes_good(state, each.run))


def proof_failed(state: State, entry: Entry, body: ProofFailed) -> None:
    """Nothing was compared: an earlier match of the point stands."""
    _end_job(state, entry, body)
    _prove(state, Proof(entry.at, body))


def point_deleted(state: State, entry: Entry, body: PointDeleted) -> None:
    kept = tuple(point for point in state.points.get(body.dataset, ()) if point.id != body.point)
    state.points = {**state.points, body.dataset: kept}
    proven = state.proven.get(body.dataset)
    if proven is not None and proven.id == body.point:
        without = {dataset: point for dataset, point in state.proven.items() if dataset != body.dataset}
        standing = [point for point in kept if point.proven]
        state.proven = {**without, body.dataset: standing[-1]} if standing else without


def point_rehashed(state: State, entry: Entry, body: PointRehashed) -> None:
    """A point whose bytes changed counts no longer, whatever was proven of it before."""
    points = tuple(
        replace(point, reread=Reread(entry.at, body)) if point.id == body.point else point
        for point in state.points.get(body.dataset, ())
    )
    state.points = {**state.points, body.dataset: points}
    _stand(state, body.dataset, points, bad="" if body.matched else body.point)


def loss_listed(state: State, entry: Entry, body: LossListed) -> None:
    """The list is with the agencies; what is known now does not change by it."""


def program_captured(state: State, entry: Entry, body: ProgramCaptured) -> None:
    known = state.programs.get(body.dataset, ProgramFact())
    state.programs = {**state.programs, body.dataset: replace(known, captured=body, captured_at=entry.at)}


def program_compared(state: State, entry: Entry, body: ProgramCompared) -> None:
    known = state.programs.get(body.dataset, ProgramFact())
    state.programs = {**state.programs, body.dataset: replace(known, compared=body, compared_at=entry.at)}


def run_missed(state: State, entry: Entry, body: RunMissed) -> None:
    """Both sites may write one down. The peer may have done the work where the other could not hear of it: what was
    proven since the run was due makes it good, whichever entry is read first."""
    known = any(each.run.job == body.job and each.run.due_at == body.due_at for each in state.missed)
    if not known and not makes_good(state, body):
        state.missed = (*state.missed, Missed(entry.at, body))[-MISSED_MAX:]


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


def mirror_changed(state: State, entry: Entry, body: MirrorChanged) -> None:
    key = (body.dataset, body.target_site)
    state.mirrors = {**state.mirrors, key: MirrorState(entry.at, body)}


def divergence_listed(state: State, entry: Entry, body: DivergenceListed) -> None:
    state.divergences = {**state.divergences, body.system: body}


def documents_stranded(state: State, entry: Entry, body: DocumentsStranded) -> None:
    state.stranded_documents = {**state.stranded_documents, body.system: body}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    ControllerStarted.KIND: controller_started,
    EstateLoaded.KIND: estate_loaded,
    JournalSworn.KIND: journal_sworn,
    VerdictsChanged.KIND: verdicts_changed,
    IncidentOpened.KIND: incident_opened,
    IncidentChanged.KIND: incident_changed,
    IncidentClosed.KIND: incident_closed,
    AlertAcked.KIND: alert_acked,
    FindingOpened.KIND: finding_opened,
    FindingChanged.KIND: finding_changed,
    FindingClosed.KIND: finding_closed,
    BackupStarted.KIND: backup_started,
    BackupFinished.KIND: backup_finished,
    BackupFailed.KIND: backup_failed,
    ProofStarted.KIND: proof_started,
    ProofFinished.KIND: proof_finished,
    ProofFailed.KIND: proof_failed,
    PointDeleted.KIND: point_deleted,
    ProgramCaptured.KIND: program_captured,
    ProgramCompared.KIND: program_compared,
    RunMissed.KIND: run_missed,
    MirrorChanged.KIND: mirror_changed,
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
    PointRehashed.KIND: point_rehashed,
    LossListed.KIND: loss_listed,
    SyncDegraded.KIND: sync_degraded,
    SyncRestored.KIND: sync_restored,
    DivergenceListed.KIND: divergence_listed,
    DocumentsStranded.KIND: documents_stranded,
    **accounts.MEANING,
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


def _start_job(state: State, entry: Entry, body: BackupStarted | ProofStarted) -> None:
    state.jobs = {**state.jobs, body.job: Job(body.job, entry.site, entry.at, body)}


def _end_job(state: State, entry: Entry, body: BackupFinished | BackupFailed | ProofFinished | ProofFailed) -> None:
    job = state.jobs.get(body.job)
    if job is None:
        state.strays += 1
        return
    jobs = {**state.jobs, body.job: replace(job, ended_at=entry.at, ended=body)}
    state.jobs = _without_oldest(jobs, lambda each: each.ended is not None, JOBS_ENDED_MAX)


def _prove(state: State, proof: Proof) -> None:
    outcome = proof.outcome
    state.proofs = {**state.proofs, outcome.dataset: proof}
    compared = isinstance(outcome, ProofFinished)
    points = tuple(
        replace(point, proof=proof) if point.id == outcome.point and (compared or not point.proven) else point
        for point in state.points.get(outcome.dataset, ())
    )
    state.points = {**state.points, outcome.dataset: points}
    _stand(state, outcome.dataset, points)


def _stand(state: State, dataset: str, points: tuple[RecoveryPoint, ...], bad: str = "") -> None:
    """Say which proven point of the dataset is its newest; ``bad``: one that counts no longer, listed or not."""
    standing = [point for point in points if point.proven]
    before = state.proven.get(dataset)
    if before is not None and before.id != bad and all(point.id != before.id for point in points):
        standing.insert(0, before)  # too old to be listed, and still the newest that was ever proven
    without = {name: point for name, point in state.proven.items() if name != dataset}
    state.proven = {**without, dataset: standing[-1]} if standing else without


def _settle_missed(state: State, job: str, dataset: str) -> None:
    """A finished job makes good what the same work on the same dataset had missed."""
    if state.missed:
        state.missed = tuple(
            each for each in state.missed if (_work(each.run.job), each.run.dataset) != (_work(job), dataset)
        )


def makes_good(state: State, body: RunMissed) -> bool:
    """Whether the dataset has a proven point from after the run was due."""
    proven = state.proven.get(body.dataset)
    return proven is not None and to_text(proven.at) >= body.due_at


def _work(job: str) -> str:
    """``backup`` of ``backup-20260101T000000-abcdef`` or ``backup:hometax/rows``."""
    return re.split(r"[^a-z]", job, maxsplit=1)[0]


def _bounded_incidents(incidents: Mapping[str, Incident]) -> Mapping[str, Incident]:
    return _without_oldest(incidents, lambda each: not each.open, INCIDENTS_CLOSED_MAX)


def _without_oldest(known: Mapping[K, V], done: Callable[[V], bool], kept_max: int) -> Mapping[K, V]:
    """Without the oldest of those that are done, down to ``kept_max`` of them; the open ones all stay."""
    if len(known) <= kept_max:
        return known
    ended = [key for key, value in known.items() if done(value)]
    dropped = set(ended[: max(0, len(ended) - kept_max)])
    return {key: value for key, value in known.items() if key not in dropped}
