"""The continuity report: promised beside measured, and never a figure that nobody measured."""

import json
from dataclasses import replace

import pytest

from ncia.core.base.ids import SystemId
from ncia.core.journal.entries import (
    ProofFailed,
    ProofFinished,
    TableSum,
)
from ncia.core.journal.entries_recovery import (
    PlanMade,
    RunStarted,
    StepEnded,
    StepIntended,
)
from ncia.core.reports.continuity import ContinuityReport, SystemContinuity, continuity
from ncia.core.reports.looks import Live
from ncia.core.reports.naming import naming_of
from ncia.core.reports.protection import Active
from tests.core.story import NORTH, SOUTH, Story, at, sample_estate, text
from tests.recovery.loss.world import DOOR, stream

ESTATE = sample_estate()
AT_HOME: Active = {SystemId("tax"): (ESTATE.systems[SystemId("tax")].home, 1), SystemId("fines"): (SOUTH, 1)}
MOVED: Active = {SystemId("tax"): (SOUTH, 2), SystemId("fines"): (SOUTH, 1)}
FOLLOWED = Live(
    {},
    {
        (f"replica:{system}@{site}", name): (value, at(9))
        for system, site in (("tax", "south"), ("fines", "north"))
        for name, value in (("canary_age_seconds", 0.5), ("predicted_loss_seconds", 2.5))
    },
)


def report(story: Story, live: Live | None = None, active: Active = AT_HOME, now: float = 10) -> ContinuityReport:
    return continuity(SOUTH, ESTATE, story.state(), live or Live(), active, at(now))


def system(told: ContinuityReport, id: str) -> SystemContinuity:
    return next(each for each in told.systems if each.id == id)


def gaps(told: ContinuityReport, subject: str) -> list[str]:
    return [gap.what for gap in told.not_proven if gap.subject == subject]


def failover(rto_seconds: float | None) -> Story:
    """South took tax from north at second 3, and was seen from outside where an RTO was measured."""
    moves = [{"system": "tax", "loss": {"seconds": 0.0, "sentence": "nothing: commits waited for this copy"}}]
    plan = {"lost_site": "north", "site": "south", "moves": moves, "steps": []}
    story = Story().say(1, SOUTH, PlanMade(run="r1", runbook="site_failover", plan_hash="h", plan=plan, by="ann"))
    story.say(2, SOUTH, RunStarted(run="r1", plan_hash="h", site="south"))
    story.say(3, SOUTH, *step("tax/claim_epoch", {}))
    if rto_seconds is not None:
        story.say(4, SOUTH, *step("tax/verify_outside", {"rto_seconds": rto_seconds}))
    return story


def step(id: str, measured: dict[str, object]) -> tuple[StepIntended, StepEnded]:
    intent = StepIntended(run="r1", step=id, attempt=1)
    return intent, StepEnded(run="r1", step=id, attempt=1, outcome="done", evidence="", measured=measured)


def proof(matched: bool) -> ProofFinished:
    table = TableSum(table="acts", rows=7, sum128="0" * 32)
    return ProofFinished(
        job="j",
        point="p",
        dataset="tax/rows",
        matched=matched,
        compare_lsn="0/1",
        source=(table,),
        copy_=(table,),
        differences=() if matched else ("acts: 7 rows against 6",),
        restore_seconds=1.5,
        seconds=2.0,
    )


def test_before_anything_was_measured_every_answer_is_listed_as_not_proven() -> None:
    told = report(Story())
    tax = system(told, "tax")
    assert (tax.predicted_loss_seconds, tax.keeps_rpo, tax.keeps_rto, tax.last_run) == (None, None, None, None)
    assert gaps(told, "tax") == [
        "what a loss of north would cost: no canary was read back",
        "its RTO: it has never been moved by a run",
    ]
    assert gaps(told, "tax/rows") == ["its copies: never proven: no copy of it was ever restored and compared"]
    assert gaps(told, "tax/letters") == ["its recovery: it is held at one site only"]


