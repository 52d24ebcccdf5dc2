from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import (
    VOCABULARY,
    AlertAcked,
    Body,
    IncidentClosed,
    ProofFailed,
    VerdictChange,
    VerdictsChanged,
)
from ncia.core.journal.entries_recovery import (
    PlanMade,
    RunResumed,
    RunStopped,
    StepEnded,
    StepIntended,
    StepUndone,
)
from ncia.core.journal.entry import Entry, make_entry
from ncia.core.state import State, fold
from ncia.core.state.meaning import MEANING
from ncia.core.state.protecting import MISSED_MAX, POINTS_PER_DATASET_MAX
from ncia.core.state.watching import INCIDENTS_CLOSED_MAX
from tests.core.journal.sites import EAST, EPOCH, WEST
from tests.core.journal.specimens import AT, SPECIMENS

BY_KIND = {body.KIND: body for body in SPECIMENS}


def entries_of(*bodies: Body, site: SiteId = EAST) -> list[Entry]:
    return [make_entry(site, n, EPOCH + timedelta(seconds=n), "tester", 0, body) for n, body in enumerate(bodies)]


def folded(*bodies: Body) -> State:
    return fold(entries_of(*bodies))


def like(kind: str, **changes: object) -> Body:
    return BY_KIND[kind].model_copy(update=changes)


def test_every_kind_of_entry_has_a_meaning() -> None:
    assert {kind for kind, _ in VOCABULARY} == set(MEANING)


def test_the_specimens_in_order_leave_no_stray() -> None:
    state = folded(*SPECIMENS)
    assert (state.strays, dict(state.heads)) == (0, {EAST: len(SPECIMENS)})


@pytest.mark.parametrize("body", SPECIMENS, ids=lambda body: body.KIND)
def test_no_entry_fails_on_a_state_that_knows_nothing(body: Body) -> None:
    assert folded(body).heads[EAST] == 1


@given(st.lists(st.sampled_from(SPECIMENS), max_size=40))
def test_the_fold_is_deterministic_and_the_same_in_one_go_or_in_steps(bodies: list[Body]) -> None:
    state = State()
    for entry in entries_of(*bodies):
        state.apply(entry)
    assert state == folded(*bodies)


@given(st.lists(st.sampled_from(SPECIMENS), max_size=30), st.data())
def test_a_snapshot_never_changes(bodies: list[Body], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(bodies)))
    entries = entries_of(*bodies)
    state = fold(entries[:cut])
    snapshot = state.copy()
    for entry in entries[cut:]:
        state.apply(entry)
    assert snapshot == fold(entries[:cut])


def test_verdicts_are_kept_by_vantage_and_subject() -> None:
    def seen(vantage: str, subject: str, verdict: str) -> VerdictsChanged:
        change = VerdictChange(subject=subject, verdict=verdict, previous="up", since=AT, evidence="")
        return VerdictsChanged(vantage=vantage, changes=(change,))

    state = folded(seen("east", "a", "down"), seen("west", "a", "up"), seen("east", "b", "up"), seen("east", "a", "up"))
    assert {v: {s: c.verdict for s, c in known.items()} for v, known in state.verdicts.items()} == {
        "east": {"a": "up", "b": "up"},
        "west": {"a": "up"},
    }


def test_an_incident_is_opened_changed_acked_and_closed() -> None:
    life = [BY_KIND["incident.opened"], like("incident.changed", sentence="Worse."), BY_KIND["alert.acked"]]
    state = folded(*life)
    incident = state.incidents["incident-1"]
    assert (incident.open, incident.now.sentence, state.acks["incident-1"].by) == (True, "Worse.", "kim")
    closed = folded(*life, IncidentClosed(incident="incident-1", reason="over"))
    assert (closed.open_incidents(), dict(closed.acks)) == ((), {})
    assert closed.incidents["incident-1"].reason == "over"


