"""What lease.json must say, decided from what one pass of the warden saw. Pure: moments are passed in.

The rule that everything rests on: a deadline is the moment *before* the question was sent, plus the TTL, less a margin.
Whoever granted it counts its own TTL from a later moment, so the gate closes before anyone else may act.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.files import NANOSECONDS, LeaseFile, Standing

MARGIN_SECONDS = 0.5  # clocks of two hosts may drift by so much within one TTL, and etcd counts whole seconds


@dataclass(frozen=True)
class Policy:
    """What the estate says: the TTL, the peer, and which systems go on when cut off (``isolated: continue``)."""

    site: SiteId
    peer: SiteId
    ttl_seconds: float
    continues: frozenset[SystemId] = frozenset()


@dataclass(frozen=True)
class Granted:
    """The right to write, by etcd's lease or by the peer's word, counted from ``asked_boottime_ns``."""

    asked_boottime_ns: int
    ttl_seconds: float


@dataclass(frozen=True)
class FromEtcd:
    """The third vote answered. ``granted`` is ``None`` where our lease is not held; ``why_not`` then says why.

    ``unsure`` is set where the lease is held but this pass could not renew it (etcd elected a leader meanwhile).
    """

    epochs: Mapping[SystemId, Standing]
    granted: Granted | None
    why_not: str = ""
    run: RunId | None = None  # an open recovery run against this site
    run_by: SiteId | None = None
    unsure: bool = False


@dataclass(frozen=True)
class FromPeer:
    """etcd could not commit, the peer's warden answered: ``granted`` is ``None`` where it refused to confirm."""

    no_quorum: str
    epochs: Mapping[SystemId, Standing]
    granted: Granted | None
    why_not: str = ""


@dataclass(frozen=True)
class FromNobody:
    """Neither etcd nor the peer's warden answered."""

    no_quorum: str
    no_peer: str


Seen = FromEtcd | FromPeer | FromNobody


@dataclass(frozen=True)
class Word:
    """The part of lease.json that is decided."""

    deadline_boottime_ns: int
    granted_until_boottime_ns: int
    systems: Mapping[SystemId, Standing]
    reason: str


def deadline_ns(granted: Granted) -> int:
    """The last moment of ``granted``, less the margin; never after it however short the TTL."""
    return granted.asked_boottime_ns + max(0, int((granted.ttl_seconds - MARGIN_SECONDS) * NANOSECONDS))


def decide(before: LeaseFile, seen: Seen, policy: Policy, now_boottime_ns: int, fence_order: str = "") -> Word:
    """The next word, from the one before and what was seen. ``fence_order`` is the reason of a person or run that
    ordered this site fenced; it outranks everything."""
    if fence_order:
        return _fenced(before, _standings(before, seen), f"fenced by order: {fence_order}")
    if isinstance(seen, FromEtcd):
        return _by_quorum(before, seen, now_boottime_ns)
    systems = _standings(before, seen)
    if isinstance(seen, FromPeer):
        if seen.granted is not None:
            reason = f"etcd has no quorum; the warden of {policy.peer} confirms that no run is open and no epoch higher"
            return _granted(before, systems, deadline_ns(seen.granted), reason)
        what = f"etcd has no quorum and {policy.peer} does not confirm: {seen.why_not}"
        return _lapsing(before, systems, what, now_boottime_ns)
    return _isolated(before, systems, policy, now_boottime_ns)


def merge(known: Mapping[SystemId, Standing], told: Mapping[SystemId, Standing]) -> dict[SystemId, Standing]:
    """Both together, the higher epoch winning: an epoch never goes down."""
    merged = {system: replace(standing, deadline_boottime_ns=None) for system, standing in known.items()}
    for system, standing in told.items():
        there = merged.get(system)
        if there is None or standing.epoch >= there.epoch:
            merged[system] = replace(standing, deadline_boottime_ns=None)
    return merged


def _by_quorum(before: LeaseFile, seen: FromEtcd, now_ns: int) -> Word:
    systems = _standings(before, seen)
    if seen.run is not None:
        return _fenced(before, systems, f"fenced: recovery run {seen.run} of {seen.run_by} is open against this site")
    if seen.granted is not None:
        return _granted(before, systems, deadline_ns(seen.granted), "lease held")
    if seen.unsure:
        return _lapsing(before, systems, f"lease not renewed in this pass: {seen.why_not}", now_ns)
    return _fenced(before, systems, f"fenced: this site does not hold its lease: {seen.why_not}")


def _isolated(before: LeaseFile, systems: dict[SystemId, Standing], policy: Policy, now_ns: int) -> Word:
    """A system that may continue gives itself time, but only in an unbroken chain from a deadline once granted: after
    a freeze or a fence it cannot know what happened meanwhile."""
    own_word = deadline_ns(Granted(now_ns, policy.ttl_seconds))
    going_on = []
    for system in policy.continues & systems.keys():
        if before.deadline_of(system) > now_ns:
            systems[system] = replace(systems[system], deadline_boottime_ns=own_word)
            going_on.append(system)
    what = "cut off: neither etcd nor the peer's warden answers"
    if going_on:
        what += f"; by policy {', '.join(sorted(going_on))} continue"
    word = _lapsing(before, systems, what, now_ns)
    return replace(word, granted_until_boottime_ns=max(word.granted_until_boottime_ns, own_word)) if going_on else word


def _granted(before: LeaseFile, systems: Mapping[SystemId, Standing], deadline: int, reason: str) -> Word:
    kept = max(before.deadline_boottime_ns, deadline)
    return Word(kept, max(before.granted_until_boottime_ns, kept), systems, reason)


def _lapsing(before: LeaseFile, systems: Mapping[SystemId, Standing], what: str, now_ns: int) -> Word:
    """Nothing new was granted: what was granted before stands until its own end."""
    left = before.deadline_boottime_ns > now_ns
    reason = f"{what}; writes pass until the deadline" if left else f"fenced: the lease has run out; {what}"
    return Word(before.deadline_boottime_ns, before.granted_until_boottime_ns, systems, reason)


def _fenced(before: LeaseFile, systems: Mapping[SystemId, Standing], reason: str) -> Word:
    return Word(0, before.granted_until_boottime_ns, systems, reason)


def _standings(before: LeaseFile, seen: Seen) -> dict[SystemId, Standing]:
    """What is known together. Only etcd lifts a hold: the peer may have read before it was laid."""
    merged = merge(before.systems, {} if isinstance(seen, FromNobody) else seen.epochs)
    if isinstance(seen, FromPeer):
        for system, standing in before.systems.items():
            if standing.held_by and merged[system].epoch == standing.epoch:
                merged[system] = replace(merged[system], held_by=standing.held_by)
    return merged
