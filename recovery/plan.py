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
from ncia.core.base.ids import DatasetId, RunId, SiteId, SystemId
from ncia.core.estate.model import Estate, Isolated, Replication, SiteKind, System
from recovery.fencing.keys import Epoch, Sync, SyncMode
from recovery.planned import VERSION, LeftOut, Loss, Move, Plan, PlannedStep
from recovery.ports import Outage, Received, Replica
from recovery.receiving.wal import lsn_number
from recovery.runbook import Runbook, RunbookStep
from recovery.steps import KINDS

LEASE_WAITS_MAX = 2  # etcd starts a TTL anew when it elects a leader
ELECTION_SECONDS = 10.0
IN_SYNC_SECONDS = 15.0
AHEAD_SECONDS_MAX = 2.0  # a canary dated so far in the future shows two clocks, and no lag
"""A synchronous partner is known in sync when its newest canary is not older than this before the loss: the canary's
interval, and what our vantages need to call a system down. It does not enlarge the loss: while a partner is away, a
synchronous commit is not acknowledged at all."""


@dataclass(frozen=True)
class DocumentCopy:
    """The newest canary of a file tree or bucket at our copy; ``None``: there is none, or ``trouble`` says why not."""

    dataset: DatasetId
    newest_canary_at: datetime | None
    trouble: str = ""


@dataclass(frozen=True)
class Facts:
    """What was found out about one system when the plan was asked for. ``replica`` is ``None`` where its server here
    did not answer, and ``trouble`` says why. ``cleared_by`` is the run that cleared its synchronous requirement, by the
    journal; ``sync`` is what etcd says, which counts more. ``received`` is what our receiver of it holds;
    ``documents``, of each of its file trees and buckets, what our copy says."""

    replica: Replica | None
    outage: Outage
    trouble: str = ""
    cleared_by: str = ""
    sync: Sync | None = None
    received: Received | None = None
    drift: tuple[str, ...] = ()  # how its program here differs from the one that served, as last compared
    documents: tuple[DocumentCopy, ...] = ()

    @property
    def waited(self) -> bool:
        """Whether commits of a synchronous system waited for our site until it was lost."""
        return self.sync.mode is SyncMode.SYNC if self.sync is not None else not self.cleared_by


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
    losses = {s.id: loss_of(s, facts[s.id], estate.settings.canary_interval_seconds, now) for s in there}
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


def loss_of(system: System, facts: Facts, canary_interval_seconds: float, now: datetime) -> Loss:
    """What promoting the copies here would lose. An act is its rows and its document: the worst dataset counts."""
    lost_at = facts.outage.since or now
    rows = _loss_of_rows(system, facts, canary_interval_seconds, now)
    waited = system.postgres.replication is Replication.SYNCHRONOUS and facts.waited
    direct = {d.id for d in system.documents if d.replication is Replication.SYNCHRONOUS} if waited else set()
    papers = [
        _loss_of_documents(copy, lost_at, now, None if copy.dataset in direct else canary_interval_seconds)
        for copy in facts.documents
    ]
    return max((rows, *papers), key=lambda loss: (loss.seconds is None, loss.seconds or 0.0))


def _clocks_differ(newest_canary_at: datetime, now: datetime) -> Loss | None:
    """A canary from the future measures nothing: the clock of the lost site, or ours, is wrong."""
    ahead = (newest_canary_at - now).total_seconds()
    if ahead <= AHEAD_SECONDS_MAX:
        return None
    told = f"not known: the newest canary here is dated {ahead:.0f} s from now, so the clocks of the two sites differ"
    return Loss(None, "unknown", told, to_text(newest_canary_at))


def _loss_of_documents(copy: DocumentCopy, lost_at: datetime, now: datetime, interval_seconds: float | None) -> Loss:
    """``interval_seconds`` ``None``: acts waited until their document was here."""
    if copy.newest_canary_at is None:
        why = copy.trouble or f"the copy of {copy.dataset} here holds no canary"
        return Loss(None, "unknown", f"not known: {why}")
    if (skewed := _clocks_differ(copy.newest_canary_at, now)) is not None:
        return skewed
    behind, mark = max(0.0, (lost_at - copy.newest_canary_at).total_seconds()), to_text(copy.newest_canary_at)
    if interval_seconds is not None:
        seconds = round(behind + interval_seconds, 3)
        told = f"at most {seconds:.1f} s, from the newest canary at the copy of {copy.dataset}"
        return Loss(seconds, "measured", told, mark)
    if behind <= IN_SYNC_SECONDS:
        told = f"nothing: acts waited for the copy of {copy.dataset}, in sync {behind:.1f} s before the loss"
        return Loss(0.0, "synchronous", told, mark)
    why = (
        f"acts should wait for the copy of {copy.dataset}, but its newest canary is {behind:.0f} s older than the loss"
    )
    return Loss(None, "unknown", f"not known: {why}", mark)


