"""The step that gives the copy all that the independent receiver holds, before anything is claimed or promoted.

It is also a fence of its own: with the receiver stopped and the copy about to be promoted, a synchronous primary that
still lived would find nobody to keep its commits, and acknowledges nothing more.
"""

from __future__ import annotations

from dataclasses import replace

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.lsn import lsn_number
from recovery.fencing.keys import SyncMode
from recovery.ports import Patience, World
from recovery.receiving.term import Held
from recovery.step import Done, Target, until

DRAIN_POLL_SECONDS = 0.02
HAND_OVER_SECONDS_MAX = 15.0  # for a receiver whose loss is accepted
NOTHING = "no receiver holds anything of it"


def is_drained(world: World, target: Target, patience: Patience) -> Done | None:
    """Only doing shows it, but for a server that is promoted already: nothing can be given to that."""
    if world.databases.in_recovery(target.system):
        return None
    return Done("the server here is a primary already")


def drain_receiver(world: World, target: Target, patience: Patience) -> Done:
    _demand_as_planned(world, target)
    try:
        held = _handed_over(world, target, patience)
    except NciaError as error:
        if not target.accepted:
            raise
        return Done(f"what the receiver holds is given up ({target.accepted}): {error}"[:300])
    return Done(NOTHING) if held is None else _replay(world, target, patience, held)


def _handed_over(world: World, target: Target, patience: Patience) -> Held | None:
    """Where its loss is accepted, nobody comes again to ask: what is only being started anew is waited for here."""
    held: Held | None = None

    def ask() -> Done | None:
        nonlocal held
        held = world.receivers.hand_over(target.system)
        return Done("handed over")

    if not target.accepted:
        return world.receivers.hand_over(target.system)
    bounded = replace(target, timeout_seconds=min(target.timeout_seconds, HAND_OVER_SECONDS_MAX))
    until(ask, lambda: "", f"ask the receiver of {target.system} for what it holds", bounded, patience)
    return held


def follow_again(world: World, target: Target) -> str:
    world.receivers.follow_again(target.system)
    world.databases.attach(target.system)
    return "the receiver and the copy follow their primary again"


def _replay(world: World, target: Target, patience: Patience, held: Held) -> Done:
    last, replayed, detached = lsn_number(held.last_record_lsn), "", False

    def look() -> Done | None:
        nonlocal replayed, detached
        replayed = world.databases.replayed_lsn(target.system)
        if lsn_number(replayed) > last:
            measured = {"replayed_lsn": replayed, "held_lsn": held.last_record_lsn, "read_from_receiver": detached}
            given = "; the receiver gave it what it lacked" if detached else ""
            return Done(
                f"replayed to {replayed}, past the receiver's last record at {held.last_record_lsn}{given}", measured
            )
        if not detached:
            world.databases.detach(target.system)
            detached = True
        return None

    what = f"give {target.system}'s copy all that its receiver holds"
    try:
        return until(look, lambda: f"replayed to {replayed}", what, target, patience, DRAIN_POLL_SECONDS)
    except Refusal:
        raise
    except NciaError as error:
        if error.code != "recovery.too-late":
            raise
        why = (
            f"the copy has replayed to {replayed or 'an unknown position'}, the receiver holds a record at "
            f"{held.last_record_lsn}: acknowledged acts would be lost"
        )
        if target.accepted:
            return Done(f"given up ({target.accepted}): {why}"[:300])
        override = f"--accept-loss {target.system}=REASON"
        hint = f"see its restore_command and the server's log; or plan anew with {override}"
        raise Refusal("recovery.not-drained", what, why, hint, override) from error


def _demand_as_planned(world: World, target: Target) -> None:
    """The plan that people signed said that nothing is lost because commits wait: that must still be so. The lost
    site's lease is gone by now, so nobody changes it any more."""
    sync = world.claims.syncs().get(target.system)
    if target.loss_how != "synchronous" or sync is None or sync.mode is SyncMode.SYNC:
        return
    what = f"promote {target.system} as planned"
    why = f"the plan says that commits waited for this site, but since {sync.since} ({sync.lsn}) they did not"
    override = f"--accept-loss {target.system}=REASON"
    raise Refusal("recovery.loss-unplanned", what, why, f"plan anew with {override}", override)
