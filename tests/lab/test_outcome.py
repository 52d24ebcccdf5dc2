"""What is wrong with what a loss cost: more than was predicted, and the time in which nobody could predict."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ncia.lab.citizens.referee import Judgement
from ncia.lab.outcome import SystemOutcome, wrongs

FOLLOWS = SystemOutcome("fines", 3, 100, 2, 1.5, 1.9, 4.0, "gwangju", unwatched_seconds=0.5)


def judged(lost_acked: tuple[str, ...] = ("1", "2")) -> Judgement:
    return Judgement("fines", 100, lost_acked, (), 1.9, 4.0)


def test_the_seconds_between_the_prediction_and_the_loss_may_be_lost_too() -> None:
    assert wrongs(FOLLOWS, judged(), moved=True) == []


def test_a_loss_beyond_the_prediction_and_those_seconds_is_told_with_both() -> None:
    assert wrongs(replace(FOLLOWS, lost_seconds=2.01), judged(), moved=True) == [
        "fines: lost 2.01 s, more than the 1.50 s predicted 0.50 s before the loss"
    ]


def test_where_commits_wait_no_second_is_added() -> None:
    waits = replace(FOLLOWS, unwatched_seconds=0.0)
    assert wrongs(waits, judged(), moved=True) == ["fines: lost 1.90 s, more than the 1.50 s predicted"]


@pytest.mark.parametrize("unwatched_seconds", [0.0, 60.0])
def test_a_grade_1_system_may_lose_nothing_however_long_nobody_looked(unwatched_seconds: float) -> None:
    essential = replace(
        FOLLOWS, grade=1, predicted_loss_seconds=0.0, lost_seconds=0.1, unwatched_seconds=unwatched_seconds
    )
    assert wrongs(essential, judged(), moved=True) == [
        "fines: 2 acknowledged grade-1 acts are lost",
        "fines: lost 0.10 s, more than the 0.00 s predicted",
    ]


def test_a_loss_that_nobody_predicted_is_wrong() -> None:
    unknown = replace(FOLLOWS, predicted_loss_seconds=None)
    assert wrongs(unknown, judged(), moved=True) == ["fines: its loss was not predicted before the kill"]
