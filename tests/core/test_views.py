"""The status view: what is said, what is not known, and that the silent have no say."""

import json
from datetime import datetime

from ncia.core.base.ids import SystemId
from ncia.core.journal.entries import (
    AlertAcked,
    IncidentOpened,
    ProofFailed,
    ProofFinished,
    RunMissed,
    TableSum,
)
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    PlanMade,
    RunEnded,
    RunStarted,
    RunStopped,
    StepEnded,
    StepIntended,
    SyncDegraded,
    SyncRestored,
)
from ncia.core.views import Active, Live, StatusView, status_view
from tests.core.story import NORTH, SOUTH, THIRD, Story, at, sample_estate, text

ESTATE = sample_estate()
ALL_SPEAK = {NORTH: at(9), SOUTH: at(9), THIRD: at(9)}
AT_HOME: Active = {SystemId("tax"): (NORTH, 1), SystemId("fines"): (SOUTH, 1)}
MOVED: Active = {SystemId("tax"): (SOUTH, 2), SystemId("fines"): (SOUTH, 1)}
PLAN = {
    "lost_site": "north",
    "site": "south",
    "steps": [{"id": "fence"}, {"id": "tax/claim_epoch"}, {"id": "tax/promote"}],
}
INCIDENT = IncidentOpened(
    incident="incident-1",
    root="site:north",
    cause="site-lost",
    severity="critical",
    sentence="Site North is lost.",
    run_next="ncia recover plan north",
    members=("app:tax@north", "db:tax@north"),
    systems=("tax",),
)


def view(story: Story, live: Live | None = None, active: Active = AT_HOME, now: float = 10) -> StatusView:
    return status_view(SOUTH, ESTATE, story.state(), live or Live(ALL_SPEAK), active, at(now))


def all_up() -> Story:
    return (
        Story()
        .look(1, NORTH, "up", "entry:tax", "entry:fines", "site:south", "site:third", "lease:north", "lease:south")
        .look(1, SOUTH, "up", "entry:tax", "entry:fines", "site:north", "site:third", "replica:tax@south")
        .look(1, THIRD, "up", "site:north", "site:south", "etcd:north", "etcd:south", "etcd:third")
    )


def test_where_all_is_up_and_all_speak_the_estate_is_up() -> None:
    status = view(all_up())
    assert status.verdict == "up"
    assert {s.id: s.verdict for s in status.systems} == {"tax": "up", "fines": "up"}
    assert {s.id: (s.verdict, s.lease, s.etcd) for s in status.sites} == {
        "north": ("up", "up", "up"),
        "south": ("up", "up", "up"),
        "third": ("up", "", "up"),
    }


def test_before_anybody_has_spoken_everything_is_unknown() -> None:
    status = view(Story(), Live())
    assert status.verdict == "unknown"
    assert {s.verdict for s in status.systems} == {"unknown"}
    assert {(s.verdict, s.silent, s.last_heard_at) for s in status.sites} == {("unknown", True, None)}


def test_who_has_not_spoken_for_five_seconds_has_no_say() -> None:
    silent = Live({NORTH: at(3), SOUTH: at(9), THIRD: at(9)})
    story = all_up().look(8, SOUTH, "down", "entry:tax", "site:north", why="timed out")
    status = view(story, silent)
    tax = next(s for s in status.systems if s.id == "tax")
    north = next(s for s in status.sites if s.id == "north")
    assert (tax.verdict, tax.evidence) == ("down", "timed out")
    assert (north.silent, north.seen_by) == (True, {"south": "down", "third": "up"})
    assert (north.verdict, north.evidence) == ("degraded", "from south: timed out")


def test_a_dependency_that_the_application_names_is_the_nearer_evidence() -> None:
    story = (
        all_up().look(5, NORTH, "down", "entry:tax", why="HTTP 503").look(5, SOUTH, "down", "entry:tax", why="HTTP 503")
    )
    story.look(5, NORTH, "down", "app:tax@north", why="names dependency fines")
    tax = view(story).systems[0]
    assert tax.evidence == "names dependency fines"


def test_a_lease_is_what_the_newest_look_that_knows_says() -> None:
    story = all_up().look(5, THIRD, "down", "lease:north", why="no key").look(6, SOUTH, "unknown", "lease:north")
    assert view(story).sites[0].lease == "down"


