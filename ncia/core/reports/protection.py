"""How well a system is protected now, rows and documents, from what was measured: what would be lost, since when alone.

A system is as well protected as its worst dataset: an act is its rows and its document.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ncia.core.base.clock import from_text
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate, Replication, System
from ncia.core.journal.entries import Verdict
from ncia.core.reports.looks import WORST_FIRST, Looks
from ncia.core.state import Run, State, Step

Active = Mapping[SystemId, tuple[SiteId, int]]  # where each system is active, and under which epoch

CLAIM, OUTSIDE = "claim_epoch", "verify_outside"  # the steps that begin the time alone, and that end an outage
RESTORES = ("make_synchronous", "require_partner")  # the steps after which commits have a partner again
BIRTH_EPOCH = 1
IN_SYNC_SECONDS = 15.0  # a synchronous copy whose newest canary is older is not known to be in sync


@dataclass(frozen=True)
class Protection:
    """``predicted_loss_seconds`` of acknowledged acts, were the active site lost now; None is not known.

    ``commits_wait``: the active side acknowledges nothing that the other site does not have. ``alone_since``: promoted
    then, and no copy was seen to follow since; or, of a synchronous system, commits wait for nobody since then.
    """

    active_site: SiteId
    epoch: int | None
    replica_site: SiteId
    replica_verdict: Verdict
    lag_seconds: float | None
    predicted_loss_seconds: float | None
    stale: bool
    commits_wait: bool
    alone_since: datetime | None


def protection_of(system: System, estate: Estate, state: State, looks: Looks, active: Active) -> Protection:
    at, epoch = active.get(system.id, (system.home, None))
    peer = estate.peer_of(at)
    subjects = [f"replica:{system.id}@{peer}", *(f"mirror:{d.id}@{peer}" for d in system.documents)]
    copies = [looks.at(subject) for subject in subjects]
    replica = min(copies, key=lambda copy: WORST_FIRST.index(copy.verdict))
    since = None if any(c.since is None for c in copies) else max(c.since for c in copies if c.since is not None)
    lag, lag_stale = _worst([looks.measure(subject, "canary_age_seconds") for subject in subjects])
    loss, loss_stale = _worst([looks.grown(subject, "predicted_loss_seconds") for subject in subjects])
    claimed = claimed_at(system.id, state)
    alone = claimed if claimed and not _follows_since(claimed, replica.verdict, since) else None
    moved = claimed is not None or (epoch or BIRTH_EPOCH) > BIRTH_EPOCH  # a promotion clears the requirement
    restored = last_step(system.id, state, RESTORES)
    if restored is not None and (claimed is None or restored > claimed):
        moved = False  # a partner is required again, or was all the time: a planned move
    synchronous = system.postgres.replication is Replication.SYNCHRONOUS
    change = state.syncs.get(system.id) if synchronous else None
    if change is not None and claimed is not None and change.at <= claimed:
        change = None  # of the primary before this one
    waits = synchronous and (change.waits if change is not None else not moved)
    if change is not None:
        alone = None if change.waits else change.at
    if waits:
        kept = lag is not None and lag <= IN_SYNC_SECONDS
        loss = 0.0 if kept or looks.at(f"receiver:{system.id}@{peer}").verdict == "up" else None
    elif alone and change is None:
        loss, lag = None, None  # what was measured of the copy before the promotion says nothing about after it
    return Protection(at, epoch, peer, replica.verdict, lag, loss, lag_stale or loss_stale, waits, alone)


def _worst(found: Sequence[tuple[float | None, bool]]) -> tuple[float | None, bool]:
    """The greatest of some measures, and whether any of them is old; not known where one of them is not."""
    values = [value for value, _ in found if value is not None]
    return (max(values) if len(values) == len(found) else None), any(stale for _, stale in found)


def keeps_rpo(system: System, protection: Protection) -> bool | None:
    loss = protection.predicted_loss_seconds
    return None if loss is None else loss <= system.promise.rpo_seconds


def claimed_at(system: SystemId, state: State) -> datetime | None:
    """When a run last took the system's epoch from a lost site: from then on it had no partner."""
    return last_step(system, state, (CLAIM,))


def last_step(system: SystemId, state: State, kinds: tuple[str, ...]) -> datetime | None:
    """When a step of one of these kinds last ended well for the system."""
    moments = [
        step.ended_at
        for run in state.runs.values()
        for kind in kinds
        if (step := step_of(run, system, kind)) and step.finished and step.ended_at
    ]
    return max(moments, default=None)


def step_of(run: Run, system: SystemId, kind: str) -> Step | None:
    """Steps of one system are named ``<system>/<kind>``."""
    return run.steps.get(f"{system}/{kind}")


def move_of(run: Run, system: SystemId) -> Mapping[str, Any]:
    """What the run's plan says of the system; empty where it does not move it."""
    moves = run.plan.plan.get("moves")
    found = [m for m in moves if isinstance(m, dict) and m.get("system") == system] if isinstance(moves, list) else []
    return found[0] if found else {}


def _follows_since(claimed: datetime, verdict: Verdict, since: str | None) -> bool:
    return verdict == "up" and since is not None and from_text(since) > claimed