def test_an_incident_that_both_sites_open_is_one_and_reopens_as_new() -> None:
    opened, closed = BY_KIND["incident.opened"], BY_KIND["incident.closed"]
    twice = folded(opened, opened).incidents["incident-1"]
    assert twice.opened_at == EPOCH
    again = folded(opened, AlertAcked(incident="incident-1", by="x", comment="", until=AT), closed, opened)
    incident = again.incidents["incident-1"]
    assert (incident.open, incident.ack, incident.opened_at) == (True, None, EPOCH + timedelta(seconds=3))


def test_closed_incidents_are_bounded_and_open_ones_all_stay() -> None:
    opened, closed = BY_KIND["incident.opened"], BY_KIND["incident.closed"]
    bodies: list[Body] = [opened.model_copy(update={"incident": "stays"})]
    for number in range(INCIDENTS_CLOSED_MAX + 20):
        bodies += [body.model_copy(update={"incident": f"i{number}"}) for body in (opened, closed)]
    state = folded(*bodies)
    assert "stays" in state.incidents
    assert "i0" not in state.incidents
    assert len(state.incidents) <= INCIDENTS_CLOSED_MAX + 2


def backup(point: str) -> list[Body]:
    return [like("backup.started", job=f"backup-{point}"), like("backup.finished", job=f"backup-{point}", point=point)]


def proof(point: str, matched: bool = True) -> list[Body]:
    return [
        like("proof.started", job=f"proof-{point}", point=point),
        like("proof.finished", job=f"proof-{point}", point=point, matched=matched),
    ]


def newest_proven(*bodies: Body) -> str | None:
    found = folded(*bodies).newest_proven("tax/rows")
    return found.id if found else None


def test_a_point_that_came_back_is_listed_once_at_its_place_in_time_and_is_proven_anew() -> None:
    back = like("point.brought", point="p1", store_site="east")
    there = folded(*backup("p1"), *proof("p1"), back)
    assert [point.id for point in there.points["tax/rows"]] == ["p1"]
    assert there.newest_proven("tax/rows").id == "p1"
    gone = [*backup("p1"), *proof("p1"), like("point.deleted", point="p1"), *backup("p2")]
    again = folded(*gone, like("point.brought", point="p1", store_site="east", taken_at=to_text(EPOCH)))
    assert [(point.id, point.proven) for point in again.points["tax/rows"]] == [("p1", False), ("p2", False)]
    assert newest_proven(*gone, back, *proof("p1")) == "p1"


def test_a_point_of_another_store_that_came_into_this_one_is_a_second_copy() -> None:
    state = folded(*backup("p1"), like("point.brought", point="p1", store_site="west"))
    assert [point.backup.store_site for point in state.points["tax/rows"]] == ["east"]
    assert (state.holds("tax/rows", "p1", "west"), len(state.copies["tax/rows"])) == (True, 1)
    assert [each.body.point for each in state.brought["tax/rows", "west"]] == ["p1"]


def test_a_point_counts_once_it_is_proven() -> None:
    assert newest_proven(*backup("p1")) is None
    assert newest_proven(*backup("p1"), *proof("p1")) == "p1"
    assert newest_proven(*backup("p1"), *proof("p1"), *backup("p2")) == "p1"
    assert newest_proven(*backup("p1"), *backup("p2"), *proof("p2"), *proof("p1")) == "p2"


def test_a_point_that_did_not_match_counts_no_longer() -> None:
    both = [*backup("p1"), *backup("p2"), *proof("p1"), *proof("p2")]
    assert newest_proven(*both, *proof("p2", matched=False)) == "p1"
    assert newest_proven(*both, *proof("p2", matched=False), *proof("p1", matched=False)) is None


def test_a_proof_that_could_not_be_made_takes_nothing_away_and_is_told() -> None:
    failed = ProofFailed(job="proof-p1", point="p1", dataset="tax/rows", error="scratch is full")
    state = folded(*backup("p1"), *proof("p1"), failed)
    assert (state.newest_proven("tax/rows").id, state.proofs["tax/rows"].matched) == ("p1", False)