def test_what_the_canaries_say_stands_beside_the_promise() -> None:
    told = report(Story(), FOLLOWED)
    tax, fines = system(told, "tax"), system(told, "fines")
    assert (tax.promise_rpo_seconds, tax.predicted_loss_seconds, tax.keeps_rpo) == (0, 0.0, True)
    assert (fines.promise_rpo_seconds, fines.predicted_loss_seconds, fines.keeps_rpo) == (60, 3.5, True)


def test_an_old_figure_is_shown_and_listed_as_not_proven() -> None:
    told = report(Story(), FOLLOWED, now=60)
    assert system(told, "fines").stale is True
    assert "what a loss of south would cost now: the figure is old" in gaps(told, "fines")


def test_a_run_measures_the_rto_and_carries_its_plans_loss() -> None:
    told = report(failover(14.2), active=MOVED)
    tax = system(told, "tax")
    assert tax.last_run is not None
    assert (tax.last_run.rto_seconds, tax.last_run.loss_seconds, tax.keeps_rto) == (14.2, 0.0, True)
    assert gaps(told, "tax") == ["what a loss of south would cost: it has no partner since its promotion"]


def test_an_rto_longer_than_the_promise_does_not_keep_it() -> None:
    assert system(report(failover(3601.0), active=MOVED), "tax").keeps_rto is False


def test_a_run_that_did_not_get_to_the_end_measured_no_rto() -> None:
    told = report(failover(None), active=MOVED)
    assert system(told, "tax").keeps_rto is None
    assert "its RTO: run r1 did not get to the end for it" in gaps(told, "tax")


def test_a_promoted_system_is_alone_from_its_claim_on() -> None:
    tax = system(report(failover(14.2), active=MOVED, now=63), "tax")
    assert (tax.without_partner_since, tax.without_partner_seconds) == (text(3), 60.0)


def test_a_proof_that_matched_closes_its_gap_and_one_that_did_not_opens_it() -> None:
    good, bad = report(Story().say(1, SOUTH, proof(True))), report(Story().say(1, SOUTH, proof(False)))
    assert (system(good, "tax").proof.matched, gaps(good, "tax/rows")) == (True, [])
    assert gaps(bad, "tax/rows") == ["its copies: restored and NOT equal: acts: 7 rows against 6"]


def test_a_proof_that_could_not_be_carried_out_proves_nothing() -> None:
    told = report(Story().say(1, SOUTH, ProofFailed(job="j", point="p", dataset="tax/rows", error="disk full")))
    assert gaps(told, "tax/rows") == ["its copies: could not be proven: disk full"]


@pytest.mark.parametrize(("now", "expired"), [(10, False), (365 * 86400, True)])
def test_an_exception_is_told_with_its_end(now: float, expired: bool) -> None:
    told = report(Story(), now=now).unprotected[0]
    assert (told.dataset, told.by, told.expired) == ("tax/letters", "ann", expired)


def test_the_report_is_plain_json() -> None:
    told = report(failover(14.2), FOLLOWED, MOVED)
    assert json.loads(json.dumps(told.to_json()))["systems"][0]["last_run"]["rto_seconds"] == 14.2


def test_the_report_says_when_a_loss_now_would_have_no_names() -> None:
    heard, silent = naming_of([stream(until=8)], at(10)), naming_of([stream(until=2)], at(10))
    for naming, named in ((heard, True), (silent, False), (naming_of([], at(10)), False)):
        told = report(Story(), replace(FOLLOWED, naming={NORTH: naming}))
        assert system(told, "tax").loss_named is named
        assert any("the names of the acts" in gap for gap in gaps(told, "tax")) is not named
        assert system(told, "fines").loss_named is None  # served here: its receipts are kept at the other site
    told = report(Story(), replace(FOLLOWED, naming={NORTH: silent}))
    door = f"{DOOR} was not heard since 2026-06-01 12:00:02 UTC"
    assert f"the names of the acts that a loss of north would take: {door}" in gaps(told, "tax")


def test_a_door_that_closed_acknowledges_nothing_so_nothing_lacks_a_name() -> None:
    assert naming_of([stream(until=2, closed=True)], at(100)).named
    later = stream(began=50, until=60, id="s2")
    assert not naming_of([stream(until=2, closed=True), later], at(100)).named
