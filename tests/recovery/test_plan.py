"""Plans: what moves, in which order, what would be lost, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import DatasetId, PersonId, RunId, SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Isolated, Unprotected
from recovery.engine import forecast
from recovery.fencing.keys import Epoch, Sync, SyncMode
from recovery.plan import (
    Asked,
    DocumentCopy,
    Facts,
    PlanRefused,
    loss_of,
    ordered,
    plan_site_failover,
    waves_of,
)
from recovery.planned import Plan, plan_hash
from recovery.ports import Outage, Received, Replica
from recovery.runbook import load_runbook
from tests.recovery.scene import LOST, RUNBOOKS, SURVIVOR, estate

NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
DOWN = Outage(NOW - timedelta(seconds=6), "timed out")
RUNBOOK = load_runbook(RUNBOOKS, "site_failover")
MOVING = {"share", "egov", "hometax", "g2b", "customs", "patent", "g4b", "gangnam-civil", "gangnam-tax"}


def replica(behind_seconds: float, **changed: Any) -> Replica:
    told = Replica(True, NOW - timedelta(seconds=6 + behind_seconds), "0/3000000", "")
    return replace(told, **changed)


def epochs(**at: str) -> dict[SystemId, Epoch]:
    return {
        s.id: Epoch(s.id, 4, SiteId(at.get(s.id, s.home)), "", 40 + n) for n, s in enumerate(estate().systems.values())
    }


def planned(
    facts: Mapping[str, Facts] | None = None,
    accept: Mapping[str, str] | None = None,
    *,
    drift: Mapping[str, str] | None = None,
    of: Estate | None = None,
    at: dict[SystemId, Epoch] | None = None,
    durations: Mapping[str, float] | None = None,
) -> Plan:
    of = of or estate()
    known = {s: Facts(replica(0.4), DOWN) for s in of.systems} | {SystemId(s): f for s, f in (facts or {}).items()}
    asked = Asked(RunId("run-1"), LOST, SURVIVOR, accept or {}, drift or {})
    return plan_site_failover(of, asked, RUNBOOK, at or epochs(), known, durations or {}, NOW)


def test_every_system_active_at_the_lost_site_moves_and_no_other() -> None:
    assert {move.system for move in planned().moves} == MOVING


def test_a_system_moves_from_where_it_is_active_and_not_from_its_home() -> None:
    plan = planned(at=epochs(onnara=LOST, egov=SURVIVOR))
    assert {move.system for move in plan.moves} == MOVING - {"egov"} | {"onnara"}


def test_waves_go_by_grade_and_within_one_what_others_need_comes_first() -> None:
    plan = planned()
    assert [(move.wave, move.system) for move in plan.moves[:5]] == [
        (1, "share"),
        (1, "egov"),
        (1, "hometax"),
        (1, "customs"),
        (1, "g2b"),
    ]
    assert [move.grade for move in plan.moves] == sorted(move.grade for move in plan.moves)
    place = {move.system: number for number, move in enumerate(plan.moves)}
    assert all(place[needed] < place[move.system] for move in plan.moves for needed in move.depends_on)


def test_what_a_grade_1_system_needs_moves_with_it_whatever_its_grade() -> None:
    systems = dict(estate().systems)
    systems[SystemId("share")] = replace(systems[SystemId("share")], grade=4)
    waves = waves_of([s for s in systems.values() if s.home == LOST])
    assert waves[SystemId("share")] == 1


@settings(deadline=None)
@given(st.data())
def test_on_any_graph_a_dependency_is_never_in_a_later_wave_nor_later_in_order(data: st.DataObject) -> None:
    some = list(estate().systems.values())
    drawn = []
    for number, system in enumerate(some):
        earlier = [s.id for s in some[:number]]
        needs = data.draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        drawn.append(replace(system, depends_on=tuple(needs), grade=data.draw(st.integers(1, 4))))
    waves = waves_of(drawn)
    assert all(waves[needed] <= waves[s.id] for s in drawn for needed in s.depends_on)
    moves = ordered([replace(TEMPLATE, system=s.id, wave=waves[s.id], depends_on=s.depends_on) for s in drawn])
    place = {move.system: number for number, move in enumerate(moves)}
    assert len(place) == len(drawn)
    assert all(place[needed] < place[move.system] for move in moves for needed in move.depends_on)
    assert [move.wave for move in moves] == sorted(move.wave for move in moves)


def test_a_dependants_transaction_comes_after_that_of_what_it_depends_on() -> None:
    step = next(s for s in planned().steps if s.id == "g2b/verify_application")
    assert set(step.needs) == {
        "g2b/clear_synchronous",
        "hometax/verify_application",
        "share/verify_application",
    }


def test_no_system_is_claimed_before_the_lost_site_is_fenced_and_the_run_is_open() -> None:
    steps = {s.id: s for s in planned().steps}

    def all_before(id: str) -> set[str]:
        return set(steps[id].needs).union(*(all_before(need) for need in steps[id].needs))

    assert all({"fence", "hold_confirmations", "open_run"} <= all_before(f"{s}/claim_epoch") for s in MOVING)
    assert all(f"{s}/verify_outside" in all_before("close_run") for s in MOVING)


TEMPLATE = planned().moves[0]

# --- what would be lost ----------------------------------------------------------------------------------------------


def loss(system: str, facts: Facts) -> tuple[float | None, str]:
    found = loss_of(estate().systems[SystemId(system)], facts, 1.0, NOW)
    return found.seconds, found.how


def test_a_synchronous_system_loses_nothing_when_its_copy_was_in_sync_before_the_loss() -> None:
    assert loss("hometax", Facts(replica(0.4), DOWN)) == (0.0, "synchronous")


def test_a_synchronous_system_whose_copy_was_away_has_an_unknown_loss() -> None:
    assert loss("hometax", Facts(replica(60), DOWN)) == (None, "unknown")


def test_a_synchronous_system_whose_requirement_was_cleared_counts_as_asynchronous() -> None:
    assert loss("hometax", Facts(replica(0.4), DOWN, cleared_by="run-0")) == (1.4, "measured")


def test_an_asynchronous_system_loses_at_most_its_canarys_age_at_the_loss_and_one_interval() -> None:
    assert loss("patent", Facts(replica(0.4), DOWN)) == (1.4, "measured")


@pytest.mark.parametrize("system", ["hometax", "patent"])
def test_with_the_lost_sites_clock_an_hour_ahead_the_loss_is_not_known_instead_of_nothing(system: str) -> None:
    hour_ahead = Facts(replica(-3600), DOWN)
    loss = loss_of(estate().systems[SystemId(system)], hour_ahead, 1.0, NOW)
    assert (loss.seconds, loss.how) == (None, "unknown")
    assert loss.sentence == (
        "not known: the newest canary here is dated 3594 s from now, so the clocks of the two sites differ"
    )


def test_with_the_lost_sites_clock_an_hour_ahead_documents_measure_nothing_either() -> None:
    ahead = DocumentCopy(DatasetId("egov/documents"), NOW + timedelta(hours=1))
    loss = loss_of(estate().systems[SystemId("egov")], Facts(replica(0.2), DOWN, documents=(ahead,)), 1.0, NOW)
    assert (loss.seconds, loss.how) == (None, "unknown")


def test_the_loss_does_not_grow_while_people_decide() -> None:
    found = Facts(replica(0.4), DOWN)
    later = loss_of(estate().systems[SystemId("patent")], found, 1.0, NOW + timedelta(minutes=30))
    assert later.seconds == 1.4


def test_a_system_that_is_not_down_would_lose_until_now() -> None:
    assert loss("patent", Facts(replica(0.4), Outage(None, "the entry answers"))) == (7.4, "measured")


def test_a_copy_without_a_canary_is_unknown() -> None:
    assert loss("patent", Facts(replica(0, newest_canary_at=None), DOWN)) == (None, "unknown")


# --- refusals --------------------------------------------------------------------------------------------------------


def paper(dataset: str, behind_seconds: float | None, trouble: str = "") -> DocumentCopy:
    at = None if behind_seconds is None else NOW - timedelta(seconds=6 + behind_seconds)
    return DocumentCopy(DatasetId(dataset), at, trouble)


def test_the_worst_of_rows_and_documents_is_what_would_be_lost() -> None:
    assert loss("patent", Facts(replica(0.4), DOWN, documents=(paper("patent/drawings", 2.0),))) == (3.0, "measured")
    assert loss("patent", Facts(replica(5.0), DOWN, documents=(paper("patent/drawings", 2.0),))) == (6.0, "measured")


def test_documents_that_acts_waited_for_lose_nothing_unless_their_way_was_not_known_to_work() -> None:
    written = "egov/documents"
    assert loss("egov", Facts(replica(0.4), DOWN, documents=(paper(written, 2.0),))) == (0.0, "synchronous")
    assert loss("egov", Facts(replica(0.4), DOWN, documents=(paper(written, 60.0),))) == (None, "unknown")
    assert loss("egov", Facts(replica(0.4), DOWN, cleared_by="run-0", documents=(paper(written, 2.0),))) == (
        3.0,
        "measured",
    )


def test_documents_of_which_nothing_is_known_make_the_loss_unknown_and_say_why() -> None:
    trouble = "patent/drawings: s3@gwangju does not answer"
    facts = Facts(replica(0.4), DOWN, documents=(paper("patent/drawings", None, trouble),))
    found = loss_of(estate().system("patent"), facts, 1.0, NOW)
    assert (found.seconds, found.sentence) == (None, f"not known: {trouble}")


BEHIND = {"gangnam-tax": Facts(replica(90_000), DOWN)}
MISSING = {"gangnam-tax": Facts(None, DOWN, trouble="connection refused")}
UNKNOWN = {"patent": Facts(replica(0, newest_canary_at=None), DOWN)}


def refused(facts: Mapping[str, Facts], accept: Mapping[str, str] | None = None, **how: Any) -> PlanRefused:
    with pytest.raises(PlanRefused) as caught:
        planned(facts, accept, **how)
    return caught.value


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


# --- whether commits waited --------------------------------------------------------------------------------------


def sync(mode: SyncMode) -> Sync:
    return Sync(SystemId("hometax"), mode, "2026-09-26T20:10:00.000000Z", "0/2F00000", "sync at daejeon", 9)


def received(first_lsn: str = "0/2000000", ago: float = 0.5) -> Received:
    assert DOWN.since is not None
    return Received(first_lsn, DOWN.since - timedelta(seconds=ago))


def test_a_system_that_etcd_calls_async_loses_what_was_measured_says_since_when_and_needs_the_override() -> None:
    degraded = {"hometax": Facts(replica(0.4), DOWN, sync=sync(SyncMode.ASYNC))}
    told = refused(degraded)
    assert "1.4 s would be lost, promised is 0 s" in told.why
    assert "--accept-loss hometax=REASON" in told.override
    move = planned(degraded, {"hometax": "the link was cut before"}).move_of("hometax")
    assert (move.loss.seconds, move.loss.how) == (1.4, "measured")
    assert move.loss.sentence == (
        "at most 1.4 s, from the newest canary at this copy; commits waited for nobody since "
        "2026-09-26T20:10:00.000000Z (WAL 0/2F00000)"
    )
    assert move.loss.accepted == "the link was cut before"


def test_etcds_word_that_commits_wait_again_counts_more_than_an_old_run_that_cleared_them() -> None:
    again = {"hometax": Facts(replica(0.4), DOWN, cleared_by="run-0", sync=sync(SyncMode.SYNC))}
    assert planned(again).move_of("hometax").loss.seconds == 0.0


def test_with_the_copy_fallen_back_the_receiver_that_went_on_makes_the_loss_nothing() -> None:
    behind = Facts(replica(60), DOWN, sync=sync(SyncMode.SYNC), received=received())
    move = planned({"hometax": behind}).move_of("hometax")
    assert (move.loss.seconds, move.loss.how) == (0.0, "synchronous")
    assert "commits waited for the receiver here" in move.loss.sentence


@pytest.mark.parametrize(
    ("holds", "why"),
    [
        (None, "no receiver holds more"),
        (received(ago=40), "heard nothing for 40 s"),
        (received("0/3000001"), "its receiver begins only at 0/3000001"),
    ],
)
def test_a_receiver_that_does_not_bridge_the_gap_leaves_the_loss_unknown(holds: Received | None, why: str) -> None:
    facts = Facts(replica(60), DOWN, sync=sync(SyncMode.SYNC), received=holds)
    assert why in refused({"hometax": facts}).why


# --- the frozen plan -------------------------------------------------------------------------------------------------


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


# --- programs that differ ----------------------------------------------------------------------------------------

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
