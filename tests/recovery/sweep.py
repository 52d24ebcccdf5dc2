"""Interrupting a run everywhere: the controller is killed at every moment of it, or one call of it fails.

What the tests of every runbook share. A story is told by its scene, by who plans it, and by what must hold at its end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import Any

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.journal.entries_recovery import StepEnded, StepIntended, StepUndone
from tests.fakes.world import Killed
from tests.recovery.scene import Scene

MOMENTS_MAX = 2000
DEATHS_MAX = 200

Planning = Callable[[Scene], dict[str, Any]]


def only(*systems: str) -> Callable[[Estate], Estate]:
    """Few enough systems to be killed everywhere, enough for waves and dependencies."""
    return lambda of: replace(of, systems={SystemId(s): of.systems[SystemId(s)] for s in systems})


def carry_on(stage: Scene, planning: Planning = Scene.plan) -> None:
    """What people and the scheduler do, from wherever things stand."""
    stage.desk.tick()
    runs = stage.desk.runs()
    plan = runs[0] if runs else planning(stage)
    for person in ("kim", "lee"):
        found = stage.desk.run(plan["run"])
        if found["state"] == "planned" and person not in {a["person"] for a in found["approved_by"]}:
            stage.approve(plan, person)
    stage.desk.tick()


def killed_at(stage: Scene, moment: int, planning: Planning = Scene.plan) -> bool:
    """Carry on until ``moment`` and die there; false where the run was over before."""
    stage.world.kill_at = stage.world.moments + moment
    try:
        carry_on(stage, planning)
    except Killed:
        stage.restart()
        return True
    return False


def killed_everywhere(begun: Callable[[], Scene], planning: Planning, demand: Callable[[Scene], None]) -> int:
    """Kill the run at every moment, carry it on and demand its end; how many moments it has."""
    for moment in count():
        assert moment < MOMENTS_MAX
        stage = begun()
        if not killed_at(stage, moment, planning):
            break
        carry_on(stage, planning)
        demand(stage)
    return moment


def killed_again_and_again(stage: Scene, seed: int, planning: Planning, within: int) -> int:
    """Kill it within so many moments of each life, until one life ends the run; how often it died."""
    chance, deaths = random.Random(seed), 0
    while killed_at(stage, chance.randrange(1, within), planning):
        deaths += 1
        assert deaths < DEATHS_MAX
    return deaths


def failed_everywhere(begun: Callable[[], Scene], planning: Planning, demand: Callable[[Scene], None]) -> int:
    """Let each call of the run fail once and demand its end; how many calls it has, and one."""
    for number in count(1):
        stage = begun()
        plan = planning(stage)
        stage.approve(plan, "kim")
        fault = Once(stage, number)
        stage.approve(plan, "lee")
        if not fault.hit:
            break
        demand(stage)
    return number


def demand_nothing_repeated(stage: Scene) -> None:
    """No finished step was done again; after an undo, what came after it in its row may be."""
    finished: set[str] = set()
    for entry in stage.journal.merged():
        if isinstance(entry.body, StepIntended):
            assert entry.body.step not in finished, f"{entry.body.step} was done again"
        if isinstance(entry.body, StepEnded) and entry.body.outcome in ("done", "already"):
            finished.add(entry.body.step)
        if isinstance(entry.body, StepUndone):
            row = entry.body.step.partition("/")[0]
            finished = {step for step in finished if step.partition("/")[0] != row}


class Once:
    """Makes the numbered call fail as if the other side had not answered, once."""

    def __init__(self, stage: Scene, number: int) -> None:
        self.left = number
        self.hit = ""
        stage.world.watchers.append(self)

    def __call__(self, what: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.hit = what
            raise Unreachable("test.fault", what, "it did not answer")
