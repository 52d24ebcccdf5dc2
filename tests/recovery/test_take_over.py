"""A run that another site's controller carried out is continued here once that site has lost its lease.

The other controller is killed at every moment of its run. Whatever it left (an intent without an outcome, a claim that
took effect, a promotion half done), the one that takes over looks first, repeats no finished step, and ends the run.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from ncia.core.base.ids import RunId
from ncia.core.journal.entries_recovery import (
    RunResumed,
    RunStarted,
)
from ncia.core.journal.entry import make_entry
from recovery.fencing.keys import OpenRun, run_key
from tests.fakes.journal import FakeJournal
from tests.fakes.world import Killed
from tests.recovery.scene import LOST, SURVIVOR, Scene, desk_of, scene
from tests.recovery.sweep import MOMENTS_MAX, carry_on, killed_at
from tests.recovery.test_crashes import demand_whole, few_systems

LEASE_SECONDS = 15.0


def begun_elsewhere(stage: Scene) -> Scene:
    """The same journal and etcd, as they would be had the other site's controller carried the run out so far."""
    journal = FakeJournal(SURVIVOR, stage.world.now)
    for number, entry in enumerate(stage.journal.written):
        body: Any = entry.body
        if isinstance(body, RunStarted | RunResumed):
            body = body.model_copy(update={"site": LOST})
        journal.written.append(make_entry(LOST, number, entry.at, entry.by, 0, body))
    for lost, opened in stage.world.claims.runs().items():
        stage.world.etcd.put(run_key(lost), OpenRun(lost, opened.run, LOST).value())
    stage.world.kill_at = None
    stage.journal, stage.desk = journal, desk_of(stage.world, journal)
    return stage


def test_the_other_controller_is_killed_at_every_moment_and_its_run_is_carried_on_here() -> None:
    taken_over = 0
    for moment in count(0, 3):
        assert moment < MOMENTS_MAX
        stage = scene(change=few_systems)
        if not killed_at(stage, moment):
            break
        begun = any(run["started_at"] and not run["outcome"] for run in stage.desk.runs())
        begun_elsewhere(stage)
        stage.world.live(LEASE_SECONDS)
        carry_on(stage)
        demand_whole(stage)
        resumed = stage.journal.bodies(RunResumed)
        assert [body.site for body in resumed] == [SURVIVOR] * begun
        taken_over += begun
    assert taken_over > 25


def test_a_run_is_left_alone_while_its_site_holds_its_lease_and_then_taken_over() -> None:
    stage = scene(burnt=False, change=few_systems)
    stage.world.burn(LOST)  # and its lease runs for a while yet
    plan = approved(stage)
    begun_elsewhere(stage)
    stage.desk.tick()
    assert stage.journal.bodies(RunResumed) == []
    assert stage.world.claims.lease_state(LOST).held
    stage.world.live(LEASE_SECONDS)
    stage.desk.tick()
    assert [(body.run, body.site) for body in stage.journal.bodies(RunResumed)] == [(plan, SURVIVOR)]
    demand_whole(stage)


def approved(stage: Scene) -> RunId:
    """Plan and approvals, and a controller that dies as soon as the run has begun."""
    plan = stage.plan()
    stage.approve(plan, "kim")
    stage.world.kill_at = stage.world.moments + 6
    with pytest.raises(Killed):
        stage.approve(plan, "lee")
    assert stage.journal.bodies(RunStarted)
    return RunId(str(plan["run"]))


def test_who_was_superseded_finds_its_claims_refused() -> None:
    """The first controller was only slow: etcd has given its run to another, and each of its claims is refused."""
    stage = scene(change=few_systems)
    plan = stage.plan()
    stage.approve(plan, "kim")

    def taken(call: str) -> None:
        opened = stage.world.claims.runs().get(LOST)
        if call.startswith("claims.claim_epoch") and opened is not None and opened.site == SURVIVOR:
            stage.world.etcd.put(run_key(LOST), OpenRun(LOST, opened.run, LOST).value())

    stage.world.watchers.append(taken)
    stage.approve(plan, "lee")
    run = stage.desk.run(plan["run"])
    assert run["state"] == "stopped"
    assert "has taken run" in run["sentence"]
    assert {epoch.epoch for epoch in stage.world.claims.epochs().values()} == {1}
