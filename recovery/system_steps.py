"""The steps of one system: claim, gate, promotion, application, traffic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import Refusal
from recovery.fencing.keys import SyncMode
from recovery.ports import Answer, Patience, Position, World
from recovery.step import Done, Target, until

HTTP_POLL_SECONDS = 0.04
PROMOTE_POLL_SECONDS = 0.005


def is_claimed(world: World, target: Target, patience: Patience) -> Done | None:
    found = world.claims.epochs().get(target.system)
    if found is None or (found.run, found.site) != (target.run, target.site):
        return None
    return Done(f"epoch {found.epoch} is at {found.site}", {"epoch": found.epoch})


def claim(world: World, target: Target, patience: Patience) -> Done:
    claims = world.claims
    right = demand_permit(world, target, f"claim {target.system} for {target.site}")
    made = claims.claim_epoch(
        target.system, target.lost_site, target.site, target.mod_revision, target.run, target.executor
    )
    return Done(f"epoch {made.epoch} is at {made.site}{right}", {"epoch": made.epoch})


def demand_permit(world: World, target: Target, what: str) -> str:
    """The other precondition of every irreversible act: by which right it is done is known at a second place."""
    return f"; {world.permits.demand(target.run, what)}" if world.permits else ""


def demand_claim(world: World, target: Target, what: str) -> None:
    """The precondition of every irreversible act: the majority says, now, that the system is ours."""
    found = world.claims.epochs().get(target.system)
    if found is None or (found.site, found.epoch) != (target.site, target.epoch):
        where = "unknown" if found is None else f"epoch {found.epoch} at {found.site}"
        why = f"the claim is not ours any more: {where}, planned was {target.epoch} at {target.site}"
        raise Refusal("recovery.not-claimed", what, why, "make a new plan")


def gate_knows(status: Mapping[str, Any], target: Target, patience: Patience) -> bool:
    standing = status.get("systems", {}).get(target.system, {})
    ours = (standing.get("site"), standing.get("epoch")) == (target.site, target.epoch)
    return ours and int(status.get("deadline_boottime_ns", 0)) > patience.boottime_ns()


def gate_is_fresh(world: World, target: Target, patience: Patience) -> Done | None:
    if not gate_knows(world.warden.status(), target, patience):
        return None
    return Done(f"our gate lets {target.system} write under epoch {target.epoch}")


def refresh_gate(world: World, target: Target, patience: Patience) -> Done:
    status: Mapping[str, Any] = {}

    def look() -> Done | None:
        nonlocal status
        status = world.warden.refresh()
        if not gate_knows(status, target, patience):
            return None
        return Done(f"our gate lets {target.system} write under epoch {target.epoch}")

    what = f"open our gate for {target.system}"
    return until(look, lambda: str(status.get("reason", "the warden says nothing")), what, target, patience)


def is_primary(world: World, target: Target, patience: Patience) -> Done | None:
    if world.databases.in_recovery(target.system):
        return None
    return Done("the server here is a primary")


def promote(world: World, target: Target, patience: Patience) -> Done:
    what = f"promote {target.system} at {target.site}"
    demand_claim(world, target, what)
    demand_permit(world, target, what)
    world.databases.promote(target.system)

    def look() -> Done | None:
        return is_primary(world, target, patience)

    return until(look, lambda: "it is still in recovery", what, target, patience, PROMOTE_POLL_SECONDS)


def waits_for_nobody(world: World, target: Target, patience: Patience) -> Done | None:
    """Said in etcd first: nobody may think that the next commit here is at another site."""
    if world.databases.synchronous_standby_names(target.system) != "":
        return None
    sync = world.claims.syncs().get(target.system)
    if sync is not None and sync.mode is not SyncMode.ASYNC:
        return None
    return Done("commits wait for nobody", {"unprotected_since": to_text(patience.now())})


def clear_synchronous(world: World, target: Target, patience: Patience) -> Done:
    what = f"clear the synchronous requirement of {target.system}"
    demand_claim(world, target, what)
    _say_async(world, target, patience, what)
    if world.databases.synchronous_standby_names(target.system) != "":
        world.databases.clear_synchronous(target.system)

    def look() -> Done | None:
        return waits_for_nobody(world, target, patience)

    return until(look, lambda: "the reload has not come through", what, target, patience, PROMOTE_POLL_SECONDS)


def _say_async(world: World, target: Target, patience: Patience, what: str) -> None:
    """In etcd. This site's own task, which says how it found the new primary, may come between our look and our word:
    we look again then."""
    last = ""

    def say() -> Done | None:
        nonlocal last
        sync = world.claims.syncs().get(target.system)
        if sync is None or sync.mode is SyncMode.ASYNC:
            return Done("etcd says that commits wait for nobody")
        lsn, since = world.databases.replayed_lsn(target.system), to_text(patience.now())
        try:
            world.claims.put_sync(replace(sync, mode=SyncMode.ASYNC, since=since, lsn=lsn, by=target.run))
        except Refusal as refusal:
            if refusal.code != "sync.changed":
                raise
            last = refusal.why
            demand_claim(world, target, what)
            return None
        return Done("etcd says that commits wait for nobody")

    until(say, lambda: last, what, target, patience, PROMOTE_POLL_SECONDS)


def only_doing_shows(world: World, target: Target, patience: Patience) -> Done | None:
    """A transaction of an earlier attempt proves nothing about now; doing one more harms nobody, it is marked."""
    return None


def verify_application(world: World, target: Target, patience: Patience) -> Done:
    last = ""

    def look() -> Done | None:
        nonlocal last
        answer = world.applications.verify(target.system)
        last = _said(answer)
        if (answer.status, answer.epoch, answer.site) != (201, target.epoch, target.site):
            return None
        written = to_text(patience.now())
        return Done(f"a real transaction was committed under epoch {answer.epoch}", {"first_write_at": written})

    what = f"do a real transaction in {target.system} at {target.site}"
    return until(look, lambda: last, what, target, patience, HTTP_POLL_SECONDS)


def traffic_is_here(world: World, target: Target, patience: Patience) -> Done | None:
    if world.traffic.positions().get(target.system) != Position(target.site, target.epoch):
        return None
    return Done(f"the front door sends {target.system} to {target.site} under epoch {target.epoch}")


def switch_traffic(world: World, target: Target, patience: Patience) -> Done:
    world.traffic.switch(target.system, target.site, target.epoch)
    return Done(f"the front door sends {target.system} to {target.site} under epoch {target.epoch}")


def seen_from_outside(world: World, target: Target, patience: Patience) -> Done | None:
    return _judged_outside(world, target, patience, world.applications.read_from_outside(target.system))


def _judged_outside(world: World, target: Target, patience: Patience, answer: Answer) -> Done | None:
    if (answer.status, answer.epoch, answer.site) != (200, target.epoch, target.site):
        return None
    now = patience.now()
    measured: dict[str, Any] = {"answered_at": to_text(now)}
    since = out_of_service_since(world, target)
    if since:
        measured["rto_seconds"] = round((now - since).total_seconds(), 3)
    return Done(f"citizens are answered by {answer.site} under epoch {answer.epoch}", measured)


def out_of_service_since(world: World, target: Target) -> datetime | None:
    """As the plan says; where the plan was made before that was seen, as it is seen now."""
    if target.lost_at:
        return from_text(target.lost_at)
    return world.watching.outage(target.system).since if world.watching else None


def verify_outside(world: World, target: Target, patience: Patience) -> Done:
    last = ""

    def look() -> Done | None:
        nonlocal last
        answer = world.applications.read_from_outside(target.system)
        last = _said(answer)
        return _judged_outside(world, target, patience, answer)

    what = f"read {target.system} through the citizens' entry"
    return until(look, lambda: last, what, target, patience, HTTP_POLL_SECONDS)


def _said(answer: Answer) -> str:
    return f"HTTP {answer.status}, epoch {answer.epoch} at {answer.site or 'no site'}: {answer.text}"
