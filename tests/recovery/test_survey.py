"""What the world says when a plan is asked for: who does not answer is a fact with its reason, and stops nobody."""

from __future__ import annotations

from dataclasses import replace

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SystemId
from recovery.survey import Survey
from tests.recovery.scene import LOST, SURVIVOR, Scene, move_scene, scene

SHARE, HOMETAX, EGOV = SystemId("share"), SystemId("hometax"), SystemId("egov")


def survey(stage: Scene) -> Survey:
    world = stage.world
    return Survey(SURVIVOR, world.world(), world, world, lambda system: (f"{system} differs",), lambda s, lost: "run-0")


def test_a_copy_that_does_not_answer_is_told_with_its_reason_and_the_others_are_known() -> None:
    stage = scene()
    stage.world.servers[SHARE, SURVIVOR].alive = False
    told = survey(stage).of_loss(LOST, stage.world.estate.at_home(LOST))
    assert told[SHARE].replica is None
    assert told[SHARE].trouble
    assert {system for system, fact in told.items() if fact.replica is None} == {SHARE}
    assert set(told) == {system.id for system in stage.world.estate.at_home(LOST)}


def test_what_the_journal_and_the_comparison_say_of_a_system_stands_in_its_fact() -> None:
    stage = scene()
    told = survey(stage).of_loss(LOST, [stage.world.estate.system(HOMETAX)])[HOMETAX]
    assert (told.cleared_by, told.drift) == ("run-0", ("hometax differs",))
    assert told.outage.since is not None


def test_a_store_that_does_not_answer_leaves_its_documents_unknown_and_the_rows_known() -> None:
    stage = scene()

    class Silent:
        def newest(self, dataset: object) -> None:
            raise Unreachable("store.silent", "read the canary", "connection refused")

    here = survey(stage)
    told = replace(here, world=replace(here.world, marks=Silent())).of_loss(LOST, [stage.world.estate.system(EGOV)])[
        EGOV
    ]
    assert told.replica is not None
    assert [(copy.newest_canary_at, copy.trouble) for copy in told.documents] == [
        (None, f"{EGOV}/documents: connection refused")
    ]


def test_of_a_pair_the_copy_is_asked_only_where_it_follows() -> None:
    stage = move_scene()
    stage.world.servers[HOMETAX, SURVIVOR].branch, stage.world.servers[HOMETAX, SURVIVOR].length = 0, 10_000
    systems = [stage.world.estate.system(name) for name in (SHARE, HOMETAX)]
    told = survey(stage).of_pairs(systems)
    assert told[SHARE].streams
    assert told[SHARE].canary_age_seconds is not None
    assert (told[HOMETAX].streams, told[HOMETAX].canary_age_seconds) == (False, None)