def _loss_of_rows(system: System, facts: Facts, canary_interval_seconds: float, now: datetime) -> Loss:
    """The time from the copy's newest canary to the loss, and one canary interval; nothing where commits waited."""
    if facts.replica is None or facts.replica.newest_canary_at is None:
        why = facts.trouble or "its copy here holds no canary"
        return Loss(None, "unknown", f"not known: {why}")
    newest, lost_at = facts.replica.newest_canary_at, facts.outage.since or now
    if (skewed := _clocks_differ(newest, now)) is not None:
        return skewed
    behind = max(0.0, (lost_at - newest).total_seconds())
    mark = to_text(newest)
    synchronous = system.postgres.replication is Replication.SYNCHRONOUS
    if synchronous and facts.waited:
        if behind <= IN_SYNC_SECONDS:
            sentence = f"nothing: commits waited for this copy, in sync {behind:.1f} s before the loss"
            return Loss(0.0, "synchronous", sentence, mark)
        return _by_receiver(facts.replica, facts.received, lost_at, behind)
    seconds = round(behind + canary_interval_seconds, 3)
    told = f"at most {seconds:.1f} s, from the newest canary at this copy"
    if synchronous and facts.sync is not None:
        told += f"; commits waited for nobody since {facts.sync.since} (WAL {facts.sync.lsn})"
    return Loss(seconds, "measured", told, mark)


def _by_receiver(replica: Replica, received: Received | None, lost_at: datetime, behind: float) -> Loss:
    """The copy had fallen back; where our receiver went on, in an unbroken row from what the copy has, commits waited
    for that, and the copy is given all of it before it is promoted."""
    why = f"commits should wait for this site, but the copy's newest canary is {behind:.0f} s older than the loss"
    if received is None:
        return Loss(None, "unknown", f"not known: {why}, and no receiver holds more")
    ago = max(0.0, (lost_at - received.newest_at).total_seconds())
    mark = to_text(received.newest_at)
    if lsn_number(replica.replayed_lsn or "0/0") < lsn_number(received.first_lsn):
        return Loss(None, "unknown", f"not known: {why}, and its receiver begins only at {received.first_lsn}", mark)
    if ago > IN_SYNC_SECONDS:
        return Loss(None, "unknown", f"not known: {why}, and its receiver heard nothing for {ago:.0f} s before", mark)
    sentence = f"nothing: commits waited for the receiver here, which wrote the last {ago:.1f} s before the loss"
    return Loss(0.0, "synchronous", sentence, mark)


def waves_of(systems: Sequence[System]) -> dict[SystemId, int]:
    """Wave 1, 2, … of each: by grade, but never after a system of an earlier wave that depends on it."""
    rank = {s.id: s.grade for s in systems}
    changed = True
    while changed:
        changed = False
        for system in systems:
            for needed in system.depends_on:
                if needed in rank and rank[needed] > rank[system.id]:
                    rank[needed], changed = rank[system.id], True
    numbers = {grade: number for number, grade in enumerate(sorted(set(rank.values())), 1)}
    return {system: numbers[grade] for system, grade in rank.items()}


def ordered(moves: Sequence[Move]) -> tuple[Move, ...]:
    """By wave, and within a wave what others depend on first; the order in which slots are given."""
    result: list[Move] = []
    waiting = list(moves)
    while waiting:
        done = {move.system for move in result}
        ready = next(
            (
                m
                for m in waiting
                if all(d in done or d not in {w.system for w in waiting} for d in m.depends_on)
                and m.wave == min(w.wave for w in waiting)
            ),
            waiting[0],
        )
        waiting.remove(ready)
        result.append(ready)
    return tuple(result)


def steps_of(
    estate: Estate, runbook: Runbook, moves: Sequence[Move], durations: Mapping[str, float]
) -> tuple[PlannedStep, ...]:
    """Every step with what it needs: the one before it in its row, all of `before`, the dependencies' where said."""
    found: list[PlannedStep] = []

    def add(step: RunbookStep, system: str, needs: Sequence[str]) -> str:
        id = f"{system}/{step.kind}" if system else step.kind
        seconds = durations.get(step.kind, KINDS[step.kind].seconds)
        timeout = step.timeout_seconds or timeout_of(estate, step.kind)
        found.append(PlannedStep(id, step.kind, system, tuple(needs), timeout, seconds))
        return id

    last: tuple[str, ...] = ()
    for step in runbook.before:
        last = (add(step, "", last),)
    ends: list[str] = []
    for move in moves:
        before = last
        for step in runbook.each_system:
            others = [f"{d}/{step.kind}" for d in move.depends_on] if step.after_dependencies else []
            if step.after_dependencies_moved:
                others = [f"{d}/{runbook.each_system[-1].kind}" for d in move.depends_on]
            before = (add(step, move.system, (*before, *others)),)
        ends.extend(before)
    after: Sequence[str] = ends
    for step in runbook.after:
        after = (add(step, "", after),)
    return tuple(found)


def timeout_of(estate: Estate, kind: str) -> float:
    """How long a step may take before it has failed."""
    if kind == "fence":
        return LEASE_WAITS_MAX * estate.settings.lease_ttl_seconds + ELECTION_SECONDS
    return estate.settings.step_timeout_seconds


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
