"""The steps of the run as a whole: fence the lost site, hold our confirmations, open and close the run in etcd."""

from __future__ import annotations

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NoQuorum, Refusal
from recovery.fencing.claims import LeaseState, confirmations_lapse_seconds
from recovery.ports import Patience, World
from recovery.step import Done, Target

LEASE_POLL_SECONDS = 0.25


def lease_gone(world: World, target: Target, patience: Patience) -> Done | None:
    return _gone(world.claims.lease_state(target.lost_site), target, patience)


def _gone(state: LeaseState, target: Target, patience: Patience) -> Done | None:
    if state.held:
        return None
    seen = to_text(patience.now())
    return Done(f"{target.lost_site} holds no lease, as the majority sees it", {"lease_expired_seen_at": seen})


def wait_for_lease(world: World, target: Target, patience: Patience) -> Done:
    """etcd starts every TTL anew when it elects a leader, so this may take twice the TTL and the election; and as long
    again after each further election that is seen meanwhile."""
    what = f"see {target.lost_site} fenced"
    deadline = patience.boottime_ns() + int(target.timeout_seconds * 1e9)
    trouble: NoQuorum | None = None
    term: int | None = None
    while patience.boottime_ns() < deadline:
        try:
            state = world.claims.lease_state(target.lost_site)
            done, trouble = _gone(state, target, patience), None
            if state.term != term and term is not None:
                deadline = patience.boottime_ns() + int(target.timeout_seconds * 1e9)
            term = state.term
        except NoQuorum as error:  # an election after the loss takes a second or two
            done, trouble = None, error
        if done:
            return done
        patience.pause(LEASE_POLL_SECONDS)
    if trouble:
        raise trouble
    why = f"it still renews its lease after {target.timeout_seconds:g} s: that site lives; nothing was promoted"
    raise Refusal("recovery.lease-held", what, why, f"fence {target.lost_site} first (ncia warden there), then resume")


def confirmations_over(world: World, target: Target, patience: Patience) -> Done | None:
    status = world.warden.status()
    if status.get("confirming", True):
        return None
    last = int(status["last_confirmation_boottime_ns"])
    if confirmations_lapse_seconds(last, patience.boottime_ns(), target.lease_ttl_seconds) > 0:
        return None
    return Done("our warden confirms nobody, and its last confirmation has lapsed")


def hold_confirmations(world: World, target: Target, patience: Patience) -> Done:
    last = world.warden.stop_confirming()
    left = confirmations_lapse_seconds(last, patience.boottime_ns(), target.lease_ttl_seconds)
    if left > 0:
        patience.pause(left)
    return Done("our warden confirms nobody, and its last confirmation has lapsed", {"waited_seconds": round(left, 3)})


def resume_confirmations(world: World, target: Target) -> str:
    world.warden.resume_confirming()
    return f"our warden confirms {target.lost_site} again"


def run_is_open(world: World, target: Target, patience: Patience) -> Done | None:
    found = world.claims.runs().get(target.lost_site)
    if found is None or (found.run, found.site) != (target.run, target.executor):
        return None
    return Done(f"etcd holds {target.run} as the run against {target.lost_site}")


def open_run(world: World, target: Target, patience: Patience) -> Done:
    world.claims.open_run(target.lost_site, target.run, target.executor)
    return Done(f"etcd holds {target.run} as the run against {target.lost_site}")


def withdraw_run(world: World, target: Target) -> str:
    world.claims.close_run(target.lost_site, target.run)
    return f"etcd holds no run against {target.lost_site} any more"


def run_is_closed(world: World, target: Target, patience: Patience) -> Done | None:
    found = world.claims.runs().get(target.lost_site)
    if (found is not None and found.run == target.run) or not world.warden.status().get("confirming", False):
        return None
    return Done(f"no run against {target.lost_site} is open")


def close_run(world: World, target: Target, patience: Patience) -> Done:
    world.claims.close_run(target.lost_site, target.run)
    world.warden.resume_confirming()
    return Done(f"no run against {target.lost_site} is open")
