"""Plans of moves while both sites live: a returned site's systems go home, or one system goes to the other site.

Pure. Nothing is lost in such a move, so nothing can be accepted: what could lose is refused, all of it at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from ncia.core.base.clock import to_text
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import Estate, Replication, SiteKind, System
from recovery.fencing.keys import Epoch, OpenRun
from recovery.loss_figure import IN_SYNC_SECONDS
from recovery.order import ordered, steps_of, waves_of
from recovery.planned import ONE_SYSTEM, SYSTEMS_AWAY, VERSION, Loss, Move, Plan, PlannedStep
from recovery.runbook import Runbook

PAUSE_FROM, PAUSE_TO = "hold", "verify_outside"


@dataclass(frozen=True)
class Wanted:
    """``subject`` is the returned site, or the system that is to move; ``site`` carries the plan out and takes."""

    run: RunId
    subject: str
    site: SiteId


@dataclass(frozen=True)
class PairFacts:
    """What was found out about one system. ``trouble``: why the active side's server, or our copy, did not answer;
    ``streams``: our copy follows it now; ``canary_age_seconds``: at our copy, ``None`` where it was not read."""

    trouble: str = ""
    streams: bool = False
    canary_age_seconds: float | None = None


@dataclass(frozen=True)
class Majority:
    """What the third vote says: epochs, open runs, and which sites hold their leases."""

    epochs: Mapping[SystemId, Epoch]
    runs: Mapping[SiteId, OpenRun]
    leases: Mapping[SiteId, bool]


def systems_wanted(estate: Estate, wanted: Wanted, what_moves: str, epochs: Mapping[SystemId, Epoch]) -> list[System]:
    """The systems that the plan would move to ``wanted.site``; :class:`Refusal` where there is none."""
    chosen = {SYSTEMS_AWAY: _away, ONE_SYSTEM: _one}[what_moves]
    return chosen(estate, wanted, epochs)


def plan_move(
    estate: Estate,
    wanted: Wanted,
    runbook: Runbook,
    systems: Sequence[System],
    majority: Majority,
    facts: Mapping[SystemId, PairFacts],
    durations: Mapping[str, float],
    now: datetime,
) -> Plan:
    """The plan, or every reason against it at once (:class:`Refusal`)."""
    what, giving = f"plan {runbook.id} of {wanted.subject}", estate.peer_of(wanted.site)
    _demand_alive(what, (giving, wanted.site), majority)
    judge = _cannot_return if runbook.what_moves == SYSTEMS_AWAY else _cannot_move
    held = [f"{s.id}: {why}" for s in systems if (why := judge(s, wanted, majority, facts[s.id]))]
    if held:
        count = f"{len(held)} system{'s' if len(held) > 1 else ''} cannot move without a loss"
        raise Refusal("recovery.plan-refused", what, "\n".join([count, *held]), "ncia status")
    waves = waves_of(systems)
    moves = ordered([_move(s, wanted, giving, waves, majority) for s in systems])
    steps = steps_of(estate, runbook, moves, durations)
    return Plan(
        version=VERSION,
        run=wanted.run,
        runbook=runbook.id,
        runbook_sha256=runbook.sha256,
        estate_hash=estate.hash,
        lost_site=giving,
        site=wanted.site,
        made_at=to_text(now),
        approvals=runbook.approvals,
        lease_ttl_seconds=estate.settings.lease_ttl_seconds,
        moves_at_once=estate.settings.moves_at_once,
        moves=moves,
        left_out=(),
        steps=steps,
        notes=_notes(estate, runbook, giving, wanted, moves, steps),
        estimated=tuple(sorted({step.kind for step in steps} - durations.keys())),
        what_moves=runbook.what_moves,
    )


def _away(estate: Estate, wanted: Wanted, epochs: Mapping[SystemId, Epoch]) -> list[System]:
    what = f"plan the return of {wanted.subject}"
    site = estate.sites.get(SiteId(wanted.subject))
    if site is None or site.kind is not SiteKind.CENTRE:
        known = f"one of {', '.join(estate.centres)}"
        raise Refusal("recovery.no-such-site", what, "it is no data centre of the estate", known)
    if site.id != wanted.site:
        why = f"it is carried out at {site.id}, which takes its systems back; this is {wanted.site}"
        raise Refusal("recovery.wrong-side", what, why, f"ask {site.id}'s controller")
    there = estate.peer_of(site.id)
    found = [s for s in estate.at_home(site.id) if s.id in epochs and epochs[s.id].site == there]
    if not found:
        raise Refusal("recovery.nothing-moves", what, f"no system of {site.id} is away from home", "ncia status")
    return found


def _one(estate: Estate, wanted: Wanted, epochs: Mapping[SystemId, Epoch]) -> list[System]:
    system = estate.system(wanted.subject)
    what = f"plan the move of {system.id}"
    if system.id not in epochs:
        raise Refusal("fencing.no-epoch", what, "etcd holds no epoch of it", "see that the estate was brought up")
    at = epochs[system.id].site
    if at == wanted.site:
        there = estate.peer_of(at)
        raise Refusal("recovery.wrong-side", what, f"it is active at {at} already", f"ask {there}'s controller")
    return [system]


def _demand_alive(what: str, sites: Sequence[SiteId], majority: Majority) -> None:
    for site in sites:
        if site in majority.runs:
            run = majority.runs[site]
            why = f"run {run.run} of {run.site} is open against {site}"
            raise Refusal("recovery.run-open", what, why, f"ncia recover status {run.run}")
        if not majority.leases[site]:
            hint = f"see that the warden of {site} runs; if {site} is lost: ncia recover plan {site}"
            raise Refusal("recovery.not-alive", what, f"{site} holds no lease", hint)


def _cannot_return(system: System, wanted: Wanted, majority: Majority, facts: PairFacts) -> str:
    """Our copy may be down or diverged (that is what the run mends); the active side must answer."""
    if wanted.site not in system.postgres.copies or wanted.site not in system.applications:
        return f"the estate has no copy or no application of it at {wanted.site}"
    return f"its server at {majority.epochs[system.id].site} does not answer: {facts.trouble}" if facts.trouble else ""


def _cannot_move(system: System, wanted: Wanted, majority: Majority, facts: PairFacts) -> str:
    cannot = _cannot_return(system, wanted, majority, facts)
    if cannot:
        return cannot
    if not facts.streams:
        return f"its copy at {wanted.site} does not stream, so it would be behind"
    age = facts.canary_age_seconds
    if age is None or age > IN_SYNC_SECONDS:
        told = "holds no canary" if age is None else f"is {age:.0f} s behind"
        return f"its copy at {wanted.site} {told}: wait until it has caught up"
    return ""


def _move(system: System, wanted: Wanted, giving: SiteId, waves: Mapping[SystemId, int], majority: Majority) -> Move:
    epoch = majority.epochs[system.id]
    return Move(
        system=system.id,
        name=system.name,
        grade=system.grade,
        wave=waves[system.id],
        from_site=giving,
        to_site=wanted.site,
        epoch=epoch.epoch + 1,
        mod_revision=epoch.mod_revision,
        depends_on=tuple(d for d in system.depends_on if d in waves),
        loss=Loss(0.0, "planned", "nothing: writes stop first, then our copies get the last rows and documents"),
        lost_at="",
        promise_rpo_seconds=system.promise.rpo_seconds,
        promise_rto_seconds=system.promise.rto_seconds,
        synchronous=system.postgres.replication is Replication.SYNCHRONOUS,
    )


def _notes(
    estate: Estate,
    runbook: Runbook,
    giving: SiteId,
    wanted: Wanted,
    moves: Sequence[Move],
    steps: Sequence[PlannedStep],
) -> tuple[str, ...]:
    """What a person signs beside the order of things."""
    told: dict[bool, Callable[[], list[str]]] = {
        True: lambda: [
            f"what the old primaries at {wanted.site} committed and {giving} never had is listed, with its rows, "
            "before anything is rewound; then it is thrown away there; "
            f"documents that only {wanted.site} holds are listed too, and stay",
            f"every system is protected by {wanted.site} again before it moves",
        ],
        False: lambda: _far(estate, moves[0], wanted.site, giving),
    }
    pause = pause_seconds([s for s in steps if s.system == moves[0].system])
    return (
        *told[runbook.what_moves == SYSTEMS_AWAY](),
        f"each system's citizens wait about {pause:.1f} s: from its hold at {giving} until {wanted.site} answers them",
        "a system that cannot be held, stopped in order and drained stays where it is",
    )


def pause_seconds(steps: Sequence[PlannedStep]) -> float:
    """The expected seconds of one system's steps during which its citizens wait."""
    kinds = [step.kind for step in steps]
    if PAUSE_FROM not in kinds or PAUSE_TO not in kinds:
        return 0.0
    return sum(s.expected_seconds for s in steps[kinds.index(PAUSE_FROM) : kinds.index(PAUSE_TO) + 1])


def _far(estate: Estate, move: Move, site: SiteId, giving: SiteId) -> list[str]:
    """What will be reached over the WAN afterwards, as far as it stays behind."""
    system = estate.systems[move.system]
    found = []
    if system.depends_on:
        found.append(
            f"it calls {', '.join(system.depends_on)} wherever they are active, over the WAN where that is not {site}"
        )
    users = sorted(s.id for s in estate.systems.values() if move.system in s.depends_on)
    if users:
        found.append(f"{', '.join(users)} call it at {site} from then on, over the WAN from {giving}")
    return found
