"""A run claims and promotes nothing before its plan, its approvals and its start are known at a second place."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId
from ncia.core.journal.entries_recovery import (
    RunStarted,
    RunSworn,
    StepEnded,
)
from recovery.permits import RunPermits
from tests.fakes.journal import FakeJournal
from tests.recovery.scene import SURVIVOR, Scene, desk_of, scene
from tests.recovery.sweep import MOMENTS_MAX, carry_on, killed_at
from tests.recovery.test_crashes import demand_whole, few_systems

OVERRIDE = "ncia recover alone"


class SecondPlace:
    """Peer and witness together: what they were asked to know, and whether they answer."""

    def __init__(self) -> None:
        self.silent = False
        self.known: set[int] = set()
        self.asked = 0

    def demand(self, entries: Sequence[Any], what: str, override: str) -> str:
        self.asked += 1
        if self.silent:
            raise Refusal("journal.one-place", what, "daejeon: timed out; witness: timed out", override, override)
        self.known |= {entry.number for entry in entries}
        return "witness"


def stage_with(place: SecondPlace) -> Scene:
    stage = scene(change=few_systems)
    return begin_with(stage, place)


def begin_with(stage: Scene, place: SecondPlace) -> Scene:
    """The next controller, which knows nothing but its journal."""
    stage.world.kill_at = None
    stage.journal = stage.journal.restarted()
    stage.world.permits = RunPermits(stage.journal, place.demand)
    stage.desk = desk_of(stage.world, stage.journal)
    return stage


def approved(stage: Scene) -> str:
    plan = stage.plan()
    for person in ("kim", "lee"):
        stage.approve(plan, person)
    return str(plan["run"])


def demand_over(stage: Scene) -> None:
    """The stopped run had taken back what it did, so steps of the run as a whole are done anew."""
    assert stage.desk.runs()[0]["outcome"] == "succeeded"
    moved = [epoch.epoch for epoch in stage.world.claims.epochs().values() if epoch.site == SURVIVOR]
    assert sorted(moved) == [1, 2, 2, 2]


def kinds(stage: Scene, numbers: set[int]) -> list[str]:
    return [entry.kind for entry in stage.journal.written if entry.number in numbers]


def test_plan_approvals_and_start_are_known_elsewhere_before_the_first_claim() -> None:
    place = SecondPlace()
    stage = stage_with(place)
    at_claim: list[list[str]] = []

    def look(call: str) -> None:
        if call.startswith("claims.claim_epoch"):
            at_claim.append(kinds(stage, place.known))

    stage.world.watchers.append(look)
    approved(stage)
    demand_whole(stage)
    assert at_claim[0] == ["plan.made", "approval.given", "approval.given", "run.started"]
    assert place.asked == 1  # one question for the whole run
    claims = [b for b in stage.journal.bodies(StepEnded) if b.step.endswith("/claim_epoch")]
    assert all("known at witness too" in claim.evidence for claim in claims)


def test_where_nobody_else_answers_nothing_is_claimed_and_the_run_names_who_was_silent() -> None:
    place = SecondPlace()
    place.silent = True
    stage = stage_with(place)
    run = stage.desk.run(approved(stage))
    assert run["state"] == "stopped"
    assert "witness: timed out" in run["sentence"]
    assert {epoch.epoch for epoch in stage.world.claims.epochs().values()} == {1}
    assert not [call for call in stage.world.calls if call.startswith(("claims.claim", "databases.promote"))]
    refused = [b for b in stage.journal.bodies(StepEnded) if b.outcome == "refused"]
    assert all(OVERRIDE in each.evidence for each in refused)
    assert refused


def test_when_somebody_answers_again_the_run_is_resumed_to_its_end() -> None:
    place = SecondPlace()
    place.silent = True
    stage = stage_with(place)
    run = approved(stage)
    place.silent = False
    stage.desk.resume(run, "kim")
    demand_over(stage)
    assert "run.resumed" in kinds(stage, place.known)


def test_on_a_persons_word_the_run_goes_on_alone_and_the_word_is_its_evidence() -> None:
    place = SecondPlace()
    place.silent = True
    stage = stage_with(place)
    run = approved(stage)
    stage.desk.swear(run, "kim", "both burnt")
    stage.desk.resume(run, "kim")
    demand_over(stage)
    assert [body.reason for body in stage.journal.bodies(RunSworn)] == ["both burnt"]
    claims = [b for b in stage.journal.bodies(StepEnded) if b.step.endswith("/claim_epoch") and b.outcome == "done"]
    assert all("on the word of kim alone: both burnt" in claim.evidence for claim in claims)


def test_killed_at_every_moment_no_epoch_rises_that_no_second_place_knows_the_permit_of() -> None:
    for moment in range(0, MOMENTS_MAX, 7):
        place = SecondPlace()
        stage = stage_with(place)

        def look(call: str, stage: Scene = stage, place: SecondPlace = place) -> None:
            if call.startswith(("claims.claim_epoch", "databases.promote")):
                assert {"plan.made", "approval.given", "run.started"} <= set(kinds(stage, place.known))

        stage.world.watchers.append(look)
        if not killed_at(stage, moment):
            break
        begin_with(stage, place)
        carry_on(stage)
        demand_whole(stage)
    assert moment > 100


def test_an_oath_of_one_run_is_none_of_another() -> None:
    place = SecondPlace()
    place.silent = True
    journal = FakeJournal(SURVIVOR)
    permits = RunPermits(journal, place.demand)
    journal.append_all([RunSworn(run="run-1", by="kim", reason="alone", unheard=())], by="kim")
    assert "kim" in permits.demand(RunId("run-1"), "claim")
    journal.append_all([RunStarted(run="run-2", plan_hash="cafe", site=SURVIVOR)], by="kim")
    with pytest.raises(Refusal):
        permits.demand(RunId("run-2"), "claim")


def test_a_run_of_which_no_permit_is_known_here_permits_nothing() -> None:
    with pytest.raises(Refusal) as refused:
        RunPermits(FakeJournal(SURVIVOR), SecondPlace().demand).demand(RunId("run-9"), "claim")
    assert refused.value.code == "recovery.no-permit"


class Counting:
    """Holds every question back until it is let go; counts them."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.asked = threading.Semaphore(0)
        self.go = threading.Event()
        self.questions = 0

    def demand(self, entries: Sequence[Any], what: str, override: str) -> str:
        self.questions += 1
        self.asked.release()
        assert self.go.wait(30)
        if self.refuses:
            raise Refusal("journal.one-place", what, "nobody answers")
        return "witness"


