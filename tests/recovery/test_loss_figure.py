"""What promoting the copies would lose: rows and documents, waited for or not, known or not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ncia.core.base.ids import DatasetId, SystemId
from recovery.fencing.keys import Sync, SyncMode
from recovery.loss_figure import DocumentCopy, Facts, loss_of
from recovery.ports import Outage, Received
from tests.recovery.planning import DOWN, NOW, planned, refused, replica
from tests.recovery.scene import estate


def loss(system: str, facts: Facts) -> tuple[float | None, str]:
    found = loss_of(estate().systems[SystemId(system)], facts, estate().settings, NOW)
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
    loss = loss_of(estate().systems[SystemId(system)], hour_ahead, estate().settings, NOW)
    assert (loss.seconds, loss.how) == (None, "unknown")
    assert loss.sentence == (
        "not known: the newest canary here is dated 3594 s from now, so the clocks of the two sites differ"
    )


def test_with_the_lost_sites_clock_an_hour_ahead_documents_measure_nothing_either() -> None:
    ahead = DocumentCopy(DatasetId("egov/documents"), NOW + timedelta(hours=1))
    loss = loss_of(
        estate().systems[SystemId("egov")], Facts(replica(0.2), DOWN, documents=(ahead,)), estate().settings, NOW
    )
    assert (loss.seconds, loss.how) == (None, "unknown")


def test_the_loss_does_not_grow_while_people_decide() -> None:
    found = Facts(replica(0.4), DOWN)
    later = loss_of(estate().systems[SystemId("patent")], found, estate().settings, NOW + timedelta(minutes=30))
    assert later.seconds == 1.4


def test_a_system_that_is_not_down_would_lose_until_now() -> None:
    assert loss("patent", Facts(replica(0.4), Outage(None, "the entry answers"))) == (7.4, "measured")


def test_a_copy_without_a_canary_is_unknown() -> None:
    assert loss("patent", Facts(replica(0, newest_canary_at=None), DOWN)) == (None, "unknown")


def paper(dataset: str, behind_seconds: float | None, trouble: str = "") -> DocumentCopy:
    at = None if behind_seconds is None else NOW - timedelta(seconds=6 + behind_seconds)
    return DocumentCopy(DatasetId(dataset), at, trouble)


def test_the_worst_of_rows_and_documents_is_what_would_be_lost() -> None:
    assert loss("patent", Facts(replica(0.4), DOWN, documents=(paper("patent/drawings", 2.0),))) == (2.5, "measured")
    assert loss("patent", Facts(replica(5.0), DOWN, documents=(paper("patent/drawings", 2.0),))) == (6.0, "measured")


def test_documents_that_acts_waited_for_lose_nothing_unless_their_way_was_not_known_to_work() -> None:
    written = "egov/documents"
    assert loss("egov", Facts(replica(0.4), DOWN, documents=(paper(written, 2.0),))) == (0.0, "synchronous")
    assert loss("egov", Facts(replica(0.4), DOWN, documents=(paper(written, 60.0),))) == (None, "unknown")
    assert loss("egov", Facts(replica(0.4), DOWN, cleared_by="run-0", documents=(paper(written, 2.0),))) == (
        2.5,
        "measured",
    )


def test_documents_of_which_nothing_is_known_make_the_loss_unknown_and_say_why() -> None:
    trouble = "patent/drawings: s3@gwangju does not answer"
    facts = Facts(replica(0.4), DOWN, documents=(paper("patent/drawings", None, trouble),))
    found = loss_of(estate().system("patent"), facts, estate().settings, NOW)
    assert (found.seconds, found.sentence) == (None, f"not known: {trouble}")


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
