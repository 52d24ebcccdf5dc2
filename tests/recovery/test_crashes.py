"""The controller is killed at every moment of a run: between intent and act, act and outcome, before and after each
write of the journal. The next one goes on, repeats no finished step, and the two sites keep their laws throughout
(:class:`tests.fakes.world.LawBroken` is raised by the world itself)."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import count

import pytest

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.journal.entries_recovery import (
    RunEnded,
    StepEnded,
    StepIntended,
)
from tests.fakes.world import Killed
from tests.recovery.scene import LOST, SURVIVOR, Scene, scene

FEW = ("share", "hometax", "patent", "onnara")
CRASHES_MAX = 2000


def few_systems(of: Estate) -> Estate:
    """Enough for waves and dependencies, few enough to be killed everywhere."""
    return replace(of, systems={SystemId(s): of.systems[SystemId(s)] for s in FEW})


def carry_on(stage: Scene) -> None:
    """What people and the scheduler do, from wherever things stand."""
    stage.desk.tick()
    runs = stage.desk.runs()
    plan = runs[0] if runs else stage.plan()
    for person in ("kim", "lee"):
        found = stage.desk.run(plan["run"])
        if found["state"] == "planned" and person not in {a["person"] for a in found["approved_by"]}:
            stage.approve(plan, person)
    stage.desk.tick()


def killed_at(stage: Scene, moment: int) -> bool:
    """Carry on until ``moment`` and die there; false where the run was over before."""
    stage.world.kill_at = stage.world.moments + moment
    try:
        carry_on(stage)
    except Killed:
        stage.restart()
        return True
    return False


def demand_whole(stage: Scene) -> None:
    """Every system is served here under the next epoch and no finished step was done again."""
    run = stage.desk.runs()[0]
    assert run["outcome"] == "succeeded", run["sentence"]
    assert len(stage.journal.bodies(RunEnded)) == 1
    epochs = stage.world.claims.epochs()
    for system in stage.world.estate.at_home(LOST):
        assert (epochs[system.id].epoch, epochs[system.id].site) == (2, SURVIVOR)
        assert stage.world.writable(system.id, SURVIVOR) == 2
        assert stage.world.positions[system.id].site == SURVIVOR
    assert stage.world.claims.runs() == {}
    assert stage.world.sides[SURVIVOR].confirming
    finished: set[str] = set()
    for entry in stage.journal.merged():
        if isinstance(entry.body, StepIntended):
            assert entry.body.step not in finished, f"{entry.body.step} was done again"
        if isinstance(entry.body, StepEnded) and entry.body.outcome in ("done", "already"):
            finished.add(entry.body.step)


def test_killed_at_every_moment_the_run_is_carried_on_to_its_end() -> None:
    for moment in count():
        assert moment < CRASHES_MAX
        stage = scene(change=few_systems)
        if not killed_at(stage, moment):
            break
        carry_on(stage)
        demand_whole(stage)
    assert moment > 110  # every call and every write of a run, before and after


@pytest.mark.parametrize("seed", range(12))
def test_killed_again_and_again_from_a_seed_the_run_comes_to_its_end(seed: int) -> None:
    stage, chance = scene(seed), random.Random(seed)
    deaths = 0
    while killed_at(stage, chance.randrange(1, 120)):
        deaths += 1
        assert deaths < 200
    demand_whole(stage)
    assert deaths > 2


def test_nothing_irreversible_is_done_twice_however_often_the_controller_dies() -> None:
    """A claim and a promotion that had taken effect are found done; what is only looked at may be looked at again."""
    for moment in range(0, 240, 3):
        stage = scene(change=few_systems)
        if killed_at(stage, moment):
            carry_on(stage)
        written = Counter(
            call for call in stage.world.calls if call.startswith(("databases.promote", "traffic.switch"))
        )
        again = {call: times for call, times in written.items() if times > 1}
        assert len(again) <= 1, again  # only the one step under way at the death may be asked for again


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


def test_every_call_of_a_run_may_fail_once_and_the_run_still_succeeds() -> None:
    for number in count(1):
        stage = scene(change=few_systems)
        plan = stage.plan()
        stage.approve(plan, "kim")
        fault = Once(stage, number)
        stage.approve(plan, "lee")
        if not fault.hit:
            break
        demand_whole(stage)
    assert number > 60


def test_a_controller_that_dies_between_the_second_approval_and_the_start_begins_after_its_restart() -> None:
    stage = scene(change=few_systems)
    plan = stage.plan()
    stage.approve(plan, "kim")
    stage.world.kill_at = stage.world.moments + 2  # before and after the approval's entry, then before the start's
    with pytest.raises(Killed, match="before an append"):
        stage.approve(plan, "lee")
    stage.restart()
    assert stage.desk.run(plan["run"])["state"] == "planned"
    stage.desk.tick()
    demand_whole(stage)


def test_a_run_that_was_stopped_by_a_person_stays_stopped_after_a_restart() -> None:
    stage = scene(change=few_systems)
    plan = stage.plan()
    stage.desk.stop(plan["run"], "kim", "not tonight")
    stage.restart()
    stage.desk.tick()
    assert stage.desk.run(plan["run"])["state"] == "stopped"
