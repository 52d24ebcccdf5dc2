"""The status view: estate, state and what is live, at one moment, as facts for the surfaces. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.ids import SiteId
from ncia.core.estate import Dataset, Estate, Site, System
from ncia.core.estate.model import SiteKind
from ncia.core.journal.entries import Verdict
from ncia.core.reports.looks import WORST_FIRST, Live, Looks
from ncia.core.reports.proofs import proof_said
from ncia.core.reports.protection import Active, keeps_rpo, protection_of
from ncia.core.state import Incident, Run, State, Step
from ncia.core.views.facts import (
    IncidentView,
    MissedView,
    ProofView,
    RunState,
    RunView,
    SiteView,
    StatusView,
    StepState,
    StepView,
    SystemView,
    UnprotectedView,
)

APPROVALS_NEEDED = 2
ENDED_RUNS_SHOWN = 3
PLAN_SHOWN_FOR = timedelta(hours=1)  # a plan that nobody approved is forgotten by the surfaces, not by the journal


def status_view(site: SiteId, estate: Estate, state: State, live: Live, active: Active, now: datetime) -> StatusView:
    """Everything at a glance as ``site`` knows it. A system that ``active`` does not name is shown at its home,
    epoch not known."""
    looks = Looks(state.verdicts, live, now)
    systems = tuple(_system(system, estate, state, looks, active) for system in estate.systems.values())
    incidents = tuple(_incident(each, now) for each in _worst_first(state.open_incidents()))
    return StatusView(
        site=site,
        timezone=estate.sites[site].timezone,
        estate=estate.name,
        estate_hash=estate.hash,
        as_of=to_text(now),
        verdict=_overall(systems, incidents),
        sites=tuple(_site(each, systems, looks) for each in estate.sites.values() if each.kind is not SiteKind.PUBLIC),
        systems=systems,
        incidents=incidents,
        runs=tuple(run_view(run, now) for run in _shown(state.runs.values(), now)),
        missed=tuple(MissedView(m.run.job, m.run.dataset, m.run.due_at, m.run.reason) for m in reversed(state.missed)),
        unprotected=unprotected_views(estate, now),
        proofs=proof_views(estate, state),
    )


def _overall(systems: Iterable[SystemView], incidents: Iterable[IncidentView]) -> Verdict:
    """The worst that citizens feel; an estate with an open incident is not simply up."""
    worst: Verdict = min((s.verdict for s in systems), key=WORST_FIRST.index, default="unknown")
    hurt = any(each.severity != "minor" for each in incidents)
    return "degraded" if worst == "up" and hurt else worst


# --- sites -------------------------------------------------------------------------------------------------------


def _site(site: Site, systems: Iterable[SystemView], looks: Looks) -> SiteView:
    judged = looks.at(f"site:{site.id}", but=site.id)
    heard = looks.heard(site.id)
    return SiteView(
        id=site.id,
        name=site.name,
        kind=site.kind,
        verdict=judged.verdict,
        evidence=judged.evidence,
        seen_by=judged.by,
        lease=looks.newest(f"lease:{site.id}").verdict if site.services.warden else "",
        etcd=looks.at(f"etcd:{site.id}").verdict if site.services.etcd else "",
        last_heard_at=to_text(heard) if heard else None,
        silent=not looks.speaks(site.id),
        active_systems=sum(1 for each in systems if each.active_site == site.id),
    )


# --- systems -----------------------------------------------------------------------------------------------------


def _system(system: System, estate: Estate, state: State, looks: Looks, active: Active) -> SystemView:
    now = protection_of(system, estate, state, looks, active)
    entry = looks.at(f"entry:{system.id}")
    application = looks.at(f"app:{system.id}@{now.active_site}")
    latency, _ = looks.measure(f"entry:{system.id}", "latency_seconds")
    proven = state.newest_proven(system.postgres.id)
    kept = keeps_rpo(system, now)
    nearer = entry.verdict != "up" and application.verdict not in ("up", "unknown")
    return SystemView(
        id=system.id,
        name=system.name,
        name_ko=system.name_ko,
        agency=estate.agencies[system.agency].name,
        grade=system.grade,
        home=system.home,
        active_site=now.active_site,
        epoch=now.epoch,
        verdict=entry.verdict,
        evidence=application.evidence if nearer else entry.evidence,
        since=entry.since,
        latency_seconds=latency,
        replica_site=now.replica_site,
        replica_verdict=now.replica_verdict,
        lag_seconds=now.lag_seconds,
        predicted_loss_seconds=now.predicted_loss_seconds,
        commits_wait=now.commits_wait,
        stale=now.stale,
        promise_rpo_seconds=system.promise.rpo_seconds,
        promise_rto_seconds=system.promise.rto_seconds,
        breaks_promise=None if kept is None else not kept,
        depends_on=system.depends_on,
        unprotected=tuple(d.id.split("/", 1)[1] for d in system.datasets if d.unprotected),
        proven_at=to_text(proven.proof.at) if proven and proven.proof else None,
        without_partner_since=to_text(now.alone_since) if now.alone_since else None,
    )


def unprotected_views(estate: Estate, now: datetime) -> tuple[UnprotectedView, ...]:
    return tuple(
        UnprotectedView(
            dataset=dataset.id,
            system=dataset.system,
            kind=dataset.kind,
            until=dataset.unprotected.until.isoformat(),
            by=dataset.unprotected.by,
            why=dataset.unprotected.why,
            expired=dataset.unprotected.until < now.date(),
        )
        for dataset in estate.datasets.values()
        if dataset.unprotected
    )


def proof_views(estate: Estate, state: State) -> tuple[ProofView, ...]:
    """The newest proof of each dataset that has copies, also where there has never been one."""
    return tuple(_proof(d, state) for d in estate.datasets.values() if not (d.unprotected or d.program))


def _proof(dataset: Dataset, state: State) -> ProofView:
    said = proof_said(state.proofs.get(dataset.id))
    return ProofView(dataset.id, dataset.system, said.point, said.at, said.matched, said.restore_seconds, said.sentence)


# --- incidents ---------------------------------------------------------------------------------------------------


def _worst_first(incidents: Iterable[Incident]) -> list[Incident]:
    severities = ("critical", "major", "minor")
    return sorted(incidents, key=lambda each: (severities.index(each.now.severity), each.opened_at))


def _incident(incident: Incident, at: datetime) -> IncidentView:
    now = incident.now
    ack = incident.ack if incident.ack and from_text(incident.ack.until) > at else None  # it holds until its time
    return IncidentView(
        id=incident.id,
        root=now.root,
        cause=now.cause,
        severity=now.severity,
        sentence=now.sentence,
        run_next=now.run_next,
        systems=now.systems,
        members=len(now.members),
        opened_at=to_text(incident.opened_at),
        acked_by=ack.by if ack else "",
        ack_comment=ack.comment if ack else "",
        acked_until=ack.until if ack else "",
    )


# --- recovery runs -----------------------------------------------------------------------------------------------


def _shown(runs: Iterable[Run], now: datetime) -> list[Run]:
    """What is going on, newest first; then what ended last."""
    newest = sorted(runs, key=lambda run: run.planned_at, reverse=True)
    ended = [run for run in newest if run.ended][:ENDED_RUNS_SHOWN]
    going = [run for run in newest if not run.ended and (run.started or now - run.planned_at < PLAN_SHOWN_FOR)]
    return going + ended


def run_view(run: Run, now: datetime) -> RunView:
    plan = run.plan.plan
    steps = tuple(_step(id, run.steps.get(id), run.status) for id in step_ids(run))
    until = run.ended_at or now
    return RunView(
        id=run.id,
        runbook=run.plan.runbook,
        site=str(plan.get("lost_site", plan.get("site", ""))),
        executing_site=run.site or "",
        state=_run_state(run.status),
        plan_hash=run.plan.plan_hash,
        approvals=tuple(sorted(run.people())),
        approvals_needed=int(plan.get("approvals", APPROVALS_NEEDED)),
        steps=steps,
        steps_done=sum(1 for step in steps if step.state == "done"),
        steps_total=len(steps),
        planned_at=to_text(run.planned_at),
        started_at=to_text(run.started_at) if run.started_at else None,
        ended_at=to_text(run.ended_at) if run.ended_at else None,
        seconds=(until - run.started_at).total_seconds() if run.started_at else None,
        sentence=run.ended.sentence if run.ended else run.stopped.reason if run.stopped else "",
    )


def step_ids(run: Run) -> tuple[str, ...]:
    """In the plan's order; what was written of a step that the plan does not know comes last."""
    planned = run.plan.plan.get("steps")
    ids = [_step_id(step) for step in planned] if isinstance(planned, list) else []
    return tuple(dict.fromkeys([id for id in ids if id] + list(run.steps)))


def _step_id(step: Any) -> str:
    return str(step.get("id", "")) if isinstance(step, dict) else str(step)


def _step(id: str, step: Step | None, status: str) -> StepView:
    if step is None:
        return StepView(id, "pending", 0, "", None, None)
    evidence = step.undone.evidence if step.undone else step.ends[-1].evidence if step.ends else ""
    return StepView(
        id=id,
        state=_step_state(step, status),
        attempt=step.attempts,
        evidence=evidence,
        started_at=to_text(step.intended_at) if step.intended_at else None,
        ended_at=to_text(step.ended_at) if step.ended_at else None,
    )


def _step_state(step: Step, status: str) -> StepState:
    if step.undone:
        return "undone"
    if step.in_flight:
        return "running" if status == "running" else "unknown"
    if step.finished:
        return "done"
    if not step.ends:
        return "pending"
    return "refused" if step.ends[-1].outcome == "refused" else "failed"


def _run_state(status: str) -> RunState:
    states: dict[str, RunState] = {
        "planned": "planned",
        "running": "running",
        "stopped": "stopped",
        "succeeded": "succeeded",
        "abandoned": "abandoned",
    }
    return states.get(status, "failed")