def test_lag_and_loss_are_those_of_the_copy_at_the_other_site() -> None:
    measures = {
        ("replica:fines@north", "canary_age_seconds"): (0.5, at(9)),
        ("replica:fines@north", "predicted_loss_seconds"): (2.5, at(9)),
        ("replica:fines@south", "predicted_loss_seconds"): (99.0, at(9)),
    }
    fines = view(all_up(), Live(ALL_SPEAK, measures)).systems[1]
    assert (fines.replica_site, fines.lag_seconds, fines.predicted_loss_seconds) == ("north", 0.5, 3.5)
    assert (fines.stale, fines.commits_wait, fines.breaks_promise) == (False, False, False)


def test_a_prediction_longer_than_the_promise_breaks_it() -> None:
    measures = {("replica:fines@north", "predicted_loss_seconds"): (61.0, at(9))}
    assert view(all_up(), Live(ALL_SPEAK, measures)).systems[1].breaks_promise is True


def test_where_commits_wait_for_a_copy_that_follows_nothing_acknowledged_would_be_lost() -> None:
    tax = view(all_up(), Live(ALL_SPEAK, measured("replica:tax@south", 0.4))).systems[0]
    assert (tax.commits_wait, tax.breaks_promise, tax.predicted_loss_seconds) == (True, False, 0.0)


def test_where_commits_should_wait_but_the_copy_does_not_follow_the_loss_is_not_known() -> None:
    tax = view(all_up(), Live(ALL_SPEAK, measured("replica:tax@south", 16.0))).systems[0]
    assert (tax.breaks_promise, tax.predicted_loss_seconds, tax.lag_seconds) == (None, None, 16.0)


def test_what_was_measured_too_long_ago_is_stale_and_what_never_was_is_not_known() -> None:
    old = {("replica:tax@south", "canary_age_seconds"): (0.4, at(2))}
    assert view(all_up(), Live(ALL_SPEAK, old)).systems[0].stale is True
    never = view(all_up()).systems[0]
    assert (never.lag_seconds, never.predicted_loss_seconds, never.breaks_promise) == (None, None, None)


def test_a_moved_system_has_no_partner_until_its_copy_is_seen_to_follow() -> None:
    story = all_up().say(2, SOUTH, PlanMade(run="r1", runbook="b", plan_hash="h", plan=PLAN, by="ann"))
    story.say(3, SOUTH, StepIntended(run="r1", step="tax/claim_epoch", attempt=1), ended("tax/claim_epoch", "done"))
    old = Live(ALL_SPEAK, measured("replica:tax@north", 0.4))
    tax = view(story, old, MOVED).systems[0]
    assert (tax.active_site, tax.epoch, tax.replica_site) == ("south", 2, "north")
    assert (tax.without_partner_since, tax.predicted_loss_seconds, tax.breaks_promise) == (text(3), None, None)
    follows = view(story.look(5, NORTH, "up", "replica:tax@north"), old, MOVED).systems[0]
    assert (follows.without_partner_since, follows.commits_wait) == (None, False)
    assert (follows.predicted_loss_seconds, follows.breaks_promise) == (3.4, True)


def test_a_system_whose_commits_wait_for_nobody_is_unprotected_since_then_and_its_loss_is_measured() -> None:
    measures = {
        ("replica:tax@south", "canary_age_seconds"): (4.0, at(9)),
        ("replica:tax@south", "predicted_loss_seconds"): (6.0, at(9)),
    }
    degraded = SyncDegraded(system="tax", site="north", since=text(3), lsn="0/3000060", reason="nobody keeps them")
    story = all_up().say(3, NORTH, degraded)
    tax = view(story, Live(ALL_SPEAK, measures)).systems[0]
    assert (tax.commits_wait, tax.without_partner_since, tax.predicted_loss_seconds) == (False, text(3), 7.0)
    assert tax.breaks_promise is True
    restored = SyncRestored(system="tax", site="north", since=text(3), lsn="0/4000000", unprotected_seconds=2.0)
    tax = view(story.say(5, NORTH, restored), Live(ALL_SPEAK, measures)).systems[0]
    assert (tax.commits_wait, tax.without_partner_since, tax.predicted_loss_seconds) == (True, None, 0.0)


