"""What the care of repositories leaves in their facts, whatever else is written."""

from __future__ import annotations

from datetime import timedelta

from ncia.core.base.clock import to_text
from ncia.core.journal.entries_care import (
    ForgetAllowed,
    ForgetHeld,
    PruneFailed,
    PruneStarted,
    RepositoryMended,
    SnapshotMended,
    SnapshotProofFailed,
    SnapshotProven,
)
from ncia.core.journal.entries_repositories import (
    RepositoryChecked,
    RepositoryLooked,
    RepositoryPruned,
    SnapshotFailed,
    SnapshotHolds,
)
from tests.core.journal.sites import EPOCH
from tests.core.state.test_repositories import BY_KIND, MADE, WHERE, expected, kept, state_of

HELD, ALLOWED, MENDED = BY_KIND[ForgetHeld], BY_KIND[ForgetAllowed], BY_KIND[SnapshotMended]
BEGUN, FAILED = BY_KIND[PruneStarted], BY_KIND[PruneFailed]


def test_a_forgetting_is_held_since_it_was_first_until_it_is_allowed_or_no_more() -> None:
    more = HELD.model_copy(update={"would_go": 32})
    fact = state_of(MADE, HELD, more).repositories[WHERE]
    assert fact.held is not None
    assert (fact.held.found.would_go, fact.held.at > fact.held.since) == (32, True)
    for end in (ALLOWED, HELD.model_copy(update={"would_go": 0})):
        assert state_of(MADE, HELD, end).repositories[WHERE].held is None


def test_what_was_mended_stands_where_its_age_puts_it_and_once() -> None:
    early = MENDED.model_copy(update={"kept_at": "2000-01-01T00:00:00.000000Z"})
    state = state_of(MADE, kept("a"), early, early)
    assert expected(state) == [early.snapshot, "a"]
    assert expected(state_of(MADE, kept(early.snapshot), early)) == [early.snapshot]


def test_what_was_read_before_a_mending_counts_no_more_and_its_faults_stand() -> None:
    mended = BY_KIND[RepositoryMended].model_copy(update={"repository": MADE.repository})
    read = BY_KIND[RepositoryChecked].model_copy(
        update={"part": 1, "of": 1, "faults": 1, "named": ("it is bad",), "started_at": to_text(EPOCH)}
    )
    later = read.model_copy(update={"faults": 0, "started_at": to_text(EPOCH + timedelta(days=1))})
    for told in (mended, MENDED):
        fact = state_of(MADE, read, told).repositories[WHERE]
        assert (fact.parts_read(1), fact.trouble()) == ((), (EPOCH + timedelta(seconds=1), "it is bad"))
        fact = state_of(MADE, read, told, later).repositories[WHERE]
        assert (len(fact.parts_read(1)), fact.trouble()) == (1, None)
    other = mended.model_copy(update={"repository": "another"})
    assert len(state_of(MADE, read, other).repositories[WHERE].parts_read(1)) == 1


def test_what_is_missing_is_not_proven_by_what_was_there() -> None:
    proven = BY_KIND[SnapshotProven]
    gone = BY_KIND[RepositoryLooked].model_copy(update={"missing": (f"snapshot {proven.snapshot[:8]} is not there",)})
    other = gone.model_copy(update={"missing": ("snapshot 00000000 is not there",)})
    before = (MADE, kept(proven.snapshot), proven)
    found = [state_of(*before, each).repositories[WHERE].proven for each in (gone, other)]
    assert found == [frozenset(), {proven.snapshot}]


def test_what_was_mended_is_a_copy_of_what_it_was_a_copy_of_where_it_came_from() -> None:
    east = MADE.model_copy(update={"site": "east"})
    there = kept(MENDED.snapshot, site="east")
    holds = BY_KIND[SnapshotHolds].model_copy(
        update={"dataset": MENDED.dataset, "site": "east", "snapshot": MENDED.snapshot}
    )
    state = state_of(east, there, holds, MADE, MENDED)
    assert list(state.snapshots_of(MENDED.dataset, holds.subject)) == ["east", "west"]


def test_a_failure_is_made_good_by_what_was_kept_elsewhere_since_and_not_by_older_ones() -> None:
    failed = BY_KIND[SnapshotFailed]
    old = MENDED.model_copy(update={"kept_at": "2000-01-01T00:00:00.000000Z"})
    new = MENDED.model_copy(update={"kept_at": "2100-01-01T00:00:00.000000Z"})
    partial = new.model_copy(update={"losses": 1})
    counts = [len(state_of(MADE, failed, each).snapshot_failures) for each in (old, partial, new)]
    assert counts == [1, 1, 0]


def test_a_prune_is_under_way_until_its_own_end_or_a_later_ones() -> None:
    fact = state_of(MADE, BEGUN).repositories[WHERE]
    assert fact.pruning is not None
    assert (fact.pruning.by, fact.pruning.error) == ("tester", "")
    other = FAILED.model_copy(update={"job": "another"})
    assert state_of(MADE, BEGUN, other).repositories[WHERE].pruning == fact.pruning
    failed = state_of(MADE, BEGUN, FAILED).repositories[WHERE].pruning
    assert failed is not None
    assert failed.error == FAILED.error
    assert state_of(MADE, BEGUN, FAILED, BY_KIND[RepositoryPruned]).repositories[WHERE].pruning is None


def test_an_empty_snapshot_is_not_proven_while_an_older_one_with_files_is() -> None:
    proven = BY_KIND[SnapshotProven]
    told = [proven.model_copy(update={"snapshot": name, "documents": count}) for name, count in (("a", 2), ("b", 0))]
    there = [kept("a", dataset=proven.dataset, files=2), kept("b", dataset=proven.dataset, files=0)]
    for last, expected_ in ((there[1], ["a"]), (kept("b", dataset=proven.dataset, files=5), ["a"])):
        fact = state_of(MADE, there[0], last, *told).repositories[WHERE]
        assert [each.kept.snapshot for each in fact.proven_of(proven.dataset, 7)] == expected_
    alone = state_of(MADE, there[1], told[1]).repositories[WHERE]
    assert [each.kept.snapshot for each in alone.proven_of(proven.dataset, 7)] == ["b"]


def test_what_speaks_of_a_repository_that_nobody_made_is_a_stray() -> None:
    assert state_of(HELD, ALLOWED, MENDED, BEGUN, FAILED).strays == 5


def test_a_snapshot_is_proven_until_a_later_proof_of_it_fails_and_failures_keep_their_beginning() -> None:
    proven, failed = BY_KIND[SnapshotProven], BY_KIND[SnapshotProofFailed]
    there = kept(proven.snapshot)
    state = state_of(MADE, there, proven)
    assert [each.kept.snapshot for each in state.repositories[WHERE].proven_of("tax/letters", 7)] == [proven.snapshot]
    fact = state_of(MADE, there, proven, failed, failed).repositories[WHERE]
    proof = fact.proofs["tax/letters"]
    assert (fact.proven_of("tax/letters", 7), proof.at > proof.since, proof.error) == ((), True, failed.error)
    assert state_of(MADE, there, failed, proven).repositories[WHERE].proofs["tax/letters"].error == ""
    assert state_of(MADE, proven).repositories[WHERE].proven == frozenset()  # nobody expects it