def permits_of_a_begun_run(place: Counting) -> RunPermits:
    journal = FakeJournal(SURVIVOR)
    permits = RunPermits(journal, place.demand)
    journal.subscribe(permits.foresee)
    journal.append_all([RunStarted(run="run-1", plan_hash="cafe", site=SURVIVOR)], by="kim")
    return permits


def test_a_run_that_begins_is_asked_about_at_once_and_no_claim_asks_again() -> None:
    place = Counting()
    permits = permits_of_a_begun_run(place)
    assert place.asked.acquire(timeout=30)  # nobody has claimed anything yet
    place.go.set()
    with ThreadPoolExecutor(4) as claims:
        told = list(claims.map(lambda number: permits.demand(RunId("run-1"), f"claim {number}"), range(4)))
    assert (set(told), place.questions) == ({"the run's permits are known at witness too"}, 1)


class Told:
    """A lock that tells who comes to it."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.came = threading.Semaphore(0)

    def __enter__(self) -> None:
        self.came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def test_a_claim_that_comes_while_it_is_asked_already_has_its_whole_time() -> None:
    class FirstInVain(Counting):
        def demand(self, entries: Sequence[Any], what: str, override: str) -> str:
            self.refuses = self.questions == 0
            return super().demand(entries, what, override)

    place = FirstInVain()
    journal = FakeJournal(SURVIVOR)
    permits = RunPermits(journal, place.demand)
    permits._asking = door = Told(threading.Lock())
    journal.subscribe(permits.foresee)
    journal.append_all([RunStarted(run="run-1", plan_hash="cafe", site=SURVIVOR)], by="kim")
    assert door.came.acquire(timeout=30)
    assert place.asked.acquire(timeout=30)
    with ThreadPoolExecutor(1) as claims:
        claim = claims.submit(permits.demand, RunId("run-1"), "claim")
        assert door.came.acquire(timeout=30)
        place.go.set()
        assert "witness" in claim.result()
    assert place.questions == 2


def test_a_refusal_is_asked_for_again_by_who_comes_later() -> None:
    place = Counting(refuses=True)
    place.go.set()
    permits = RunPermits(journal := FakeJournal(SURVIVOR), place.demand)
    journal.append_all([RunStarted(run="run-1", plan_hash="cafe", site=SURVIVOR)], by="kim")
    for _ in range(2):
        with pytest.raises(Refusal):
            permits.demand(RunId("run-1"), "claim")
    place.refuses = False
    assert "witness" in permits.demand(RunId("run-1"), "claim")
    assert place.questions == 3
