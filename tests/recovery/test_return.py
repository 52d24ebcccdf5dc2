"""A lost site's return and planned moves on the world in memory: nothing acknowledged is lost, nothing stranded unseen,
whatever is interrupted. The world itself raises :class:`tests.fakes.pair.LawBroken` where a law is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId, SystemId
from ncia.core.journal.entries_recovery import (
    DivergenceListed,
    DocumentsStranded,
    RunEnded,
    StepEnded,
    StepUndone,
)
from recovery.step import Target
from recovery.steps import KINDS
from recovery.sync import standby_names
from tests.fakes.world import FakePatience, FakeWorld, Meanwhile
from tests.recovery.scene import LOST, SURVIVOR, Scene, move_scene, return_scene, scene
from tests.recovery.sweep import (
    carry_on,
    demand_nothing_repeated,
    failed_everywhere,
    killed_again_and_again,
    killed_everywhere,
    only,
)

SHARE, HOMETAX, ONNARA = (SystemId(name) for name in ("share", "hometax", "onnara"))
few = only(SHARE, HOMETAX, ONNARA)  # one, one that depends on it, and one that stays where it is


def returned() -> Scene:
    return return_scene(change=few)


def demand_home(stage: Scene) -> None:
    """All at home under the next epoch, protected by the other site, nothing lost, everything stranded listed once."""
    world, run = stage.world, stage.desk.runs()[0]
    assert run["outcome"] == "succeeded", run["sentence"]
    assert len(stage.journal.bodies(RunEnded)) == 1
    for system in world.estate.at_home(LOST):
        assert world.writable(system.id, LOST) == 3
        assert world.positions[system.id].site == LOST
        assert world.pair.streams(system.id, SURVIVOR)
        world.pair.demand_kept(system.id, world.servers[system.id, LOST])
        world.pair.demand_documents(system.id, LOST)
        waits = world.servers[system.id, LOST].waits_for
        assert waits == (standby_names(SURVIVOR) if system.postgres.replication == "synchronous" else "")
        assert world.claims.epochs()[system.id].site == LOST
        assert (system.id, SURVIVOR) not in world.pair.slots  # a copy keeps no WAL for whom it sent to before
    assert world.etcd.prefix("/ncia/holds/") == world.etcd.prefix("/ncia/words/") == ()
    listed = [(body.system, body.rows) for body in stage.journal.bodies(DivergenceListed)]
    assert sorted(listed) == sorted((s.id, 2) for s in world.estate.at_home(LOST))
    documents = [(body.system, body.documents) for body in stage.journal.bodies(DocumentsStranded)]
    assert sorted(documents) == sorted((s.id, 1) for s in world.estate.at_home(LOST))
    demand_nothing_repeated(stage)


def test_a_returned_sites_systems_go_home_and_what_was_stranded_is_listed_before_it_is_rewound() -> None:
    stage = return_scene()
    carry_on(stage, Scene.plan_return)
    demand_home(stage)
    steps = [body.step for body in stage.journal.bodies(StepEnded)]
    assert steps.index("share/verify_outside") < steps.index("hometax/hold")


def test_the_plan_of_a_return_says_what_will_happen_and_that_nothing_is_lost() -> None:
    told = return_scene().plan_return()
    assert told["to_site"] == LOST
    assert {m["loss"]["how"] for m in told["plan"]["moves"]} == {"planned"}
    assert {m["loss"]["seconds"] for m in told["plan"]["moves"]} == {0.0}
    assert any("is listed, with its rows, before anything is rewound" in note for note in told["plan"]["notes"])
    assert any(f"documents that only {LOST} holds are listed too, and stay" in note for note in told["plan"]["notes"])
    assert any("citizens wait about" in note for note in told["plan"]["notes"])
    assert told["plan"]["expected_seconds"] > 0


def test_killed_at_every_moment_a_return_is_carried_on_to_its_end() -> None:
    moments = killed_everywhere(returned, Scene.plan_return, demand_home)
    assert moments > 150  # every call and every write of the run, before and after


@pytest.mark.parametrize("seed", range(6))
def test_killed_again_and_again_from_a_seed_a_return_comes_to_its_end(seed: int) -> None:
    stage = return_scene(seed)
    deaths = killed_again_and_again(stage, seed, Scene.plan_return, within=160)
    demand_home(stage)
    assert deaths > 2


def test_every_call_of_a_return_may_fail_once_and_it_still_succeeds() -> None:
    assert failed_everywhere(returned, Scene.plan_return, demand_home) > 60


# --- what stops a move, and what is taken back ------------------------------------------------------------------------


def served_at(world: FakeWorld, system: SystemId) -> list[str]:
    return [site for site in world.estate.centres if world.writable(system, site)]


def stopped_at(stage: Scene, what: str) -> dict[str, Any]:
    """The run with every call of ``what`` failing; it must end stopped."""

    def fail(call: str) -> None:
        if call.startswith(what):
            raise NciaError("test.fault", call, "it is broken")

    stage.world.watchers.append(fail)
    plan = stage.plan_return()
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    assert told["state"] == "stopped", told["sentence"]
    stage.world.watchers.remove(fail)
    return told


@pytest.mark.parametrize(
    "what",
    [
        "holds.lay(share",
        "drain.compare(share",
        "copies.stop(share",
        "databases.replayed_lsn(share",
        "holds.claim(share",
    ],
)
def test_a_move_that_cannot_be_claimed_is_taken_back_and_its_citizens_are_served_where_they_were(what: str) -> None:
    stage = returned()
    stopped_at(stage, what)
    claimed = what.startswith("holds.claim")
    if not claimed:  # a claim with an unknown outcome counts as made
        assert served_at(stage.world, SHARE) == [SURVIVOR]
        assert stage.world.etcd.prefix("/ncia/holds/") == ()
    run = stage.desk.runs()[0]["run"]
    stage.world.live(1)
    stage.desk.resume(run, "kim")
    demand_home(stage)


def test_after_something_was_taken_back_what_had_been_seen_is_looked_at_again() -> None:
    """The copy had everything; then the old side was served again, so that is seen anew before the claim."""
    stage = returned()
    fail_after: list[str] = []

    def stop_there(call: str) -> None:
        if call.startswith("holds.claim(share") and not fail_after:
            fail_after.append(call)
            raise Refusal("test.fault", call, "not now")

    stage.world.watchers.append(stop_there)
    plan = stage.plan_return()
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    assert told["state"] == "stopped"
    assert [b.step for b in stage.journal.bodies(StepUndone) if b.step.startswith("share/")] == [
        "share/stop_old",
        "share/hold",
    ]
    stage.world.live(2)
    assert served_at(stage.world, SHARE) == [SURVIVOR]
    stage.desk.resume(plan["run"], "kim")
    assert stage.desk.run(plan["run"])["outcome"] == "succeeded"
    for step in ("share/drain", "share/drain_documents"):
        ends = [b for b in stage.journal.bodies(StepEnded) if b.step == step and b.outcome in ("done", "already")]
        assert len(ends) == 2
    stage.world.pair.demand_kept(SHARE, stage.world.servers[SHARE, LOST])


def test_a_site_that_does_not_give_its_word_keeps_the_system() -> None:
    stage = returned()
    stage.world.sides[SURVIVOR].gives_words = False
    plan = stage.plan_return()
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    assert "has not given its word that its gate is shut" in told["sentence"]
    assert stage.world.claims.epochs()[SHARE].site == SURVIVOR
    stage.world.live(1)
    assert served_at(stage.world, SHARE) == [SURVIVOR]


def test_a_hold_whose_layer_died_lapses_and_the_system_is_served_where_it_is() -> None:
    stage = returned()
    epoch = stage.world.claims.epochs()[SHARE]
    stage.world.pair.holds.lay(SHARE, "run-dead", LOST, epoch.mod_revision)
    stage.world.live(3)
    assert served_at(stage.world, SHARE) == []
    stage.world.live(125)
    assert served_at(stage.world, SHARE) == [SURVIVOR]


def test_a_store_of_documents_that_is_silent_stops_the_return_before_the_rewind_and_the_rows_are_listed_once() -> None:
    stage = returned()
    told = stopped_at(stage, "documents.list_stranded(share")
    assert [s["system"] for s in told["systems"] if s["state"] == "failed"] == ["share"]
    assert not [call for call in stage.world.calls if call.startswith("copies.rewind(share")]
    assert not [b for b in stage.journal.bodies(DocumentsStranded) if b.system == SHARE]
    stage.desk.resume(told["run"], "kim")
    demand_home(stage)
    assert len([call for call in stage.world.calls if call.startswith("copies.list_stranded(share")]) == 1


def test_a_document_that_the_mirror_has_not_brought_at_the_hold_is_brought_before_the_claim() -> None:
    stage = returned()
    carry_on(stage, Scene.plan_return)
    demand_home(stage)
    ends = {body.step: body for body in stage.journal.bodies(StepEnded)}
    assert ends["hometax/drain_documents"].measured["documents_brought"] == 1
    assert ends["share/drain_documents"].measured["documents_brought"] == 0  # it has none
    steps = [body.step for body in stage.journal.bodies(StepEnded)]
    assert steps.index("hometax/hold") < steps.index("hometax/drain_documents") < steps.index("hometax/claim_held")


@pytest.mark.parametrize("call", ["drain.compare(hometax", "drain.bring(hometax"])
def test_a_store_that_is_silent_after_the_hold_leaves_the_system_where_it_was_and_nothing_is_claimed(call: str) -> None:
    stage = returned()
    told = stopped_at(stage, call)
    assert [s["system"] for s in told["systems"] if s["state"] == "failed"] == ["hometax"]
    assert stage.world.claims.epochs()[HOMETAX].site == SURVIVOR
    stage.world.live(1)
    assert served_at(stage.world, HOMETAX) == [SURVIVOR]
    assert stage.world.etcd.prefix("/ncia/holds/") == ()
    stage.desk.resume(told["run"], "kim")
    demand_home(stage)


@pytest.mark.parametrize("behind", [None, 11.0])
def test_citizens_do_not_wait_for_a_mirror_that_is_far_behind(behind: float | None) -> None:
    stage = move_scene(change=few)
    stage.world.pair.documents_behind[HOMETAX] = behind
    told = move(stage, HOMETAX)
    assert (told["state"], served_at(stage.world, HOMETAX)) == ("stopped", [LOST])
    assert not [call for call in stage.world.calls if call.startswith("holds.lay")]
    assert ("no canary" if behind is None else "11 s behind") in told["sentence"]
    stage.world.pair.documents_behind[HOMETAX] = 9.0
    assert stage.desk.resume(told["run"], "kim")["outcome"] == "succeeded"


def test_documents_are_compared_since_the_run_by_which_the_other_site_has_the_system() -> None:
    stage = returned()
    carry_on(stage, Scene.plan_return)
    asked = {call for call in stage.world.calls if call.startswith("documents.list_stranded")}
    assert asked == {f"documents.list_stranded({s}@{LOST} since run-of-the-loss)" for s in (SHARE, HOMETAX)}
    assert {s["stranded_documents"] for s in stage.desk.runs()[0]["systems"]} == {1}


# --- who may not ------------------------------------------------------------------------------------------------------


def refusal(of: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        of()
    return caught.value


def test_a_return_is_refused_where_nothing_is_away_at_the_wrong_side_and_while_a_run_is_open() -> None:
    stage = move_scene(change=few)
    assert refusal(lambda: stage.desk.plan("site_failback", LOST, "kim", {})).code == "recovery.wrong-side"
    assert refusal(lambda: stage.desk.plan("site_failback", SURVIVOR, "kim", {})).code == "recovery.nothing-moves"
    assert refusal(lambda: stage.desk.plan("site_failback", "witness", "kim", {})).code == "recovery.no-such-site"
    back = returned()
    back.world.claims.open_run(LOST, "run-x", SURVIVOR)
    assert refusal(back.plan_return).code == "recovery.run-open"
    assert refusal(lambda: back.desk.plan("site_failback", LOST, "kim", {"share": "why"})).code == (
        "recovery.nothing-to-accept"
    )


def test_a_return_is_refused_while_the_returned_site_holds_no_lease() -> None:
    stage = returned()
    side = stage.world.sides[LOST]
    side.sees_etcd = False
    stage.world.live(20)
    found = refusal(stage.plan_return)
    assert (found.code, found.why) == ("recovery.not-alive", f"{LOST} holds no lease")


def test_a_lease_that_is_taken_again_a_moment_later_does_not_end_a_planned_move() -> None:
    stage = returned()
    side = stage.world.sides[LOST]
    side.sees_etcd = False
    stage.world.live(20)
    target = Target(RunId("run-1"), SURVIVOR, LOST, lease_ttl_seconds=10.0, timeout_seconds=30.0)
    do = KINDS["both_alive"].do
    with pytest.raises(Refusal) as caught:
        do(stage.world.world(), target, FakePatience(stage.world))
    assert (caught.value.code, caught.value.why) == ("recovery.not-alive", f"{LOST} holds no lease")

    def sees() -> None:
        side.sees_etcd = True

    assert "hold their leases" in do(stage.world.world(), target, Meanwhile(stage.world, sees)).evidence


def test_a_copy_that_streams_again_a_moment_later_does_not_end_a_planned_move() -> None:
    stage = move_scene(change=few)
    world, patience = stage.world, FakePatience(stage.world)
    epoch = world.claims.epochs()[SHARE]
    here, there = epoch.site, world.estate.peer_of(epoch.site)
    target = Target(
        RunId("run-1"), here, there, 10.0, 30.0, system=SHARE, epoch=epoch.epoch + 1, mod_revision=epoch.mod_revision
    )
    parts = world.world()
    KINDS["hold"].do(parts, target, patience)
    copy = world.servers[SHARE, there]
    copy.alive = False
    with pytest.raises(Refusal) as caught:
        KINDS["stop_old"].do(parts, target, patience)
    assert caught.value.code == "recovery.not-streaming"

    def follows_again() -> None:
        copy.alive = True

    KINDS["stop_old"].do(parts, target, Meanwhile(world, follows_again))
    assert not world.servers[SHARE, here].alive


def test_a_return_whose_active_server_does_not_answer_is_refused_by_name() -> None:
    stage = returned()
    stage.world.servers[SHARE, SURVIVOR].alive = False
    assert "share: its server at gwangju does not answer" in refusal(stage.plan_return).why


# --- one system ------------------------------------------------------------------------------------------------------


def move(stage: Scene, system: SystemId) -> dict[str, Any]:
    plan = stage.desk.plan("system_failover", system, "kim", {})
    stage.approve(plan, "kim")
    return stage.approve(plan, "lee")


def test_one_system_moves_while_both_sites_live_and_is_protected_all_the_time() -> None:
    stage = move_scene(change=few)
    told = move(stage, HOMETAX)
    assert told["outcome"] == "succeeded"
    assert (served_at(stage.world, HOMETAX), served_at(stage.world, SHARE)) == ([SURVIVOR], [LOST])
    assert stage.world.pair.streams(HOMETAX, LOST)
    assert stage.world.servers[HOMETAX, SURVIVOR].waits_for == standby_names(LOST)
    stage.world.pair.demand_kept(HOMETAX, stage.world.servers[HOMETAX, SURVIVOR])
    assert 0 < told["systems"][0]["pause_seconds"] < 10


def test_a_system_that_was_moved_goes_home_without_a_rewind() -> None:
    stage = move_scene(change=few)
    assert move(stage, HOMETAX)["outcome"] == "succeeded"
    stage.world.own, stage.world.other = LOST, SURVIVOR
    stage.restart()
    plan = stage.plan_return()
    stage.approve(plan, "kim")
    assert stage.approve(plan, "lee")["outcome"] == "succeeded"
    assert served_at(stage.world, HOMETAX) == [LOST]
    assert not [call for call in stage.world.calls if call.startswith("copies.rewind")]
    assert [body.timeline for body in stage.journal.bodies(DivergenceListed)] == [0]


def test_a_system_whose_copy_is_behind_is_not_moved() -> None:
    stage = move_scene(change=few)
    server = stage.world.servers[HOMETAX, SURVIVOR]
    server.branch, server.length = 0, 10_000
    found = refusal(lambda: stage.desk.plan("system_failover", HOMETAX, "kim", {}))
    assert "hometax: its copy at gwangju does not stream, so it would be behind" in found.why


def test_the_plan_of_one_system_names_what_will_be_called_over_the_wan() -> None:
    notes = move_scene().desk.plan("system_failover", HOMETAX, "kim", {})["plan"]["notes"]
    assert notes[0] == "it calls share wherever they are active, over the WAN where that is not gwangju"
    assert "g2b" in notes[1]
    assert "over the WAN from daejeon" in notes[1]


def test_an_unknown_system_is_told_with_those_there_are() -> None:
    with pytest.raises(NciaError, match="not in the estate"):
        move_scene().desk.plan("system_failover", "nothing", "kim", {})


def test_a_loss_is_recovered_though_a_planned_move_was_left_unfinished() -> None:
    stage = scene(change=few, burnt=False)
    plan = stage.desk.plan("system_failover", HOMETAX, "kim", {})
    stage.approve(plan, "kim")
    stage.world.sides[LOST].gives_words = False
    stage.approve(plan, "lee")
    stage.world.burn(LOST)
    stage.world.live(1)
    failover = stage.plan()
    stage.approve(failover, "kim")
    assert stage.approve(failover, "lee")["outcome"] == "succeeded"
