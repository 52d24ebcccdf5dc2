"""From what is known now to a frozen plan: what moves, in which order, how long it takes, and what would be lost.

Pure: estate, epochs and facts in, :class:`Plan` out, ``now`` passed in. What must not move is refused with its evidence
and its override, all of it at once. The plan's hash is what people sign.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from ncia.core.base.clock import to_text
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import Estate, Isolated, Replication, SiteKind, System
from recovery.fencing.keys import Epoch
from recovery.loss_figure import Facts, loss_of
from recovery.order import ordered, steps_of, waves_of
from recovery.planned import VERSION, LeftOut, Loss, Move, Plan
from recovery.runbook import Runbook


@dataclass(frozen=True)
class Held:
    """Why a system does not simply move. ``movable``: accepting its loss makes it move; otherwise it is left out."""

    system: SystemId
    why: str
    movable: bool
    accept: str = field(default="")
    override: str = "--accept-loss"


class PlanRefused(Refusal):
    """The plan cannot be made as asked; ``held`` has the evidence of every system that stands in the way."""

    def __init__(self, lost: SiteId, held: Sequence[Held]) -> None:
        self.held = tuple(held)
        number = len({h.system for h in held})
        count = f"{number} system{'s' if number > 1 else ''} must be decided by a person"
        lines = [f"{h.system}: {h.why}{'' if h.movable else ' (accepting leaves it out of this run)'}" for h in held]
        override = f"ncia recover plan {lost} " + " ".join(f"{h.override} {h.system}=REASON" for h in held)
        what = f"plan the recovery of {lost}"
        super().__init__("recovery.plan-refused", what, count + "\n" + "\n".join(lines), override, override)


@dataclass(frozen=True)
class Asked:
    """Who asks for what: the answer is a plan of ``runbook`` for the loss of ``lost``, carried out by ``site``."""

    run: RunId
    lost: SiteId
    site: SiteId
    accept_loss: Mapping[str, str] = field(default_factory=dict)
    accept_drift: Mapping[str, str] = field(default_factory=dict)


def plan_site_failover(
    estate: Estate,
    asked: Asked,
    runbook: Runbook,
    epochs: Mapping[SystemId, Epoch],
    facts: Mapping[SystemId, Facts],
    durations: Mapping[str, float],
    now: datetime,
) -> Plan:
    """The plan, or every reason against it at once (:class:`PlanRefused`, :class:`Refusal`)."""
    demand_sides(estate, asked)
    there = systems_at(estate, asked.lost, epochs)
    if not there:
        why = f"no system is active at {asked.lost}"
        raise Refusal("recovery.nothing-moves", f"plan the recovery of {asked.lost}", why, "ncia status")
    _demand_known(asked, there)
    losses = {s.id: loss_of(s, facts[s.id], estate.settings, now) for s in there}
    held = _held(estate, asked, there, epochs, facts, losses)
    drifted = _drifted(asked, there, facts)
    open_questions = [h for h in (*held.values(), *drifted) if not h.accept]
    if open_questions:
        raise PlanRefused(asked.lost, sorted(open_questions, key=lambda h: (estate.systems[h.system].grade, h.system)))
    left_out = tuple(LeftOut(h.system, h.why, h.accept) for h in held.values() if not h.movable)
    out = {item.system for item in left_out}
    going = [s for s in there if s.id not in out]
    waves = waves_of(going)
    moves = tuple(
        _move(estate, asked, system, waves, epochs, facts, _accepted(losses[system.id], held.get(system.id)))
        for system in sorted(going, key=lambda s: (waves[s.id], s.grade, s.id))
    )
    steps = steps_of(estate, runbook, ordered(moves), durations)
    return Plan(
        version=VERSION,
        run=asked.run,
        runbook=runbook.id,
        runbook_sha256=runbook.sha256,
        estate_hash=estate.hash,
        lost_site=asked.lost,
        site=asked.site,
        made_at=to_text(now),
        approvals=runbook.approvals,
        lease_ttl_seconds=estate.settings.lease_ttl_seconds,
        moves_at_once=estate.settings.moves_at_once,
        moves=ordered(moves),
        left_out=left_out,
        steps=steps,
        notes=(*_notes(estate, asked, moves), *_drift_notes(drifted, moves)),
        estimated=tuple(sorted({step.kind for step in steps} - durations.keys())),
    )


def demand_sides(estate: Estate, asked: Asked) -> None:
    what = f"plan the recovery of {asked.lost}"
    site = estate.sites.get(asked.lost)
    if site is None or site.kind is not SiteKind.CENTRE:
        raise Refusal(
            "recovery.no-such-site", what, "it is no data centre of the estate", f"one of {', '.join(estate.centres)}"
        )
    if asked.site == asked.lost:
        other = estate.peer_of(asked.lost)
        raise Refusal("recovery.wrong-side", what, "this controller is at that very site", f"ask {other}'s controller")


def systems_at(estate: Estate, site: SiteId, epochs: Mapping[SystemId, Epoch]) -> tuple[System, ...]:
    """Systems active at ``site`` by the third vote; one without an epoch is where its home is."""
    return tuple(s for s in estate.systems.values() if (epochs[s.id].site if s.id in epochs else s.home) == site)


def _demand_known(asked: Asked, there: Sequence[System]) -> None:
    for word, accepted in (("loss", asked.accept_loss), ("drift", asked.accept_drift)):
        strangers = sorted(set(accepted) - {s.id for s in there})
        if strangers:
            what, why = f"accept a {word} of {', '.join(strangers)}", f"not active at {asked.lost}"
            raise Refusal("recovery.accepts-stranger", what, why, f"one of {', '.join(sorted(s.id for s in there))}")
        empty = sorted(system for system, reason in accepted.items() if not reason.strip())
        if empty:
            what = f"accept a {word} of {', '.join(empty)}"
            raise Refusal("recovery.no-reason", what, "no reason is given", f"--accept-{word} SYSTEM=REASON")


def _drifted(asked: Asked, there: Sequence[System], facts: Mapping[SystemId, Facts]) -> tuple[Held, ...]:
    """Systems whose program at the other site is not the one that served: data without its program serves nobody."""
    return tuple(
        Held(
            system.id,
            f"its program at {asked.site} is not the one at {asked.lost}: {'; '.join(facts[system.id].drift)}",
            True,
            asked.accept_drift.get(system.id, ""),
            "--accept-drift",
        )
        for system in there
        if facts[system.id].drift
    )


def _drift_notes(drifted: Sequence[Held], moves: Sequence[Move]) -> tuple[str, ...]:
    going = {move.system for move in moves}
    return tuple(f"{h.system} moves all the same ({h.accept}): {h.why}" for h in drifted if h.system in going)


def _held(
    estate: Estate,
    asked: Asked,
    there: Sequence[System],
    epochs: Mapping[SystemId, Epoch],
    facts: Mapping[SystemId, Facts],
    losses: Mapping[SystemId, Loss],
) -> dict[SystemId, Held]:
    found: dict[SystemId, Held] = {}
    for system in there:
        why, movable = _objection(system, asked, epochs, facts[system.id], losses[system.id])
        if why:
            found[system.id] = Held(system.id, why, movable, asked.accept_loss.get(system.id, ""))
    stays = {h.system for h in found.values() if not h.movable}
    for system in sorted(there, key=lambda s: (s.grade, s.id)):
        if system.id in stays or not stays:
            continue
        needed = sorted(stays & _needs(estate, system.id))
        if needed:
            accept = asked.accept_loss.get(system.id, "")
            found[system.id] = Held(system.id, f"it depends on {', '.join(needed)}, which cannot move", False, accept)
    return found


def _objection(
    system: System, asked: Asked, epochs: Mapping[SystemId, Epoch], facts: Facts, loss: Loss
) -> tuple[str, bool]:
    if system.id not in epochs:
        return "etcd holds no epoch of it, so it cannot be claimed", False
    if asked.site not in system.postgres.copies or asked.site not in system.applications:
        return f"the estate has no copy or no application of it at {asked.site}", False
    if facts.replica is None:
        return f"its copy at {asked.site} does not answer: {facts.trouble}", False
    if not facts.replica.in_recovery:
        return f"its server at {asked.site} is a primary already, with a history of its own", False
    if system.isolated is Isolated.CONTINUE:
        return "it may go on writing when cut off, so an expired lease does not fence it", False
    if loss.seconds is None:
        return f"the loss is {loss.sentence}", True
    promised = system.promise.rpo_seconds
    if loss.seconds > promised:
        return f"its copy is behind its promise: {loss.seconds:.1f} s would be lost, promised is {promised:g} s", True
    return "", True


def _needs(estate: Estate, system: SystemId) -> set[SystemId]:
    found: set[SystemId] = set()
    frontier = [system]
    while frontier:
        for needed in estate.systems[frontier.pop()].depends_on:
            if needed not in found:
                found.add(needed)
                frontier.append(needed)
    return found


def _accepted(loss: Loss, held: Held | None) -> Loss:
    return loss if held is None else replace(loss, accepted=held.accept)


def _move(
    estate: Estate,
    asked: Asked,
    system: System,
    waves: Mapping[SystemId, int],
    epochs: Mapping[SystemId, Epoch],
    facts: Mapping[SystemId, Facts],
    loss: Loss,
) -> Move:
    since, epoch = facts[system.id].outage.since, epochs[system.id]
    return Move(
        system=system.id,
        name=system.name,
        grade=system.grade,
        wave=waves[system.id],
        from_site=asked.lost,
        to_site=asked.site,
        epoch=epoch.epoch + 1,
        mod_revision=epoch.mod_revision,
        depends_on=tuple(d for d in system.depends_on if d in waves),
        loss=loss,
        lost_at=to_text(since) if since else "",
        promise_rpo_seconds=system.promise.rpo_seconds,
        promise_rto_seconds=system.promise.rto_seconds,
    )


def _notes(estate: Estate, asked: Asked, moves: Sequence[Move]) -> tuple[str, ...]:
    """What a person signs beside the order of things."""
    notes = [f"nothing is promoted before {asked.lost} holds no lease, as the majority sees it"]
    waited = [m.system for m in moves if estate.systems[m.system].postgres.replication is Replication.SYNCHRONOUS]
    if waited:
        notes.append(f"the synchronous requirement of {', '.join(waited)} is cleared: there is no partner left")
    notes.append(f"what moves has no copy elsewhere until {asked.lost} is back: the time unprotected begins")
    exposed = [d.id for m in moves for d in estate.systems[m.system].datasets if d.unprotected]
    if exposed:
        notes.append(f"lost with the site, for they have no copy elsewhere: {', '.join(exposed)}")
    return tuple(notes)