def test_a_promoted_system_whose_commits_wait_again_is_protected_again() -> None:
    story = all_up().say(2, SOUTH, PlanMade(run="r1", runbook="b", plan_hash="h", plan=PLAN, by="ann"))
    story.say(3, SOUTH, StepIntended(run="r1", step="tax/claim_epoch", attempt=1), ended("tax/claim_epoch", "done"))
    restored = SyncRestored(system="tax", site="south", since=text(3), lsn="0/4000000", unprotected_seconds=2.0)
    tax = view(story.say(5, SOUTH, restored), Live(ALL_SPEAK, measured("replica:tax@north", 0.4)), MOVED).systems[0]
    assert (tax.commits_wait, tax.without_partner_since, tax.predicted_loss_seconds) == (True, None, 0.0)


def test_with_the_copy_behind_a_receiver_that_keeps_every_commit_loses_nothing() -> None:
    behind = Live(ALL_SPEAK, measured("replica:tax@south", 60.0))
    assert view(all_up(), behind).systems[0].predicted_loss_seconds is None
    kept = all_up().look(1, NORTH, "up", "receiver:tax@south")
    assert view(kept, behind).systems[0].predicted_loss_seconds == 0.0


def test_once_a_partner_is_required_again_commits_wait_whatever_the_epoch() -> None:
    story = all_up().say(2, SOUTH, PlanMade(run="r1", runbook="b", plan_hash="h", plan=PLAN, by="ann"))
    story.say(3, SOUTH, StepIntended(run="r1", step="tax/claim_epoch", attempt=1), ended("tax/claim_epoch", "done"))
    story.say(4, NORTH, PlanMade(run="r2", runbook="site_failback", plan_hash="h", plan=PLAN, by="ann"))
    again = StepEnded(run="r2", step="tax/make_synchronous", attempt=1, outcome="done", evidence="", measured={})
    story.say(5, NORTH, StepIntended(run="r2", step="tax/make_synchronous", attempt=1), again)
    live = Live(ALL_SPEAK, measured("replica:tax@north", 0.4))
    tax = view(story.look(6, NORTH, "up", "replica:tax@north"), live, MOVED).systems[0]
    assert (tax.commits_wait, tax.predicted_loss_seconds, tax.without_partner_since) == (True, 0.0, None)


def test_without_an_epoch_a_system_is_shown_at_home_and_the_epoch_is_not_known() -> None:
    tax = view(all_up(), active={}).systems[0]
    assert (tax.active_site, tax.epoch) == ("north", None)


def test_an_open_incident_makes_an_estate_of_running_systems_degraded() -> None:
    status = view(all_up().say(5, SOUTH, INCIDENT))
    assert (status.verdict, [i.sentence for i in status.incidents]) == ("degraded", ["Site North is lost."])


def test_an_acknowledgement_holds_until_its_time() -> None:
    ack = AlertAcked(incident="incident-1", by="ann", comment="on it", until=text(60))
    story = all_up().say(5, SOUTH, INCIDENT).say(6, SOUTH, ack)
    assert view(story, now=10).incidents[0].acked_by == "ann"
    assert view(story, now=61).incidents[0].acked_by == ""


def measured(subject: str, lag: float) -> dict[tuple[str, str], tuple[float, datetime]]:
    return {(subject, "canary_age_seconds"): (lag, at(9)), (subject, "predicted_loss_seconds"): (lag + 2, at(9))}


def run_story() -> Story:
    story = Story().say(1, SOUTH, PlanMade(run="r1", runbook="site_failover", plan_hash="h", plan=PLAN, by="ann"))
    for person in ("ann", "bob"):
        story.say(
            2,
            SOUTH,
            ApprovalGiven(
                run="r1", plan_hash="h", person=person, expires_at=text(900), key_fingerprint="k", signature="s"
            ),
        )
    return story


def test_a_plan_shows_its_steps_and_who_approved_it() -> None:
    run = view(run_story()).runs[0]
    assert (run.state, run.site, run.approvals) == ("planned", "north", ("ann", "bob"))
    assert [step.id for step in run.steps] == ["fence", "tax/claim_epoch", "tax/promote"]
    assert (run.steps_done, run.steps_total, run.seconds) == (0, 3, None)


