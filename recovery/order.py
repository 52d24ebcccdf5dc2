"""In which order a plan moves its systems, and which step waits for which.

Pure. It serves every runbook: a lost site, a site that returned, one system.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ncia.core.base.ids import SystemId
from ncia.core.estate.model import Estate, System
from recovery.planned import Move, PlannedStep
from recovery.runbook import Runbook, RunbookStep
from recovery.steps import KINDS

LEASE_WAITS_MAX = 2  # etcd starts a TTL anew when it elects a leader
ELECTION_SECONDS = 10.0


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
