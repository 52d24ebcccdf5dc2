"""The desk: plan, two people, one run; who may not, and what is told then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    PlanMade,
    RunStarted,
    StepEnded,
    StepIntended,
)
from recovery.plan import PlanRefused
from tests.recovery.scene import LOST, SURVIVOR, Scene, approval, desk_of, keys, scene

MOVED = 9


def carried_out(of: Scene) -> dict[str, Any]:
    plan = of.plan()
    of.approve(plan, "kim")
    return of.approve(plan, "lee")


def impatient(of: Estate) -> Estate:
    """A step has half a second."""
    return replace(of, settings=replace(of.settings, step_timeout_seconds=0.5))


def refusal_of(of: Scene, plan: dict[str, Any], person: str, **changed: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        of.approve(plan, person, **changed)
    return caught.value


def test_a_plan_is_journalled_and_changes_nothing() -> None:
    stage = scene()
    plan = stage.plan()
    assert [body.plan_hash for body in stage.journal.bodies(PlanMade)] == [plan["plan_hash"]]
    quiet = ("replica", "receivers.received", "marks")
    looks = [call for call in stage.world.calls if not any(word in call for word in quiet)]
    assert looks == ["claims.runs()", "claims.epochs()", "claims.syncs()"]
    assert plan["commands"] == [f"ncia recover approve {plan['run']} --key PATH"] * 2


def test_the_second_approval_starts_the_run_and_every_system_is_served_from_the_other_site() -> None:
    stage = scene()
    plan = stage.plan()
    first = stage.approve(plan, "kim")
    assert (first["state"], first["sentence"]) == ("planned", "waits for 1 approval")
    told = stage.approve(plan, "lee")
    assert told["outcome"] == "succeeded"
    assert [s["state"] for s in told["systems"]] == ["served"] * MOVED
    assert all(stage.world.writable(SystemId(s["system"]), SURVIVOR) == 2 for s in told["systems"])
    assert "all 9 systems of daejeon are served from gwangju" in told["sentence"]


def test_the_run_tells_when_the_lease_was_gone_and_what_each_system_cost() -> None:
    told = carried_out(scene())
    assert told["lease_expired_seen_at"] > told["started_at"]
    share = next(s for s in told["systems"] if s["system"] == "share")
    assert share["first_write_at"] > told["lease_expired_seen_at"]
    assert 8 < share["rto_seconds"] < 15
    assert share["unprotected_since"]


def test_what_was_moved_has_its_epoch_raised_and_the_run_is_closed_in_etcd() -> None:
    stage = scene()
    carried_out(stage)
    assert {e.epoch for e in stage.world.claims.epochs().values() if e.run} == {2}
    assert stage.world.claims.runs() == {}
    assert stage.world.sides[SURVIVOR].confirming


def test_the_next_plan_expects_what_was_measured() -> None:
    stage = scene()
    carried_out(stage)
    assert stage.desk._runs.durations()["promote"] < 0.1
    assert set(stage.desk._runs.durations()) >= {"fence", "promote", "switch_traffic"}


# --- approvals -------------------------------------------------------------------------------------------------------


def test_both_approvals_by_one_person_are_one_approval() -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "kim")
    assert refusal_of(stage, plan, "kim").code == "approval.same-person"
    assert stage.desk.run(plan["run"])["approvals_missing"] == 1


@pytest.mark.parametrize(
    ("person", "changed", "code"),
    [
        ("choi", {}, "approval.role"),
        ("park", {}, "approval.role"),
        ("kim", {"key": "stranger"}, "approval.forged"),
        ("kim", {"key": "lee"}, "approval.forged"),
        ("kim", {"plan_hash": "00" * 32}, "approval.other-plan"),
        ("kim", {"seconds": -1}, "approval.expired"),
        ("kim", {"seconds": 7200}, "approval.too-long"),
    ],
    ids=["auditor", "operator", "forged", "signed with another's key", "another plan's hash", "expired", "too long"],
)
def test_what_is_no_approval_starts_nothing_and_stands_in_the_journal(
    person: str, changed: dict[str, Any], code: str
) -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "lee")
    if "key" in changed:
        changed = {"key": keys()[changed["key"]]}
    refusal = refusal_of(stage, plan, person, **changed)
    assert refusal.code == code
    assert [body.reason for body in stage.journal.bodies(ApprovalRefused)] == [refusal.why]
    assert stage.journal.bodies(RunStarted) == []


def test_an_unknown_person_is_refused() -> None:
    stage = scene()
    plan = stage.plan()
    assert refusal_of(stage, plan, "nobody", key=keys()["kim"]).code == "approval.unknown-person"


def test_a_person_without_a_public_key_in_the_estate_is_refused() -> None:
    def without_key(of: Any) -> Any:
        people = dict(of.people)
        people["lee"] = replace(people["lee"], public_key="")
        return replace(of, people=people)

    stage = scene(change=without_key)
    assert refusal_of(stage, stage.plan(), "lee").code == "approval.no-key"


def test_an_approval_for_one_run_is_none_for_another() -> None:
    stage = scene()
    first, second = stage.plan(), stage.plan()
    sent = approval(first, "kim", stage.world.now())
    with pytest.raises(Refusal) as caught:
        stage.desk.approve(**{**sent, "run": second["run"], "plan_hash": second["plan_hash"]})
    assert caught.value.code == "approval.forged"


def test_refusals_fill_the_journal_only_so_far() -> None:
    stage = scene()
    plan = stage.plan()
    for _ in range(110):
        refusal_of(stage, plan, "choi")
    assert len(stage.journal.bodies(ApprovalRefused)) == 100


def test_nobody_starts_a_run_that_one_person_approved() -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "kim")
    with pytest.raises(Refusal) as caught:
        stage.desk.start(plan["run"], "kim")
    assert (caught.value.code, caught.value.why) == ("recovery.not-approved", "1 approval missing; approved by kim")


def test_an_approval_that_is_in_the_journal_but_was_never_signed_counts_for_nothing() -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "kim")
    planted = stage.journal.bodies(ApprovalGiven)[0].model_copy(update={"person": "lee"})
    stage.journal.append_all([planted], by="somebody with the journal's key")
    stage.desk.tick()
    with pytest.raises(Refusal) as caught:
        stage.desk.start(plan["run"], "kim")
    assert caught.value.why == "1 approval missing; approved by kim"


def test_approvals_that_expired_before_the_start_count_for_nothing() -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "kim", seconds=100)
    stage.world.live(200)
    with pytest.raises(Refusal):
        stage.approve(plan, "lee")
    assert stage.journal.bodies(RunStarted) == []


# --- when nothing may be promoted ------------------------------------------------------------------------------------


def test_a_cut_link_alone_promotes_nothing() -> None:
    stage = scene(burnt=False)
    plan = stage.plan(**dict.fromkeys(["patent"], "only a trial"))
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    assert told["state"] == "stopped"
    assert "that site lives; nothing was promoted" in told["sentence"]
    assert not [call for call in stage.world.calls if "promote" in call or "claim_epoch" in call]
    assert all(stage.world.writable(s, LOST) == 1 for s in stage.world.estate.systems if s not in ("onnara", "epeople"))


def test_without_quorum_there_is_no_plan_and_it_says_so() -> None:
    stage = scene()
    stage.world.etcd.quorum = False
    with pytest.raises(NoQuorum, match="no quorum"):
        stage.plan()


def test_a_quorum_lost_after_the_approvals_promotes_nothing_and_the_run_can_be_resumed() -> None:
    stage = scene()
    plan = stage.plan()
    stage.approve(plan, "kim")
    stage.world.etcd.quorum = False
    told = stage.approve(plan, "lee")
    assert told["state"] == "stopped"
    assert "no quorum" in told["sentence"]
    assert not [call for call in stage.world.calls if "promote" in call]
    stage.world.etcd.quorum = True
    assert stage.desk.resume(plan["run"], "kim")["outcome"] == "succeeded"


def test_a_copy_behind_its_promise_is_refused_at_the_desk_with_the_override() -> None:
    stage = scene()
    stage.world.servers[SystemId("patent"), SURVIVOR].canary_at = stage.world.now().replace(year=2025)
    with pytest.raises(PlanRefused) as caught:
        stage.plan()
    assert "--accept-loss patent=REASON" in caught.value.hint
    assert stage.journal.bodies(PlanMade) == []
    assert stage.plan(patent="the office has its own copy")["run"]


def test_a_missing_copy_is_refused() -> None:
    stage = scene()
    stage.world.servers[SystemId("gangnam-tax"), SURVIVOR].alive = False
    with pytest.raises(PlanRefused, match="does not answer: connection refused"):
        stage.plan()


def test_a_second_plan_is_refused_while_a_run_is_open() -> None:
    stage = scene()
    stage.world.claims.open_run(LOST, "run-elsewhere", SURVIVOR)
    with pytest.raises(Refusal) as caught:
        stage.plan()
    assert caught.value.code == "recovery.run-open"


def test_two_approved_plans_do_not_run_side_by_side() -> None:
    stage = scene(change=impatient)
    first, second = stage.plan(), stage.plan()
    stage.approve(second, "kim")
    stage.world.broken_applications.add(SystemId("share"))
    stage.approve(first, "kim")
    assert stage.approve(first, "lee")["state"] == "stopped"
    with pytest.raises(Refusal) as caught:
        stage.approve(second, "lee")
    assert caught.value.code == "recovery.run-open"


# --- stopping, failing, going on -------------------------------------------------------------------------------------


def test_a_stop_before_anything_was_claimed_takes_back_what_was_done() -> None:
    stage = scene()
    plan = stage.plan()

    def stop_when_open(call: str) -> None:
        if call.startswith("claims.open_run"):
            stage.world.watchers.clear()
            stage.desk.stop(plan["run"], "kim", "the fire is out")

    stage.world.watchers.append(stop_when_open)
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    assert (told["state"], told["sentence"]) == ("stopped", "the fire is out")
    assert stage.world.claims.runs() == {}
    assert stage.world.sides[SURVIVOR].confirming
    assert {s["state"] for s in told["steps"][:3]} == {"undone"}
    assert stage.desk.resume(plan["run"], "kim")["outcome"] == "succeeded"


def test_a_stop_in_the_middle_leaves_what_was_claimed_and_resuming_ends_it() -> None:
    stage = scene()
    plan = stage.plan()

    def stop_when_promoting(call: str) -> None:
        if call.startswith("databases.promote(share"):
            stage.world.watchers.clear()
            stage.desk.stop(plan["run"], "kim", "let me look")

    stage.world.watchers.append(stop_when_promoting)
    stage.approve(plan, "kim")
    assert stage.approve(plan, "lee")["state"] == "stopped"
    assert stage.world.claims.runs()[LOST].run == plan["run"]
    assert stage.desk.start(plan["run"], "kim")["outcome"] == "succeeded"


def test_a_system_that_fails_holds_up_only_what_depends_on_it() -> None:
    stage = scene(change=impatient)
    stage.world.broken_applications.add(SystemId("egov"))
    told = carried_out(stage)
    states = {s["system"]: s["state"] for s in told["systems"]}
    assert {system for system, state in states.items() if state == "served"} == set(states) - {"egov", "gangnam-civil"}
    assert told["state"] == "stopped"
    assert told["sentence"].startswith("stopped with 7 of 9 systems served: egov/verify_application failed 3 times")
    assert told["run_next"] == f"ncia recover resume {told['run']}"
    stage.world.broken_applications.clear()
    again = stage.desk.resume(told["run"], "kim")
    assert (again["outcome"], {s["state"] for s in again["systems"]}) == ("succeeded", {"served"})


def test_resuming_repeats_no_finished_step() -> None:
    stage = scene(change=impatient)
    stage.world.broken_applications.add(SystemId("egov"))
    told = carried_out(stage)
    done = {b.step for b in stage.journal.bodies(StepEnded) if b.outcome in ("done", "already")}
    before = len(stage.journal.bodies(StepIntended))
    stage.world.broken_applications.clear()
    stage.desk.resume(told["run"], "kim")
    assert done & {b.step for b in stage.journal.bodies(StepIntended)[before:]} == set()


def test_a_system_moved_by_somebody_else_since_the_plan_is_refused_and_the_others_go_on() -> None:
    stage = scene()
    plan = stage.plan()
    stage.world.live(12)
    epoch = stage.world.claims.epochs()[SystemId("patent")]
    stage.world.claims.claim_epoch(epoch.system, LOST, SURVIVOR, epoch.mod_revision, "run-elsewhere")
    stage.approve(plan, "kim")
    told = stage.approve(plan, "lee")
    patent = next(s for s in told["systems"] if s["system"] == "patent")
    assert patent["state"] == "refused"
    assert "run-elsewhere" in patent["evidence"]
    assert sum(s["state"] == "served" for s in told["systems"]) == 8


def test_the_lost_sites_own_desk_sends_people_to_the_other_one() -> None:
    stage = scene()
    plan = stage.plan()
    stage.world.own = LOST
    other = desk_of(stage.world, stage.journal.restarted())
    other._around = replace(other._around, site=LOST)
    with pytest.raises(Refusal) as caught:
        other.start(plan["run"], "kim")
    assert caught.value.hint == "ask gwangju's controller"


def test_a_site_that_comes_back_during_a_run_stays_fenced() -> None:
    stage = scene()
    plan = stage.plan()

    def come_back(call: str) -> None:
        if call.startswith("databases.promote(hometax"):
            stage.world.sides[LOST].alive = True
            for (_, site), server in stage.world.servers.items():
                server.alive = server.alive or site == LOST

    stage.world.watchers.append(come_back)
    stage.approve(plan, "kim")
    assert stage.approve(plan, "lee")["outcome"] == "succeeded"
    stage.world.live(20)
    assert all(stage.world.writable(s, LOST) == 0 for s in stage.world.estate.systems)