def test_a_deleted_point_counts_no_longer() -> None:
    both = [*backup("p1"), *backup("p2"), *proof("p1"), *proof("p2")]
    assert newest_proven(*both, like("point.deleted", point="p2")) == "p1"
    state = folded(*both, like("point.deleted", point="p2"))
    assert [point.id for point in state.points["tax/rows"]] == ["p1"]


def test_the_newest_proven_point_is_known_however_many_unproven_ones_follow() -> None:
    later = [body for number in range(POINTS_PER_DATASET_MAX + 5) for body in backup(f"later{number}")]
    assert newest_proven(*backup("p1"), *proof("p1"), *later) == "p1"
    state = folded(*backup("p1"), *proof("p1"), *later)
    assert len(state.points["tax/rows"]) == POINTS_PER_DATASET_MAX
    assert newest_proven(*backup("p1"), *proof("p1"), *later, *proof("later3", matched=False)) == "p1"


def test_a_missed_run_stands_until_the_same_work_was_done() -> None:
    missed = like("schedule.missed", job="backup-7")
    assert [each.run.job for each in folded(missed, missed).missed] == ["backup-7"]
    assert folded(missed, *backup("p1")).missed == ()
    assert len(folded(missed, *backup("p1")[:1], *proof("p1")).missed) == 1
    other = missed.model_copy(update={"dataset": "post/rows"})
    assert len(folded(other, *backup("p1")).missed) == 1


def missed_at(moment: datetime, dataset: str) -> Body:
    return like("schedule.missed", job=f"backup:{dataset}", dataset=dataset, due_at=to_text(moment))


def test_a_run_that_both_sites_write_down_as_missed_is_one_missed_run() -> None:
    point = BY_KIND["backup.finished"]
    body = missed_at(EPOCH, point.dataset)
    state = fold([*entries_of(body), *entries_of(body.model_copy(update={"reason": "the other's words"}), site=WEST)])
    assert [each.run.reason for each in state.missed] == [body.reason]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_one_site_takes_for_missed_and_the_other_did_is_no_missed_run_in_whichever_order_they_are_read(
    place: int,
) -> None:
    backup, proof = BY_KIND["backup.finished"], BY_KIND["proof.finished"]
    proof = proof.model_copy(update={"point": backup.point, "dataset": backup.dataset, "matched": True})
    story = [backup, proof]
    story.insert(place, missed_at(EPOCH, backup.dataset))
    assert folded(*story).missed == ()


def test_a_run_is_missed_though_an_older_point_is_proven() -> None:
    backup, proof = BY_KIND["backup.finished"], BY_KIND["proof.finished"]
    proof = proof.model_copy(update={"point": backup.point, "dataset": backup.dataset, "matched": True})
    missed = missed_at(EPOCH + timedelta(seconds=3600), backup.dataset)
    assert [each.run for each in folded(backup, proof, missed).missed] == [missed]


def test_missed_runs_are_bounded() -> None:
    many = [like("schedule.missed", job=f"backup-{number}") for number in range(MISSED_MAX + 3)]
    assert len(folded(*many).missed) == MISSED_MAX


RUN = [BY_KIND["plan.made"], BY_KIND["approval.given"], like("approval.given", person="lee"), BY_KIND["run.started"]]


def intended(attempt: int = 1, step: str = "tax/promote") -> StepIntended:
    return StepIntended(run="run-1", step=step, attempt=attempt)


def ended(outcome: str, attempt: int = 1, step: str = "tax/promote") -> StepEnded:
    return StepEnded(run="run-1", step=step, attempt=attempt, outcome=outcome, evidence="", measured={})


def test_a_run_holds_its_plan_and_who_approved_it() -> None:
    state = folded(*RUN, like("approval.given", person="eve", plan_hash="another"), BY_KIND["approval.refused"])
    run = state.runs["run-1"]
    assert (run.status, run.site, run.people()) == ("running", "east", {"kim", "lee"})
    assert (state.plans["run-1"], len(state.approvals["run-1"]), len(run.refusals)) == (BY_KIND["plan.made"], 3, 1)