def test_a_running_step_is_running_and_unknown_once_the_run_stopped() -> None:
    story = run_story().say(3, SOUTH, RunStarted(run="r1", plan_hash="h", site="south"))
    story.say(3, SOUTH, StepIntended(run="r1", step="fence", attempt=1), ended("fence", "done"))
    story.say(4, SOUTH, StepIntended(run="r1", step="tax/claim_epoch", attempt=1))
    run = view(story).runs[0]
    assert [step.state for step in run.steps] == ["done", "running", "pending"]
    assert (run.state, run.steps_done, run.seconds) == ("running", 1, 7.0)
    stopped = view(story.say(5, SOUTH, RunStopped(run="r1", by="ann", reason="wrong site"))).runs[0]
    assert [step.state for step in stopped.steps] == ["done", "unknown", "pending"]
    assert stopped.sentence == "wrong site"


def test_refused_and_failed_steps_are_told_apart() -> None:
    story = run_story().say(3, SOUTH, RunStarted(run="r1", plan_hash="h", site="south"))
    for step, outcome in (("fence", "refused"), ("tax/claim_epoch", "failed")):
        story.say(3, SOUTH, StepIntended(run="r1", step=step, attempt=1), ended(step, outcome))
    assert [step.state for step in view(story).runs[0].steps] == ["refused", "failed", "pending"]


def test_an_ended_run_tells_its_sentence_and_seconds() -> None:
    story = run_story().say(3, SOUTH, RunStarted(run="r1", plan_hash="h", site="south"))
    story.say(9, SOUTH, RunEnded(run="r1", outcome="succeeded", sentence="1 system moved", seconds=6.0))
    run = view(story, now=500).runs[0]
    assert (run.state, run.sentence, run.seconds) == ("succeeded", "1 system moved", 6.0)


def test_a_plan_that_nobody_started_is_not_shown_for_ever() -> None:
    assert view(run_story(), now=2 * 3600).runs == ()


def test_every_dataset_with_copies_has_a_proof_or_the_word_never() -> None:
    table = TableSum(table="acts", rows=7, sum128="0" * 32)
    finished = ProofFinished(
        job="j",
        point="p",
        dataset="tax/rows",
        matched=True,
        compare_lsn="0/1",
        source=(table,),
        copy_=(table,),
        differences=(),
        restore_seconds=1.5,
        seconds=2.0,
    )
    proofs = {p.dataset: p for p in view(Story().say(1, SOUTH, finished)).proofs}
    assert (proofs["tax/rows"].matched, proofs["tax/rows"].restore_seconds) == (True, 1.5)
    assert (proofs["fines/rows"].at, proofs["fines/rows"].matched) == (None, None)
    failed = ProofFailed(job="j", point="p", dataset="tax/rows", error="disk full")
    assert "disk full" in view(Story().say(1, SOUTH, failed)).proofs[0].sentence


def test_unprotected_datasets_are_told_with_who_allows_it_and_whether_that_is_past() -> None:
    shown = view(Story()).unprotected[0]
    assert (shown.dataset, shown.by, shown.until, shown.expired) == ("tax/letters", "ann", "2026-12-31", False)
    later = status_view(SOUTH, ESTATE, Story().state(), Live(), AT_HOME, at(365 * 86400))
    assert later.unprotected[0].expired is True


def test_missed_runs_are_told() -> None:
    missed = RunMissed(job="backup-tax", dataset="tax/rows", due_at=text(0), reason="no worker")
    assert [m.job for m in view(Story().say(1, SOUTH, missed)).missed] == ["backup-tax"]


def test_the_view_is_plain_json() -> None:
    status = view(run_story().say(5, SOUTH, INCIDENT))
    assert json.loads(json.dumps(status.to_json()))["systems"][0]["id"] == "tax"


def ended(step: str, outcome: str) -> StepEnded:
    return StepEnded.model_validate(
        {"run": "r1", "step": step, "attempt": 1, "outcome": outcome, "evidence": "", "measured": {}}
    )
