"""Which snapshots are expected: what was kept and not forgotten, whatever else is written."""

from __future__ import annotations

from datetime import timedelta

from ncia.core.journal.body import Body
from ncia.core.journal.entries_repositories import (
    RepositoryLooked,
    RepositoryMade,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotKept,
)
from ncia.core.journal.entry import make_entry
from ncia.core.state import State, fold
from tests.core.journal.sites import EAST, EPOCH
from tests.core.journal.specimens import SPECIMENS

BY_KIND = {type(body): body for body in SPECIMENS}
MADE, FAILED = BY_KIND[RepositoryMade], BY_KIND[SnapshotFailed]
KEPT = BY_KIND[SnapshotKept].model_copy(update={"losses": 0, "lost": ()})
WHERE = ("treasury", "west")


def state_of(*bodies: Body) -> State:
    return fold(make_entry(EAST, n, EPOCH + timedelta(seconds=n), "tester", 0, body) for n, body in enumerate(bodies))


def kept(name: str, **changes: object) -> SnapshotKept:
    return KEPT.model_copy(update={"snapshot": name, **changes})


def expected(state: State) -> list[str]:
    return [each.kept.snapshot for each in state.repositories[WHERE].expected]


def test_what_was_kept_is_expected_until_it_is_forgotten() -> None:
    forgotten = BY_KIND[SnapshotForgotten].model_copy(update={"snapshot": "a"})
    assert expected(state_of(MADE, kept("a"), kept("b"))) == ["a", "b"]
    assert expected(state_of(MADE, kept("a"), kept("b"), forgotten)) == ["b"]


def test_a_repository_that_is_made_again_does_not_make_the_lost_ones_forgotten() -> None:
    again = MADE.model_copy(update={"repository": "other"})
    state = state_of(MADE, kept("a"), again)
    assert (expected(state), state.repositories[WHERE].made.repository) == (["a"], "other")


def test_the_newest_whole_one_of_a_dataset_counts() -> None:
    partial = kept("c", losses=1)
    fact = state_of(MADE, kept("a"), kept("b", dataset="tax/other"), partial).repositories[WHERE]
    newest = fact.newest_whole("tax/letters")
    assert newest is not None
    assert (newest.kept.snapshot, fact.newest_whole("no/such")) == ("a", None)


def test_failures_in_a_row_are_counted_once_a_job_and_end_with_a_whole_snapshot() -> None:
    second = FAILED.model_copy(update={"job": "another"})
    failures = state_of(MADE, FAILED, FAILED, second).snapshot_failures
    assert failures["tax/letters", "west"].count == 2
    assert state_of(MADE, FAILED, kept("a", losses=1)).snapshot_failures != {}
    assert state_of(MADE, FAILED, kept("a")).snapshot_failures == {}


def test_the_newest_look_stands() -> None:
    looked = BY_KIND[RepositoryLooked]
    well = looked.model_copy(update={"missing": ()})
    assert state_of(MADE, looked, well).repositories[WHERE].looked == well


def test_what_is_said_of_a_repository_that_nobody_made_is_a_stray() -> None:
    assert state_of(KEPT, BY_KIND[SnapshotForgotten], BY_KIND[RepositoryLooked]).strays == 3