def test_a_step_whose_intent_has_no_end_is_in_flight() -> None:
    step = folded(*RUN, intended()).runs["run-1"].steps["tax/promote"]
    assert (step.in_flight, step.finished, step.attempts) == (True, False, 1)


def test_a_step_keeps_every_intent_and_every_end() -> None:
    tried = [intended(1), ended("failed", 1), intended(2), ended("done", 2)]
    step = folded(*RUN, *tried).runs["run-1"].steps["tax/promote"]
    assert ([i.attempt for i in step.intents], [e.outcome for e in step.ends]) == ([1, 2], ["failed", "done"])
    assert (step.in_flight, step.finished) == (False, True)


def test_an_undone_step_is_not_finished_until_it_is_done_again() -> None:
    undone = [intended(), ended("done"), StepUndone(run="run-1", step="tax/promote", evidence="")]
    assert not folded(*RUN, *undone).runs["run-1"].steps["tax/promote"].finished
    assert folded(*RUN, *undone, intended(2), ended("done", 2)).runs["run-1"].steps["tax/promote"].finished


def test_a_run_is_stopped_taken_over_by_the_other_site_and_ended() -> None:
    stopped = [*RUN, RunStopped(run="run-1", by="lee", reason="look first")]
    assert folded(*stopped).runs["run-1"].status == "stopped"
    resumed = [*stopped, RunResumed(run="run-1", site="west", by="kim")]
    assert (folded(*resumed).runs["run-1"].status, folded(*resumed).runs["run-1"].site) == ("running", "west")
    over = folded(*resumed, BY_KIND["run.ended"]).runs["run-1"]
    assert (over.status, over.open, over.ended_at) == ("succeeded", False, EPOCH + timedelta(seconds=6))


def test_a_runs_log_holds_all_its_entries_in_order_and_nobody_elses() -> None:
    state = folded(*RUN, BY_KIND["controller.started"], intended(), ended("done"))
    assert [entry.body for entry in state.runs["run-1"].log] == [*RUN, intended(), ended("done")]


def test_a_run_has_one_plan() -> None:
    other = PlanMade(run="run-1", runbook="b", plan_hash="other", plan={}, by="eve")
    state = folded(*RUN, other)
    assert (state.runs["run-1"].plan.plan_hash, state.strays) == ("cafe", 1)


def test_what_was_folded_in_is_told_by_site() -> None:
    entries = [*entries_of(*RUN), *entries_of(BY_KIND["controller.started"], site=WEST)]
    assert dict(fold(entries).heads) == {EAST: 4, WEST: 1}


# --- copies read again --------------------------------------------------------------------------------------------


def test_a_proven_point_whose_bytes_changed_counts_no_longer_and_a_later_proof_makes_it_count_again() -> None:
    made, proof = like("backup.finished"), like("proof.finished")
    damaged, whole = like("point.rehashed"), like("point.rehashed", matched=True, why="")
    assert folded(made, proof, whole).proven.keys() == {"tax/rows"}
    assert folded(made, proof, damaged).proven == {}
    assert folded(made, proof, damaged, proof).proven.keys() == {"tax/rows"}


def test_a_damaged_newest_point_leaves_the_one_before_as_the_newest_proven() -> None:
    older = (like("backup.finished"), like("proof.finished"))
    newer = (like("backup.finished", point="point-2"), like("proof.finished", point="point-2"))
    state = folded(*older, *newer, like("point.rehashed", point="point-2"))
    assert state.proven["tax/rows"].id == "point-1"


def test_a_list_of_lost_acts_changes_nothing_that_is_known() -> None:
    state = folded(like("loss.listed"))
    assert (state.strays, state.runs, state.points) == (0, {}, {})


def test_of_a_mirror_the_newest_word_counts_for_each_place_where_it_ends() -> None:
    failing = like("mirror.changed")
    other = like("mirror.changed", target_site="north", state="idle")
    state = folded(failing, other, like("mirror.changed", state="following"))
    assert {site: mirror.body.state for (_, site), mirror in state.mirrors.items()} == {
        "east": "following",
        "north": "idle",
    }
