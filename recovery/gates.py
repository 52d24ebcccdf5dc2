"""Gates: what must hold before a run may begin. Pure: values in; what does not hold is a :class:`Refusal`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.estate.model import Estate, Person
from ncia.core.journal.entries_recovery import ApprovalGiven
from ncia.core.requests.approval import Approval, verify
from recovery.planned import plan_hash
from recovery.run import Run, RunState


def demand_approvable(run: Run, approval: Approval) -> None:
    """The approval is for this very plan, from somebody who has not given theirs, of a run that still waits for it."""
    what = f"approve run {run.id} as {approval.person}"
    if approval.plan_hash != run.plan_hash:
        why = f"the signature is for plan {approval.plan_hash[:12]}…, the run's is {run.plan_hash[:12]}…"
        raise Refusal("approval.other-plan", what, why, f"look at it (ncia recover status {run.id}) and sign again")
    if approval.person in run.approvals:
        why = f"{approval.person} has approved it already; the second approval must come from another person"
        raise Refusal("approval.same-person", what, why, "ask somebody else")
    if run.state is not RunState.PLANNED:
        raise Refusal("approval.not-waiting", what, f"the run is {run.state}", f"ncia recover status {run.id}")


def accept_approval(run: Run, approval: Approval, estate: Estate, now: datetime) -> Person:
    """The person whose approval this is, or the reason why it does not count."""
    person = verify(approval, estate.people, now=now, valid_seconds_max=estate.settings.approval_valid_seconds)
    demand_approvable(run, approval)
    return person


def valid_approvals(run: Run, estate: Estate, at: datetime) -> tuple[str, ...]:
    """People whose approvals in the journal are good at ``at``: verified again from the entries, not believed."""
    return tuple(person for person, given in run.approvals.items() if _is_good(given, estate, at))


def demand_approved(run: Run, estate: Estate, at: datetime) -> None:
    """Enough different people have signed this plan, and the plan is what they signed."""
    what = f"start run {run.id}"
    if plan_hash(run.plan.to_json()) != run.plan_hash:
        raise Refusal("recovery.plan-altered", what, "the plan in the journal is not the one that was hashed")
    good = valid_approvals(run, estate, at)
    missing = run.plan.approvals - len(good)
    if missing > 0:
        told = f"approved by {', '.join(good)}" if good else "nobody has approved it"
        why = f"{missing} approval{'s' if missing > 1 else ''} missing; {told}"
        raise Refusal("recovery.not-approved", what, why, f"ncia recover approve {run.id} --key PATH")


def demand_alone(run: Run, others: Iterable[Run]) -> None:
    """No other run against the same site has begun and not ended. A planned move gives way to any run under way, and
    holds up none: who is lost is recovered, and a system's epoch is claimed once."""
    for other in others:
        if other.id == run.id or not other.started or other.state.ended:
            continue
        same = other.plan.lost_site == run.plan.lost_site and not other.plan.is_planned_move
        if same or (run.plan.is_planned_move and other.state is RunState.RUNNING):
            why = f"run {other.id} against {other.plan.lost_site} is {other.state}"
            raise Refusal("recovery.run-open", f"start run {run.id}", why, f"ncia recover resume {other.id}")


def _is_good(given: ApprovalGiven, estate: Estate, at: datetime) -> bool:
    approval = Approval(given.run, given.plan_hash, given.person, given.expires_at, given.signature)
    try:
        verify(approval, estate.people, now=at, valid_seconds_max=float("inf"))
    except NciaError:
        return False
    return True
