"""Plans: what moves, how long it takes, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import PersonId, RunId, SiteId, SystemId
from ncia.core.estate.model import Isolated, Unprotected
from recovery.engine import forecast
from recovery.loss_figure import Facts
from recovery.plan import Asked, PlanRefused, plan_site_failover
from recovery.planned import Plan, plan_hash
from tests.recovery.planning import DOWN, MOVING, NOW, RUNBOOK, epochs, planned, refused, replica
from tests.recovery.scene import LOST, SURVIVOR, estate


def test_every_system_active_at_the_lost_site_moves_and_no_other() -> None:
    assert {move.system for move in planned().moves} == MOVING


def test_a_system_moves_from_where_it_is_active_and_not_from_its_home() -> None:
    plan = planned(at=epochs(onnara=LOST, egov=SURVIVOR))
    assert {move.system for move in plan.moves} == MOVING - {"egov"} | {"onnara"}


# --- refusals ---------------------------------------------------------------------------------------------------------


BEHIND = {"gangnam-tax": Facts(replica(90_000), DOWN)}


MISSING = {"gangnam-tax": Facts(None, DOWN, trouble="connection refused")}


UNKNOWN = {"patent": Facts(replica(0, newest_canary_at=None), DOWN)}


def test_a_copy_behind_its_promise_is_refused_and_the_override_is_named() -> None:
    told = refused(BEHIND)
    assert "gangnam-tax: its copy is behind its promise: 90001.0 s would be lost, promised is 86400 s" in told.why
    assert told.override == "ncia recover plan daejeon --accept-loss gangnam-tax=REASON"


def test_an_unknown_loss_is_refused_as_if_it_were_too_much() -> None:
    assert [h.system for h in refused(UNKNOWN).held] == ["patent"]


def test_all_refusals_are_told_at_once_highest_grade_first() -> None:
    assert [h.system for h in refused({**BEHIND, **UNKNOWN}).held] == ["patent", "gangnam-tax"]


def test_an_accepted_loss_stands_in_the_plan_with_its_reason() -> None:
    plan = planned(BEHIND, {"gangnam-tax": "the district has its own ledger"})
    told = plan.move_of("gangnam-tax").loss
    assert (told.seconds, told.accepted) == (90_001.0, "the district has its own ledger")


def test_a_system_without_a_copy_cannot_move_and_accepting_leaves_it_out() -> None:
    assert not refused(MISSING).held[0].movable
    plan = planned(MISSING, {"gangnam-tax": "restored from backup later"})
    assert [(out.system, out.accepted) for out in plan.left_out] == [("gangnam-tax", "restored from backup later")]
    assert "gangnam-tax" not in {move.system for move in plan.moves}


def test_what_depends_on_a_system_that_cannot_move_cannot_move_either() -> None:
    told = refused({"hometax": Facts(None, DOWN, trouble="connection refused")})
    assert {h.system for h in told.held} == {"hometax", "g2b", "customs", "patent", "g4b", "gangnam-tax"}


def test_a_server_that_is_a_primary_already_is_not_promoted_again() -> None:
    assert "a primary already" in refused({"patent": Facts(replica(0.4, in_recovery=False), DOWN)}).why


def test_a_system_that_goes_on_when_cut_off_is_not_taken_over_on_an_expired_lease() -> None:
    systems = dict(estate().systems)
    systems[SystemId("patent")] = replace(systems[SystemId("patent")], isolated=Isolated.CONTINUE)
    told = refused({}, of=replace(estate(), systems=systems))
    assert "an expired lease does not fence it" in told.why


def test_a_system_without_an_epoch_cannot_be_claimed() -> None:
    at = epochs()
    del at[SystemId("patent")]
    assert "etcd holds no epoch" in refused({}, at=at).why


@pytest.mark.parametrize(
    ("lost", "own", "code"),
    [
        ("witness", SURVIVOR, "recovery.no-such-site"),
        ("atlantis", SURVIVOR, "recovery.no-such-site"),
        (LOST, LOST, "recovery.wrong-side"),
    ],
)
def test_only_a_data_centre_is_recovered_and_only_from_the_other_one(lost: str, own: str, code: str) -> None:
    asked = Asked(RunId("run-1"), SiteId(lost), SiteId(own))
    with pytest.raises(Refusal) as caught:
        plan_site_failover(estate(), asked, RUNBOOK, epochs(), {}, {}, NOW)
    assert caught.value.code == code


def test_a_site_without_active_systems_needs_no_recovery() -> None:
    with pytest.raises(Refusal) as caught:
        planned(at=epochs(**dict.fromkeys(MOVING, SURVIVOR)))
    assert caught.value.code == "recovery.nothing-moves"


@pytest.mark.parametrize(("accept", "code"), [({"onnara": "x"}, "accepts-stranger"), ({"patent": " "}, "no-reason")])
def test_accepting_needs_a_system_that_moves_and_a_reason(accept: dict[str, str], code: str) -> None:
    with pytest.raises(Refusal) as caught:
        planned({}, accept)
    assert caught.value.code == f"recovery.{code}"


# --- the frozen plan --------------------------------------------------------------------------------------------------


def test_a_plan_is_the_same_after_the_journal_and_so_is_its_hash() -> None:
    plan = planned(BEHIND, {"gangnam-tax": "x"})
    told = json.loads(json.dumps(plan.to_json()))
    assert Plan.from_json(told) == plan
    assert plan_hash(told) == plan.hash


def test_the_hash_changes_with_anything_that_people_sign() -> None:
    plan = planned()
    moves = (replace(plan.moves[0], loss=replace(plan.moves[0].loss, seconds=0.001)), *plan.moves[1:])
    assert len({plan.hash, replace(plan, moves=moves).hash, replace(plan, notes=()).hash}) == 3


def test_the_plan_says_that_the_synchronous_requirement_is_cleared() -> None:
    assert any("the synchronous requirement of" in note and "is cleared" in note for note in planned().notes)


def test_data_without_a_copy_elsewhere_is_named_as_lost() -> None:
    decided = Unprotected(date(2027, 6, 30), PersonId("kim"), "not mirrored yet")
    known = estate()
    hometax = known.systems[SystemId("hometax")]
    exposed = tuple(replace(d, unprotected=decided) if d.documents else d for d in hometax.datasets)
    systems = {**known.systems, hometax.id: replace(hometax, datasets=exposed)}
    assert any("hometax/certificates" in note for note in planned(of=replace(known, systems=systems)).notes)
    assert not any("hometax/certificates" in note for note in planned().notes)


def test_seconds_are_those_last_measured_and_what_was_never_measured_is_said_to_be_estimated() -> None:
    plan = planned(durations={"promote": 0.009})
    assert {s.expected_seconds for s in plan.steps if s.kind == "promote"} == {0.009}
    assert "promote" not in plan.estimated
    assert "fence" in plan.estimated


def test_the_forecast_serves_what_others_need_first_and_ends_with_the_run() -> None:
    plan = planned()
    told = forecast(plan, NOW)
    assert told.served_after["share"] < told.served_after["hometax"] < told.served_after["g2b"]
    assert max(told.served_after.values()) < told.seconds < 20


# --- programs that differ ---------------------------------------------------------------------------------------------


DRIFT = "etc/app.yaml is not the same at daejeon and gwangju, from line 3"


DRIFTED = {"hometax": Facts(replica(0.4), DOWN, drift=(DRIFT,))}


def test_a_system_whose_program_differs_is_refused_with_what_differs_and_the_override() -> None:
    with pytest.raises(PlanRefused) as refused:
        planned(DRIFTED)
    assert [(h.system, h.movable) for h in refused.value.held] == [("hometax", True)]
    assert f"its program at {SURVIVOR} is not the one at {LOST}: {DRIFT}" in refused.value.why
    assert refused.value.override == f"ncia recover plan {LOST} --accept-drift hometax=REASON"


def test_a_loss_that_is_accepted_accepts_no_drift() -> None:
    with pytest.raises(PlanRefused):
        planned(DRIFTED, accept={"hometax": "it must"})


def test_an_accepted_drift_moves_the_system_and_stands_in_what_people_sign() -> None:
    plan = planned(DRIFTED, drift={"hometax": "the old one serves too"})
    assert "hometax" in {move.system for move in plan.moves}
    assert plan.notes[-1].startswith("hometax moves all the same (the old one serves too): its program at")


def test_loss_and_drift_of_one_system_are_told_together_and_each_needs_its_own_word() -> None:
    facts = {"patent": Facts(replica(7200), DOWN, drift=(DRIFT,))}
    with pytest.raises(PlanRefused) as refused:
        planned(facts)
    both = f"ncia recover plan {LOST} --accept-loss patent=REASON --accept-drift patent=REASON"
    assert (refused.value.override, "1 system must be decided" in refused.value.why) == (both, True)
    assert planned(facts, accept={"patent": "a"}, drift={"patent": "b"})


def test_a_drift_accepted_of_a_stranger_or_without_a_reason_is_refused() -> None:
    for drift, code in (({"onnara": "x"}, "recovery.accepts-stranger"), ({"hometax": " "}, "recovery.no-reason")):
        with pytest.raises(Refusal) as refused:
            planned(drift=drift)
        assert refused.value.code == code
