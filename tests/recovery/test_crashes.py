"""The controller is killed at every moment of a run: between intent and act, act and outcome, before and after each
write of the journal. The next one goes on, repeats no finished step, and the two sites keep their laws throughout
(:class:`tests.fakes.world.LawBroken` is raised by the world itself)."""

from __future__ import annotations

from collections import Counter

import pytest

from ncia.core.journal.entries_recovery import RunEnded, StepUndone
from tests.fakes.world import Killed
from tests.recovery.scene import LOST, SURVIVOR, Scene, scene
from tests.recovery.sweep import (
    carry_on,
    demand_nothing_repeated,
    failed_everywhere,
    killed_again_and_again,
    killed_at,
    killed_everywhere,
    only,
)

few_systems = only("share", "hometax", "patent", "onnara")


def some() -> Scene:
    return scene(change=few_systems)


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
    assert not stage.journal.bodies(StepUndone)
    demand_nothing_repeated(stage)


def test_killed_at_every_moment_the_run_is_carried_on_to_its_end() -> None:
    moments = killed_everywhere(some, Scene.plan, demand_whole)
    assert moments > 110  # every call and every write of a run, before and after


@pytest.mark.parametrize("seed", range(12))
def test_killed_again_and_again_from_a_seed_the_run_comes_to_its_end(seed: int) -> None:
    stage = scene(seed)
    deaths = killed_again_and_again(stage, seed, Scene.plan, within=120)
    demand_whole(stage)
    assert deaths > 2


def test_nothing_irreversible_is_done_twice_however_often_the_controller_dies() -> None:
    """A claim and a promotion that had taken effect are found done; what is only looked at may be looked at again."""
    for moment in range(0, 240, 3):
        stage = some()
        if killed_at(stage, moment):
            carry_on(stage)
        written = Counter(
            call for call in stage.world.calls if call.startswith(("databases.promote", "traffic.switch"))
        )
        again = {call: times for call, times in written.items() if times > 1}
        assert len(again) <= 1, again  # only the one step under way at the death may be asked for again


def test_every_call_of_a_run_may_fail_once_and_the_run_still_succeeds() -> None:
    assert failed_everywhere(some, Scene.plan, demand_whole) > 60


def test_a_controller_that_dies_between_the_second_approval_and_the_start_begins_after_its_restart() -> None:
    stage = some()
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
    stage = some()
    plan = stage.plan()
    stage.desk.stop(plan["run"], "kim", "not tonight")
    stage.restart()
    stage.desk.tick()
    assert stage.desk.run(plan["run"])["state"] == "stopped"
