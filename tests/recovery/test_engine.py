"""The engine: what comes next, in which order, how often, and the one sentence where nothing does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncia.core.base.ids import RunId
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    RunResumed,
    RunStarted,
    RunStopped,
    StepEnded,
    StepIntended,
)
from recovery.engine import BACKOFF_SECONDS, attempts_max, due_at, next_actions, to_undo
from recovery.planned import Plan
from recovery.run import Run, StepState
from tests.recovery.scene import scene

NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)


def made() -> Plan:
    stage = scene()
    return Plan.from_json(stage.plan()["plan"])


PLAN = made()


def run(*bodies: Body) -> Run:
    found = Run(PLAN.run, PLAN, PLAN.hash, "kim", NOW)
    for body in (RunStarted(run=PLAN.run, plan_hash=PLAN.hash, site=PLAN.site), *bodies):
        found.apply(body, NOW)
    return found


def intended(step: str, attempt: int = 1) -> StepIntended:
    return StepIntended(run=PLAN.run, step=step, attempt=attempt)


def ended(step: str, outcome: Any = "done", attempt: int = 1, **measured: Any) -> StepEnded:
    return StepEnded(run=PLAN.run, step=step, attempt=attempt, outcome=outcome, evidence="seen", measured=measured)


SECONDS = {step.id: step.timeout_seconds for step in PLAN.steps}
BEFORE = [ended(step) for step in ("fence", "hold_confirmations", "open_run")]


def begins(of: Run, limit: int = 4, now: datetime = NOW) -> list[str]:
    return [begin.step.id for begin in next_actions(of, now, limit).begin]


def test_a_run_begins_with_the_fence_alone() -> None:
    assert begins(run()) == ["fence"]


def test_after_the_run_is_open_as_many_systems_begin_as_there_are_slots_highest_grade_first() -> None:
    assert begins(run(*BEFORE)) == [f"{s}/drain_receiver" for s in ("share", "egov", "hometax", "customs")]
    assert begins(run(*BEFORE), limit=1) == ["share/drain_receiver"]


def test_what_is_under_way_takes_its_slot() -> None:
    assert begins(run(*BEFORE, intended("share/drain_receiver")), limit=2) == ["egov/drain_receiver"]


def test_a_planned_a_stopped_and_an_ended_run_do_nothing() -> None:
    stopped = run(RunStopped(run=PLAN.run, by="kim", reason="enough"))
    assert begins(stopped) == begins(Run(PLAN.run, PLAN, PLAN.hash, "kim", NOW)) == []


def test_a_failed_step_is_tried_again_after_its_back_off() -> None:
    found = run(intended("fence"), ended("fence", "failed"))
    actions = next_actions(found, NOW, 4)
    assert (actions.begin, actions.again_at) == ((), NOW + timedelta(seconds=BACKOFF_SECONDS[0]))
    later = next_actions(found, NOW + timedelta(seconds=1), 4)
    assert [(b.step.id, b.attempt) for b in later.begin] == [("fence", 2)]


def test_a_step_that_failed_too_often_stops_the_run_with_one_sentence() -> None:
    most = attempts_max(SECONDS["fence"])
    failures = [ended("fence", "failed", n) for n in range(1, most + 1)]
    told = next_actions(run(*failures), NOW + timedelta(days=1), 4).stuck
    assert told == f"stopped with 0 of 9 systems served: fence failed {most} times: seen"


@pytest.mark.parametrize("away_seconds", [0.0, 4.0, 20.0])
def test_what_a_step_needs_may_be_started_anew_as_long_as_a_step_may_look(away_seconds: float) -> None:
    step = "share/switch_traffic"
    assert away_seconds < SECONDS[step]
    found, now, attempt = run(), NOW, 0
    while (now - NOW).total_seconds() <= away_seconds:
        attempt += 1
        found.apply(ended(step, "failed", attempt), now)
        again = due_at(found.step(step), SECONDS[step])
        assert again is not None, f"given up after {now - NOW}"
        now = again


def test_a_step_that_goes_on_failing_at_once_is_given_up_when_its_time_is_over() -> None:
    step = "share/switch_traffic"
    found, now, attempt = run(), NOW, 0
    again: datetime | None = NOW
    while again is not None:
        now, attempt = again, attempt + 1
        found.apply(ended(step, "failed", attempt), now)
        again = due_at(found.step(step), SECONDS[step])
    assert 0 <= (now - NOW).total_seconds() - SECONDS[step] <= BACKOFF_SECONDS[-1]


def test_a_step_that_used_its_whole_time_is_tried_three_times() -> None:
    found = run(*(ended("fence", "failed", n, seconds=1000.0) for n in (1, 2)))
    assert begins(found, now=NOW + timedelta(days=1)) == ["fence"]
    found.apply(ended("fence", "failed", 3, seconds=1000.0), NOW)
    assert "fence failed 3 times: seen" in next_actions(found, NOW + timedelta(days=1), 4).stuck


def test_a_refused_step_waits_for_a_person() -> None:
    told = next_actions(run(ended("fence", "refused")), NOW + timedelta(days=1), 4).stuck
    assert "fence was refused: seen" in told


def test_an_intent_from_before_a_resume_is_done_again_under_the_next_attempt() -> None:
    found = run(intended("fence"), RunResumed(run=PLAN.run, site=PLAN.site, by="controller"))
    assert found.step("fence").state is StepState.UNKNOWN
    assert [(b.step.id, b.attempt) for b in next_actions(found, NOW, 4).begin] == [("fence", 2)]


def test_resuming_forgets_failures_but_not_what_is_done() -> None:
    most = attempts_max(SECONDS["open_run"])
    failures = [ended("open_run", "failed", n) for n in range(1, most + 1)]
    resumed = RunResumed(run=PLAN.run, site=PLAN.site, by="kim")
    found = run(*BEFORE[:2], *failures, resumed)
    assert [(b.step.id, b.attempt) for b in next_actions(found, NOW, 4).begin] == [("open_run", most + 1)]


def test_only_what_was_done_before_any_claim_is_taken_back_last_first() -> None:
    tried = [intended(b.step) for b in BEFORE]
    both = [body for pair in zip(tried, BEFORE, strict=True) for body in pair]
    assert [s.id for s in to_undo(run(*both))] == ["open_run", "hold_confirmations", "fence"]
    assert to_undo(run(*both, intended("share/claim_epoch"))) == ()
    drained = to_undo(run(*both, intended("share/drain_receiver"), ended("share/drain_receiver")))
    assert [s.id for s in drained] == ["share/drain_receiver", "open_run", "hold_confirmations", "fence"]
    assert to_undo(run(*both, intended("share/drain_receiver"), intended("share/claim_epoch"))) == ()
    refused = ended("share/claim_epoch", "refused")
    assert len(to_undo(run(*both, intended("share/claim_epoch"), refused))) == 3


def test_an_outcome_for_another_run_or_plan_changes_nothing() -> None:
    found = run()
    assert found.id == RunId(PLAN.run)
    assert begins(replace(found, plan=PLAN)) == ["fence"]


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_whatever_the_outcomes_needs_come_first_slots_hold_and_the_run_comes_to_an_end(data: st.DataObject) -> None:
    found, clock, limit = run(), NOW, data.draw(st.integers(1, 6))
    flying: list[tuple[str, int]] = []
    for _ in range(2000):
        actions = next_actions(found, clock, limit)
        assert len(flying) + len(actions.begin) <= limit
        for begin in actions.begin:
            assert all(found.step(need).state is StepState.DONE for need in begin.step.needs)
            assert found.step(begin.step.id).state is not StepState.DONE
            found.apply(intended(begin.step.id, begin.attempt), clock)
            flying.append((begin.step.id, begin.attempt))
        if actions.succeeded or actions.stuck:
            assert not flying
            return
        if flying:
            step, attempt = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
            outcome = data.draw(st.sampled_from(["done"] * 12 + ["already", "failed", "refused"]))
            found.apply(ended(step, outcome, attempt), clock)
        else:
            assert actions.again_at is not None
            clock = actions.again_at
    pytest.fail("the run goes on for ever")
