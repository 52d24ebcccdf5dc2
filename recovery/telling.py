"""Plans and runs as plain values, for the API: everything a person at 3 am wants to know, in the order of asking."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ncia.core.base.clock import from_text, to_text
from recovery.engine import served_systems
from recovery.planned import Plan
from recovery.run import Run, RunState, StepState

OUTCOMES = {RunState.SUCCEEDED: "succeeded", RunState.FAILED: "failed", RunState.ABANDONED: "abandoned"}


def plan_json(run: Run) -> dict[str, Any]:
    """A plan as just made: what people are asked to sign, and the commands that do it."""
    plan = run.plan
    return {
        "run": run.id,
        "plan_hash": run.plan_hash,
        "runbook": plan.runbook,
        "site": plan.lost_site,
        "to_site": plan.site,
        "sentence": plan_sentence(plan),
        "approvals": plan.approvals,
        "commands": [f"ncia recover approve {run.id} --key PATH" for _ in range(plan.approvals)],
        "plan": plan.to_json(),
    }


def plan_sentence(plan: Plan) -> str:
    count, waves = len(plan.moves), max((move.wave for move in plan.moves), default=0)
    out = f"; {len(plan.left_out)} left out" if plan.left_out else ""
    return (
        f"{count} system{'s' if count != 1 else ''} of {plan.lost_site} to {plan.site} in {waves}"
        f" wave{'s' if waves != 1 else ''}, {plan.expected_seconds:.0f} s expected{out}"
    )


def run_and_plan_json(run: Run) -> dict[str, Any]:
    """A run with its whole plan, from which whoever signs makes the hash anew."""
    return {**run_json(run), "plan": run.plan.to_json()}


def run_json(run: Run) -> dict[str, Any]:
    """A run as far as it has come. ``state``: planned, running, stopped, succeeded, failed or abandoned."""
    plan = run.plan
    served = served_systems(run)
    return {
        "run": run.id,
        "runbook": plan.runbook,
        "site": plan.lost_site,
        "to_site": plan.site,
        "state": run.state.value,
        "outcome": OUTCOMES.get(run.state, ""),
        "sentence": run.sentence or run_sentence(run, len(served)),
        "plan_hash": run.plan_hash,
        "planned_by": run.by,
        "planned_at": to_text(run.made_at),
        "approved_by": [{"person": p, "at": text(run.approved_at.get(p))} for p in run.approvals],
        "approvals_missing": max(0, plan.approvals - len(run.approvals)),
        "refusals": [{"person": r.person, "reason": r.reason} for r in run.refusals],
        "started_at": text(run.started_at),
        "ended_at": text(run.ended_at),
        "lease_expired_seen_at": run.step("fence").measured.get("lease_expired_seen_at"),
        "expected_seconds": plan.expected_seconds,
        "systems": [_system_json(run, move.system, move.system in served) for move in plan.moves],
        "steps": [_step_json(run, step.id) for step in plan.steps],
        "steps_done": sum(1 for step in plan.steps if run.step(step.id).state is StepState.DONE),
        "steps_total": len(plan.steps),
        "run_next": run_next(run),
    }


def run_sentence(run: Run, served: int) -> str:
    count = len(run.plan.moves)
    if run.state is RunState.PLANNED:
        missing = max(0, run.plan.approvals - len(run.approvals))
        return f"waits for {missing} approval{'s' if missing != 1 else ''}" if missing else "approved, about to begin"
    waiting = next((s for s in run.plan.steps if run.step(s.id).state is StepState.RUNNING and not s.system), None)
    at = f"; {waiting.id.replace('_', ' ')}" if waiting else ""
    failed = next((s for s in run.plan.steps if run.step(s.id).failures and not run.step(s.id).finished), None)
    if failed:
        at += f"; trying {failed.id} again, which failed: {run.step(failed.id).evidence}"
    return f"{served} of {count} systems served from {run.plan.site}{at}"


def run_next(run: Run) -> str:
    """The command that this run waits for; empty where it waits for nobody."""
    if run.state is RunState.PLANNED:
        return f"ncia recover approve {run.id} --key PATH"
    if run.state is RunState.STOPPED:
        return f"ncia recover resume {run.id}"
    return f"ncia recover watch {run.id}" if run.state is RunState.RUNNING else ""


def text(moment: datetime | None) -> str | None:
    return None if moment is None else to_text(moment)


def _system_json(run: Run, system: str, served: bool) -> dict[str, Any]:
    move = run.plan.move_of(system)
    steps = [run.step(step.id) for step in run.plan.steps if step.system == system]
    bad = next((s for s in steps if s.state in (StepState.FAILED, StepState.REFUSED)), None)
    begun = any(step.attempt for step in steps)
    state = "served" if served else bad.state.value if bad else "moving" if begun else "waiting"
    return {
        "system": system,
        "name": move.name,
        "grade": move.grade,
        "wave": move.wave,
        "epoch": move.epoch,
        "state": state,
        "evidence": bad.evidence if bad else "",
        "steps_done": sum(1 for step in steps if step.state is StepState.DONE),
        "steps_total": len(steps),
        "predicted_loss_seconds": move.loss.seconds,
        "accepted": move.loss.accepted,
        "lost_at": move.lost_at or None,
        "first_write_at": run.step(f"{system}/verify_application").measured.get("first_write_at"),
        "served_at": run.step(f"{system}/verify_outside").measured.get("answered_at"),
        "rto_seconds": run.step(f"{system}/verify_outside").measured.get("rto_seconds"),
        "unprotected_since": run.step(f"{system}/clear_synchronous").measured.get("unprotected_since"),
        "protected_since": run.step(f"{system}/make_synchronous").measured.get("protected_since"),
        "stranded_rows": run.step(f"{system}/list_stranded").measured.get("stranded_rows"),
        "stranded_documents": run.step(f"{system}/list_stranded").measured.get("stranded_documents"),
        "pause_seconds": _pause_seconds(run, system),
    }


def _pause_seconds(run: Run, system: str) -> float | None:
    """Of a planned move: from the old side's word until a citizen was answered by the new one."""
    held = run.step(f"{system}/hold").measured.get("held_at")
    served = run.step(f"{system}/verify_outside").measured.get("answered_at")
    return round((from_text(served) - from_text(held)).total_seconds(), 3) if held and served else None


def _step_json(run: Run, id: str) -> dict[str, Any]:
    step = run.step(id)
    return {
        "id": id,
        "state": step.state.value,
        "attempt": step.attempt,
        "intended_at": text(step.intended_at),
        "ended_at": text(step.ended_at),
        "evidence": step.evidence,
        "measured": dict(step.measured),
    }
