"""What a plan is, frozen, and its canonical form: what stands in the journal and what people sign."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.journal.canonical import canonical

VERSION = 1
LOST_SITE, SYSTEMS_AWAY, ONE_SYSTEM = "lost_site", "systems_away", "one_system"  # what a runbook moves


@dataclass(frozen=True)
class Loss:
    """``seconds`` of acknowledged acts that would be lost; ``None`` is unknown, which is red."""

    seconds: float | None
    how: Literal["synchronous", "measured", "unknown", "planned"]
    sentence: str
    measured_at: str = ""  # of the newest mark at the copy that would be promoted
    accepted: str = ""  # the reason given for going on all the same


@dataclass(frozen=True)
class Move:
    """One system's way to the other site. ``mod_revision`` is what its claim compares with."""

    system: SystemId
    name: str
    grade: int
    wave: int
    from_site: SiteId
    to_site: SiteId
    epoch: int  # the one that the claim makes
    mod_revision: int
    depends_on: tuple[SystemId, ...]  # those that move too
    loss: Loss
    lost_at: str  # since when citizens are without it; empty where they are not
    promise_rpo_seconds: float
    promise_rto_seconds: float
    expected_seconds: float = 0.0  # from the start of the run until it is served
    synchronous: bool = False  # of a planned move only: commits wait for the partner, before and after


@dataclass(frozen=True)
class PlannedStep:
    """``needs``: steps that must be done before. Run steps have no system."""

    id: str
    kind: str
    system: str
    needs: tuple[str, ...]
    timeout_seconds: float
    expected_seconds: float


@dataclass(frozen=True)
class LeftOut:
    system: SystemId
    why: str
    accepted: str


@dataclass(frozen=True)
class Plan:
    """Frozen: everything that a run does follows from it. ``estimated``: kinds whose seconds were never measured.
    In a planned move ``lost_site`` is the side that gives the systems up, and lives."""

    version: int
    run: RunId
    runbook: str
    runbook_sha256: str
    estate_hash: str
    lost_site: SiteId
    site: SiteId
    made_at: str
    approvals: int
    lease_ttl_seconds: float
    moves_at_once: int
    moves: tuple[Move, ...]
    left_out: tuple[LeftOut, ...]
    steps: tuple[PlannedStep, ...]
    notes: tuple[str, ...]
    estimated: tuple[str, ...]
    expected_seconds: float = 0.0
    what_moves: str = LOST_SITE

    @property
    def is_planned_move(self) -> bool:
        return self.what_moves != LOST_SITE

    def to_json(self) -> dict[str, Any]:
        """The canonical form as plain values: what stands in the journal and is hashed."""
        told: dict[str, Any] = json.loads(json.dumps(self, default=vars))
        if not self.is_planned_move:  # as such plans were before there were others: their hashes are signed
            del told["what_moves"]
            for move in told["moves"]:
                del move["synchronous"]
        return told

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Plan:
        moves = tuple(
            Move(**{**m, "depends_on": tuple(m["depends_on"]), "loss": Loss(**m["loss"])}) for m in told["moves"]
        )
        steps = tuple(PlannedStep(**{**s, "needs": tuple(s["needs"])}) for s in told["steps"])
        rest = {
            "moves": moves,
            "steps": steps,
            "left_out": tuple(LeftOut(**item) for item in told["left_out"]),
            "notes": tuple(told["notes"]),
            "estimated": tuple(told["estimated"]),
        }
        return cls(**{**told, **rest})

    @property
    def hash(self) -> str:
        return plan_hash(self.to_json())

    def move_of(self, system: str) -> Move:
        return next(move for move in self.moves if move.system == system)


def plan_hash(told: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the canonical JSON of a plan, as it stands in its journal entry."""
    return hashlib.sha256(canonical(dict(told))).hexdigest()


def with_forecast(plan: Plan, served_after: Mapping[str, float], seconds: float) -> Plan:
    """The same plan, saying when each system will be served and when the run ends."""
    moves = tuple(replace(m, expected_seconds=round(served_after[m.system], 2)) for m in plan.moves)
    return replace(plan, moves=moves, expected_seconds=round(seconds, 2))
