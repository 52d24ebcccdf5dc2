"""Which snapshots are expected: what was kept and not forgotten, whatever else is written."""

from __future__ import annotations

from datetime import timedelta

from ncia.core.journal.body import Body
from ncia.core.journal.entries_repositories import (
    RepositoryChecked,
    RepositoryLooked,
    RepositoryMade,
    RepositoryPruned,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotHolds,
    SnapshotKept,
)
from ncia.core.journal.entry import make_entry
from ncia.core.state import State, fold
from ncia.core.state.repositories import RepositoryFact
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


def read(part: int, of: int = 3, faults: int = 0, **changes: object) -> RepositoryChecked:
    told = {"part": part, "of": of, "faults": faults, "named": ("it is bad",) if faults else (), **changes}
    return BY_KIND[RepositoryChecked].model_copy(update=told)


def fact(*bodies: Body) -> RepositoryFact:
    return state_of(MADE, *bodies).repositories[WHERE]


def test_a_place_was_read_whole_when_each_part_was_and_since_the_one_that_waits_longest() -> None:
    assert fact(read(1), read(2)).read_whole_since(3) is None
    assert fact(read(1), read(2), read(3)).read_whole_since(3) == EPOCH + timedelta(seconds=1)
    assert fact(read(1), read(2), read(3), read(1)).read_whole_since(3) == EPOCH + timedelta(seconds=2)


def test_faults_of_a_part_stand_until_the_part_is_read_and_has_none() -> None:
    found = fact(read(1), read(2, faults=2), read(3), read(2, faults=3))
    assert found.trouble() == (EPOCH + timedelta(seconds=2), "it is bad")
    assert [(each.found.part, each.at.second, each.since.second) for each in found.damaged] == [(2, 4, 2)]
    assert fact(read(2, faults=2), read(2)).trouble() is None


def test_a_look_and_a_reading_that_find_something_are_one_trouble() -> None:
    looked = BY_KIND[RepositoryLooked].model_copy(update={"missing": ("8e68 is not there",)})
    assert fact(read(2, faults=2), looked).trouble() == (EPOCH + timedelta(seconds=1), "8e68 is not there; it is bad")


def test_another_division_begins_anew_and_faults_of_the_old_one_stand_until_all_is_read() -> None:
    before = (read(1), read(2, faults=2))
    assert list(fact(*before, read(1, of=2)).read) == [(2, 3), (1, 2)]
    assert list(fact(*before, read(1, of=2), read(2, of=2)).read) == [(1, 2), (2, 2)]
    assert fact(*before, read(1, of=2), read(2)).trouble() is None


def test_another_repository_was_not_read_and_the_same_one_found_again_was() -> None:
    other = MADE.model_copy(update={"repository": "other"})
    assert (fact(read(1), other).read, list(fact(read(1), MADE).read)) == ({}, [(1, 3)])
    assert state_of(MADE, read(1, repository="other")).strays == 1


def test_the_newest_prune_stands_and_is_none_of_another_repository() -> None:
    pruned = BY_KIND[RepositoryPruned]
    later = pruned.model_copy(update={"job": "later"})
    found = fact(pruned, later)
    assert (found.pruned, found.pruned_at) == (later, EPOCH + timedelta(seconds=2))
    other = MADE.model_copy(update={"repository": "other"})
    assert (fact(pruned, other).pruned, state_of(MADE, other, pruned).strays) == (None, 1)


def test_what_is_said_of_a_repository_that_nobody_made_is_a_stray() -> None:
    assert (
        state_of(KEPT, BY_KIND[SnapshotForgotten], BY_KIND[RepositoryLooked], read(1), BY_KIND[RepositoryPruned]).strays
        == 5
    )


def holds(snapshot: str, subject: str = "point-1", **changes: object) -> SnapshotHolds:
    told = {"dataset": "tax/letters", "snapshot": snapshot, "subject": subject, **changes}
    return BY_KIND[SnapshotHolds].model_copy(update=told)


def test_a_subject_is_kept_where_a_whole_snapshot_of_it_is_expected() -> None:
    state = state_of(MADE, kept("a"), holds("a"), kept("b"), holds("b", "point-2"))
    assert state.snapshots_of("tax/letters", "point-1") == {"west": "a"}
    assert state.repositories[WHERE].kept_of("tax/letters").kept.snapshot == "b"
    assert state.snapshots_of("tax/letters", "point-3") == {}
    assert state_of(MADE, kept("a", losses=1), holds("a")).snapshots_of("tax/letters", "point-1") == {}


def test_what_a_snapshot_holds_is_forgotten_with_it() -> None:
    gone = BY_KIND[SnapshotForgotten].model_copy(update={"snapshot": "a"})
    found = fact(kept("a"), holds("a"), kept("b"), holds("b", "point-2"), gone)
    assert (list(found.holds), found.kept_of("tax/letters", "point-1")) == (["b"], None)
    assert fact(kept("a"), gone, holds("a")).holds == {}
    assert state_of(holds("a")).strays == 1
