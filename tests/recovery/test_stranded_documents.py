"""When a document that only a returned site holds can have come to be, and what two listings tell of one name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import PlanMade, StepEnded
from ncia.core.journal.entry import make_entry
from ncia.core.state.facts import Run
from ncia.core.work.documents import Seen
from recovery.stranded_documents import MARGIN, Span, likeness, span_of

Outcome = Literal["done", "failed"]

TAX = SystemId("tax")
LOST = datetime(2026, 9, 26, 20, 15, 30, tzinfo=UTC)
MARK, CLAIMED = LOST - timedelta(seconds=4), LOST + timedelta(seconds=40)


def taken(
    how: str = "measured", measured_at: str = to_text(MARK), lost_at: str = to_text(LOST), **steps: Outcome
) -> Run:
    """A run that took tax over; ``steps`` are step kinds of it with their outcomes."""
    loss = {"how": how, "measured_at": measured_at}
    moves: list[dict[str, Any]] = [{"system": "tax", "lost_at": lost_at, "loss": loss}]
    plan = PlanMade(run="run-1", runbook="r", plan_hash="00", plan={"moves": moves}, by="kim")
    ends: list[Body] = [
        StepEnded(run="run-1", step=f"tax/{kind}", attempt=1, outcome=outcome, evidence="", measured={})
        for kind, outcome in steps.items()
    ]
    log = tuple(make_entry(SiteId("west"), number, CLAIMED, "ncia", 0, body) for number, body in enumerate(ends))
    return Run("run-1", plan, LOST + timedelta(seconds=20), "west", log=log)


def test_the_time_that_matters_is_from_the_new_sites_mark_until_its_claim_with_a_margin() -> None:
    assert span_of(taken(claim="done", promote="done"), TAX) == Span(MARK - MARGIN, CLAIMED + MARGIN)


def test_a_claim_that_failed_bounds_nothing() -> None:
    assert span_of(taken(claim="failed"), TAX) == Span(MARK - MARGIN, None)


def test_a_mark_younger_than_the_loss_does_not_shorten_the_time() -> None:
    late = to_text(LOST + timedelta(seconds=3))
    assert span_of(taken(measured_at=late), TAX).since == LOST - MARGIN


def test_of_a_planned_move_it_begins_with_the_plan() -> None:
    assert span_of(taken("planned", "", ""), TAX).since == LOST + timedelta(seconds=20) - MARGIN


@pytest.mark.parametrize("run", [None, taken("unknown")])
def test_where_the_loss_or_the_run_is_not_known_everything_is_looked_at(run: Run | None) -> None:
    assert span_of(run, TAX) == Span()
    assert span_of(taken(claim="done"), SystemId("land")) == Span()


def test_only_folders_of_that_time_and_those_above_them_are_entered() -> None:
    span = Span(LOST, LOST + timedelta(minutes=2))
    entered = ("2026", "2026/09", "2026/09/26", "2026/09/26/2015", "2026/09/26/2015/30", "2026/09/26/2017/30")
    passed_by = ("2025", "2026/08", "2026/09/27", "2026/09/26/2014", "2026/09/26/2015/20", "2026/09/26/2017/40", "misc")
    assert [span.meets(folder) for folder in entered] == [True] * 6
    assert [span.meets(folder) for folder in passed_by] == [False] * 7
    assert all(Span().meets(folder) for folder in passed_by)


def test_without_a_folder_of_time_a_documents_own_time_decides() -> None:
    span = Span(LOST, None)
    old, new = (Seen("a/b", 1, moment.timestamp()) for moment in (MARK, LOST))
    assert [span.takes(seen, by_time=False) for seen in (old, new)] == [False, True]
    assert span.takes(old, by_time=True)
    assert not span.takes(Seen("root", 1, MARK.timestamp()), by_time=True)
    assert Span().takes(old, by_time=False)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        (None, "absent"),
        (Seen("a", 2, 5.0), "other"),
        (Seen("a", 1, 5.5), "same"),
        (Seen("a", 1, 9.0), "unknown"),
        (Seen("a", 1, 9.0, "aa"), "same"),
        (Seen("a", 1, 5.0, "bb"), "other"),
    ],
)
def test_two_listings_are_compared_as_a_mirror_does(there: Seen | None, told: str) -> None:
    assert likeness(Seen("a", 1, 5.0, "aa" if there and there.tag else ""), there) == told
