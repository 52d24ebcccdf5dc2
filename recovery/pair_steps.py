"""The steps of a planned move, for which both sites live: the old side holds, stops and follows; nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from recovery.ports import Patience, World
from recovery.step import Done, Target, until
from recovery.sync import NOBODY, standby_names
from recovery.system_steps import demand_claim, demand_permit, is_claimed

LOOK_SECONDS = 0.02
STREAMS_SECONDS_MAX = 5.0  # a copy whose connection was cut streams again by then


def both_live(world: World, target: Target, patience: Patience) -> Done | None:
    return None  # it is a look, and a look of before says nothing about now


def demand_both_live(world: World, target: Target, patience: Patience) -> Done:
    """Each site holds its own lease and no run is open against either: nothing here is a recovery from a loss."""
    what = f"move systems from {target.lost_site} to {target.site} as planned"
    sites = (target.lost_site, target.site)
    absent: list[SiteId] = []

    def look() -> Done | None:
        runs = world.claims.runs()
        for site in sites:
            if site in runs:
                why = f"run {runs[site].run} of {runs[site].site} is open against {site}"
                raise Refusal("recovery.run-open", what, why, f"ncia recover status {runs[site].run}")
        absent[:] = [site for site in sites if not world.claims.lease_state(site).held]
        if absent:
            return None
        return Done(f"{target.lost_site} and {target.site} hold their leases and no run is open against either")

    def refusal() -> Refusal:
        hint = f"see that the warden of {absent[0]} runs; if {absent[0]} is lost: ncia recover plan {absent[0]}"
        return Refusal("recovery.not-alive", what, f"{absent[0]} holds no lease", hint)

    return _soon(look, what, 2 * target.lease_ttl_seconds, target, patience, lambda: refusal() if absent else None)


def _soon(
    look: Callable[[], Done | None],
    what: str,
    seconds: float,
    target: Target,
    patience: Patience,
    refusal: Callable[[], Refusal | None],
) -> Done:
    """Whatever blinks on a busy machine is looked at again for so long, and refused only then, if it was seen."""
    bounded = replace(target, timeout_seconds=seconds)
    try:
        return until(look, lambda: "it is not so", what, bounded, patience, LOOK_SECONDS)
    except NciaError as error:
        if error.code == "recovery.too-late" and (refused := refusal()) is not None:
            raise refused from error
        raise


def is_held(world: World, target: Target, patience: Patience) -> Done | None:
    claimed = is_claimed(world, target, patience)
    if claimed:
        return claimed
    word = world.both.holds.word_of(target.system)
    if word is None or not own_warden_knows(world, target):
        return None
    return Done(f"{word.site} gives its word: its gate is shut for {target.system}", {"held_at": word.at})


def own_warden_knows(world: World, target: Target) -> bool:
    """Our own warden, which may confirm the old side while etcd has no quorum, has read of the hold."""
    standing = world.warden.status().get("systems", {}).get(target.system, {})
    return bool(standing.get("held_by") == target.run)


def hold(world: World, target: Target, patience: Patience) -> Done:
    world.both.holds.lay(target.system, target.run, target.site, target.mod_revision)
    world.warden.refresh()

    def look() -> Done | None:
        return is_held(world, target, patience)

    what = f"hold {target.system} at {target.lost_site}"
    why = f"{target.lost_site} has not given its word that its gate is shut"
    return until(look, lambda: why, what, target, patience, LOOK_SECONDS)


def release(world: World, target: Target) -> str:
    world.both.holds.release(target.system, target.run)
    return f"{target.lost_site} may serve {target.system} again"


def old_is_stopped(world: World, target: Target, patience: Patience) -> Done | None:
    if world.both.copies.facts(target.system, target.lost_site).running:
        return None
    return Done(f"the server at {target.lost_site} does not run")


def stop_old(world: World, target: Target, patience: Patience) -> Done:
    """In order, so that it sends all of its WAL first: only while our copy is there to take it."""
    what = f"stop {target.system}'s server at {target.lost_site}"
    if world.both.holds.word_of(target.system) is None:
        why = f"{target.lost_site} has not given its word that its gate is shut (any more)"
        raise Refusal("recovery.not-held", what, why, f"ncia recover resume {target.run}")
    streams: bool | None = None

    def look() -> Done | None:
        nonlocal streams
        streams = world.both.there.streams_to(target.system, target.site)
        return Done("our copy streams from it") if streams else None

    def refusal() -> Refusal | None:
        why = f"our copy does not stream from it, so it would stay behind: {target.system} stays where it is"
        hint = "see why it does not follow, then resume"
        return Refusal("recovery.not-streaming", what, why, hint) if streams is False else None

    _soon(look, what, STREAMS_SECONDS_MAX, target, patience, refusal)
    world.both.copies.stop(target.system, target.lost_site)
    return Done(f"the server at {target.lost_site} has ended in order")


def start_old(world: World, target: Target) -> str:
    """Only where nobody has claimed the system meanwhile: then it is a primary still, and its gate lets it write."""
    epoch = world.claims.epochs().get(target.system)
    if epoch is None or (epoch.site, epoch.epoch) != (target.lost_site, target.epoch - 1):
        return f"not started: {target.system} is not at {target.lost_site} any more"
    if world.both.copies.facts(target.system, target.lost_site).standby:
        return f"not started: {target.lost_site}'s cluster is told to follow"
    world.both.copies.start(target.system, target.lost_site)
    return f"the server at {target.lost_site} runs again"


def is_drained(world: World, target: Target, patience: Patience) -> Done | None:
    if not world.databases.in_recovery(target.system):
        return Done("the server here is a primary already")
    old = world.both.copies.facts(target.system, target.lost_site)
    replayed = world.databases.replayed_lsn(target.system)
    if old.running or not old.clean or lsn(replayed) <= lsn(old.checkpoint_lsn):
        return None
    evidence = f"our copy has replayed {replayed}, beyond the old side's last checkpoint {old.checkpoint_lsn}"
    return Done(evidence, {"replayed_lsn": replayed, "checkpoint_lsn": old.checkpoint_lsn})


def drain(world: World, target: Target, patience: Patience) -> Done:
    """The last record of a server that ended in order is its checkpoint: a copy beyond it has everything."""
    what = f"see that our copy of {target.system} has everything"
    old = world.both.copies.facts(target.system, target.lost_site)
    if old.running or not old.clean:
        why = f"the server at {target.lost_site} {'runs' if old.running else 'did not end in order'}"
        raise Refusal("recovery.not-drained", what, why, f"ncia recover resume {target.run}")

    def look() -> Done | None:
        return is_drained(world, target, patience)

    return until(look, lambda: f"it has not come to {old.checkpoint_lsn}", what, target, patience, LOOK_SECONDS)


def claim_held(world: World, target: Target, patience: Patience) -> Done:
    if is_drained(world, target, patience) is None:
        what, why = f"claim {target.system} for {target.site}", "our copy is not seen to have everything (any more)"
        raise Refusal("recovery.not-drained", what, why, f"ncia recover resume {target.run}")
    right = demand_permit(world, target, f"claim {target.system} for {target.site}")
    made = world.both.holds.claim(target.system, target.site, target.mod_revision, target.run)
    told = f"epoch {made.epoch} is at {made.site}, on {target.lost_site}'s own word{right}"
    return Done(told, {"epoch": made.epoch})


def partner_required(world: World, target: Target, patience: Patience) -> Done | None:
    wanted = standby_names(target.lost_site) if target.synchronous else NOBODY
    if world.databases.synchronous_standby_names(target.system) != wanted:
        return None
    return Done(_waits(target, str(target.lost_site)))


def require_partner(world: World, target: Target, patience: Patience) -> Done:
    """Before it is promoted: no commit of the new primary is acknowledged that the old side does not have."""
    what = f"say whom commits of {target.system} wait for"
    demand_claim(world, target, what)
    wanted = standby_names(target.lost_site) if target.synchronous else NOBODY
    world.databases.set_synchronous(target.system, wanted)

    def look() -> Done | None:
        return partner_required(world, target, patience)

    return until(look, lambda: "the reload has not come through", what, target, patience, LOOK_SECONDS)


def old_follows(world: World, target: Target, patience: Patience) -> Done | None:
    """And nothing is kept there for whom it sent to before."""
    found = _streams_from_here(world, target, patience)
    left = found and world.both.copies.slots_left(target.system, target.lost_site, target.site)
    return None if left else found


def _streams_from_here(world: World, target: Target, patience: Patience) -> Done | None:
    if not world.databases.streams_to(target.system, target.lost_site):
        return None
    return Done(
        f"{target.lost_site} follows {target.system} at {target.site}", {"followed_at": to_text(patience.now())}
    )


def attach_old(world: World, target: Target, patience: Patience) -> Done:
    """It ended in order and our copy had all of it, so it follows without a rewind."""
    what, copies = f"make {target.lost_site}'s cluster of {target.system} follow", world.both.copies
    demand_claim(world, target, what)
    if world.databases.in_recovery(target.system):
        raise NciaError("recovery.not-promoted", what, f"{target.system} is not promoted here")
    old = copies.facts(target.system, target.lost_site)
    if old.running and not old.standby:
        why = f"a primary runs at {target.lost_site}, which its gate refuses"
        raise Refusal("recovery.old-primary-runs", what, why, f"stop it there, then: ncia recover resume {target.run}")
    if not old.running:
        copies.follow(target.system, target.lost_site, target.site)
        copies.start(target.system, target.lost_site)

    def look() -> Done | None:
        return _streams_from_here(world, target, patience)

    done = until(look, lambda: "it does not stream", what, target, patience, LOOK_SECONDS)
    forget_slots(world, target, patience, target.lost_site, target.site)
    return done


def forget_slots(world: World, target: Target, patience: Patience, at: SiteId, reader: SiteId) -> None:
    """``at`` is a standby now: what ``reader`` read from it is read no more. A receiver leaves within a second of its
    warden's word; until it has, its slot is in use."""
    left: tuple[str, ...] = ()

    def look() -> Done | None:
        nonlocal left
        left = world.both.copies.forget(target.system, at, reader)
        return None if left else Done("no WAL is kept there for anybody")

    what = f"drop the slots of {target.system} at {at} that nobody reads any more"
    until(look, lambda: f"somebody reads {', '.join(left)}", what, target, patience, LOOK_SECONDS)


def lsn(text: str) -> int:
    """``16/B374D848`` as a number; 0 where there is none."""
    high, slash, low = text.partition("/")
    return (int(high, 16) << 32) + int(low, 16) if slash else 0


def _waits(target: Target, partner: str) -> str:
    return f"commits wait for {partner}" if target.synchronous else "commits wait for nobody, as the estate says"
