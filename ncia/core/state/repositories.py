"""Agencies' own repositories: which there are, which snapshots are expected in them, and what the last look found.

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ncia.core.journal.entries_repositories import (
    RepositoryLooked,
    RepositoryMade,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotKept,
)
from ncia.core.journal.entry import Entry

if TYPE_CHECKING:
    from ncia.core.state.state import State

EXPECTED_MAX = 5_000  # of one repository at one site; who keeps more is told of strangers

Where = tuple[str, str]  # agency, or dataset, and site


@dataclass(frozen=True)
class ExpectedSnapshot:
    at: datetime
    kept: SnapshotKept

    @property
    def whole(self) -> bool:
        return not self.kept.losses


@dataclass(frozen=True)
class SnapshotFailure:
    """``count`` in a row, since ``since``; ``last`` is the newest."""

    since: datetime
    at: datetime
    count: int
    last: SnapshotFailed


@dataclass(frozen=True)
class RepositoryFact:
    """One agency's repository at one site; ``expected`` oldest first."""

    made_at: datetime
    made: RepositoryMade
    expected: tuple[ExpectedSnapshot, ...] = ()
    looked_at: datetime | None = None  # when the outcome last changed
    looked: RepositoryLooked | None = None

    def newest_whole(self, dataset: str) -> ExpectedSnapshot | None:
        """By the order in which they were written down, which is that of their making."""
        return next((each for each in reversed(self.expected) if each.kept.dataset == dataset and each.whole), None)


def repository_made(state: State, entry: Entry, body: RepositoryMade) -> None:
    """Made again, it is another one: what was expected of the first stays expected, and is missing."""
    known = state.repositories.get((body.agency, body.site))
    fact = RepositoryFact(entry.at, body) if known is None else replace(known, made_at=entry.at, made=body)
    state.repositories = {**state.repositories, (body.agency, body.site): fact}


def snapshot_kept(state: State, entry: Entry, body: SnapshotKept) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    expected = (*fact.expected, ExpectedSnapshot(entry.at, body))[-EXPECTED_MAX:]
    state.repositories = {**state.repositories, (body.agency, body.site): replace(fact, expected=expected)}
    if not body.losses:
        key = (body.dataset, body.site)
        state.snapshot_failures = {each: found for each, found in state.snapshot_failures.items() if each != key}


def snapshot_failed(state: State, entry: Entry, body: SnapshotFailed) -> None:
    key = (body.dataset, body.site)
    before = state.snapshot_failures.get(key)
    if before is not None and before.last.job == body.job:
        return
    since, count = (entry.at, 1) if before is None else (before.since, before.count + 1)
    state.snapshot_failures = {**state.snapshot_failures, key: SnapshotFailure(since, entry.at, count, body)}


def snapshot_forgotten(state: State, entry: Entry, body: SnapshotForgotten) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    expected = tuple(each for each in fact.expected if each.kept.snapshot != body.snapshot)
    state.repositories = {**state.repositories, (body.agency, body.site): replace(fact, expected=expected)}


def repository_looked(state: State, entry: Entry, body: RepositoryLooked) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    looked = replace(fact, looked_at=entry.at, looked=body)
    state.repositories = {**state.repositories, (body.agency, body.site): looked}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    RepositoryMade.KIND: repository_made,
    SnapshotKept.KIND: snapshot_kept,
    SnapshotFailed.KIND: snapshot_failed,
    SnapshotForgotten.KIND: snapshot_forgotten,
    RepositoryLooked.KIND: repository_looked,
}
