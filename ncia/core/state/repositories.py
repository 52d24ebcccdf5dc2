"""Agencies' own repositories: which there are, which snapshots are expected in them, and what looks and readings
found.

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import from_text
from ncia.core.base.ids import SHORT
from ncia.core.journal.entries_care import ForgetHeld, LockMet, PruneStarted
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
from ncia.core.journal.entry import Entry

if TYPE_CHECKING:
    from ncia.core.state.state import State

EXPECTED_MAX = 5_000  # of one repository at one site; who keeps more is told of strangers


Part = tuple[int, int]  # which one, of how many
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
class PartRead:
    """The newest reading of one part of a repository; ``since`` when it is found so, well or not."""

    at: datetime
    since: datetime
    found: RepositoryChecked


@dataclass(frozen=True)
class Held:
    """A forgetting that waits for a person ``since`` then; ``found``: as it was told last, at ``at``."""

    since: datetime
    at: datetime
    found: ForgetHeld


@dataclass(frozen=True)
class LockFact:
    """Jobs of one kind have met a lock ``count`` times in a row, since ``since``; ``last`` is the newest."""

    since: datetime
    at: datetime
    count: int
    last: LockMet


@dataclass(frozen=True)
class Pruning:
    """A prune that ``by`` began at ``at`` and that told no good end; ``error``: how it ended, at ``ended_at``."""

    at: datetime
    by: str
    begun: PruneStarted
    error: str = ""
    ended_at: datetime | None = None


@dataclass(frozen=True)
class SnapshotProof:
    """The newest restore of a dataset's snapshot that was compared, at ``at``. ``error``: why it failed, in a row since
    ``since``; empty where it did not."""

    job: str
    at: datetime
    since: datetime
    snapshot: str
    error: str = ""


@dataclass(frozen=True)
class RepositoryFact:
    """One agency's repository at one site; ``expected`` oldest first. ``holds``: what those of recovery points and
    programs are copies of, by snapshot. ``read``: what share of it was read when; parts
    of another division stay while faults stand in them, until all parts of the new one were read. ``mended_at``: since
    then something is there that no reading from before has seen."""

    made_at: datetime
    made: RepositoryMade
    expected: tuple[ExpectedSnapshot, ...] = ()
    looked_at: datetime | None = None  # when the outcome last changed
    looked: RepositoryLooked | None = None
    read: Mapping[Part, PartRead] = field(default_factory=dict)
    pruned_at: datetime | None = None
    pruned: RepositoryPruned | None = None
    held: Held | None = None
    pruning: Pruning | None = None
    proofs: Mapping[str, SnapshotProof] = field(default_factory=dict)  # by dataset
    proven: frozenset[str] = frozenset()  # snapshots that were restored and compared well, the last time
    refuted: frozenset[str] = frozenset()  # those that were not
    holds: Mapping[str, SnapshotHolds] = field(default_factory=dict)
    mended_at: datetime | None = None

    def kept_of(self, dataset: str, subject: str = "") -> ExpectedSnapshot | None:
        """The newest whole snapshot that is a copy of ``subject``, or of anything of the dataset that is named."""
        names = {
            snapshot
            for snapshot, told in self.holds.items()
            if told.dataset == dataset and subject in ("", told.subject)
        }
        newest = reversed(self.expected) if names else ()
        return next((each for each in newest if each.whole and each.kept.snapshot in names), None)

    def parts_read(self, of: int) -> tuple[PartRead, ...]:
        """Of so many, those that were read since the last mending, the one that waits longest first."""
        found = (each for (_, whole), each in self.read.items() if whole == of and self._is_of_now(each))
        return tuple(sorted(found, key=lambda each: each.at))

    def _is_of_now(self, each: PartRead) -> bool:
        return self.mended_at is None or from_text(each.found.started_at) >= self.mended_at

    def read_whole_since(self, of: int) -> datetime | None:
        """Each byte was read after this moment; None where some were never read."""
        found = self.parts_read(of)
        return found[0].at if len(found) == of else None

    def proven_of(self, dataset: str, of: int) -> tuple[ExpectedSnapshot, ...]:
        """The whole ones that are proven, oldest first: restored and compared, or every byte of the place was read (in
        ``of`` parts) and well since they were kept. An empty one is not while an older one has files: of an emptied
        store there is nothing to compare."""
        read = self.parts_read(of)
        well = len(read) == of and not self.damaged
        before = min((from_text(each.found.started_at) for each in read), default=None) if well else None
        found = [
            each
            for each in self.expected
            if each.whole and each.kept.dataset == dataset and self._is_proven(each, before)
        ]
        return tuple(each for number, each in enumerate(found) if each.kept.files or not _files(found[:number]))

    def _is_proven(self, each: ExpectedSnapshot, before: datetime | None) -> bool:
        if each.kept.snapshot in self.refuted:
            return False
        return each.kept.snapshot in self.proven or (before is not None and each.at <= before)

    @property
    def damaged(self) -> tuple[PartRead, ...]:
        """The readings that found faults which nobody has seen mended, the oldest first."""
        return tuple(sorted((each for each in self.read.values() if each.found.faults), key=lambda each: each.since))

    def trouble(self) -> tuple[datetime, str] | None:
        """Since when it is not what was kept there, and what is wrong in one clause; None where it is well."""
        told: list[tuple[datetime, str]] = []
        if self.looked is not None and self.looked_at is not None and (self.looked.missing or self.looked.why):
            told.append((self.looked_at, self.looked.why or "; ".join(self.looked.missing)))
        sentences = dict.fromkeys(sentence for each in self.damaged for sentence in each.found.named)
        if self.damaged:
            told.append((self.damaged[0].since, "; ".join(sentences)))
        return (min(at for at, _ in told), "; ".join(why for _, why in told)) if told else None

    def newest_whole(self, dataset: str) -> ExpectedSnapshot | None:
        """By the order in which they were written down, which is that of their making."""
        return next((each for each in reversed(self.expected) if each.kept.dataset == dataset and each.whole), None)


def _files(found: list[ExpectedSnapshot]) -> int:
    return sum(each.kept.files for each in found)


def repository_made(state: State, entry: Entry, body: RepositoryMade) -> None:
    """Made again, it is another one: what was expected of the first stays expected, and is missing."""
    known = state.repositories.get((body.agency, body.site))
    fact = RepositoryFact(entry.at, body) if known is None else replace(known, made_at=entry.at, made=body)
    if known is not None and known.made.repository != body.repository:
        fact = replace(fact, read={}, pruned_at=None, pruned=None, pruning=None, proofs={}, mended_at=None)
    state.repositories = {**state.repositories, (body.agency, body.site): fact}


def snapshot_kept(state: State, entry: Entry, body: SnapshotKept) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    expected = (*fact.expected, ExpectedSnapshot(entry.at, body))[-EXPECTED_MAX:]
    state.repositories = {**state.repositories, (body.agency, body.site): _expecting(fact, expected)}
    if not body.losses:
        key = (body.dataset, body.site)
        state.snapshot_failures = {each: found for each, found in state.snapshot_failures.items() if each != key}


def snapshot_holds(state: State, entry: Entry, body: SnapshotHolds) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    where = (body.agency, body.site)
    told = _expecting(replace(fact, holds={**fact.holds, body.snapshot: body}), fact.expected)
    state.repositories = {**state.repositories, where: told}
    known = state.holders.get(body.dataset, frozenset())
    state.holders = {**state.holders, body.dataset: known | {where}}


def _expecting(fact: RepositoryFact, expected: tuple[ExpectedSnapshot, ...]) -> RepositoryFact:
    """What is expected no more holds nothing that anybody knows of."""
    if not fact.holds:
        return replace(fact, expected=expected)
    names = {each.kept.snapshot for each in expected}
    return replace(fact, expected=expected, holds={name: told for name, told in fact.holds.items() if name in names})


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
    state.repositories = {**state.repositories, (body.agency, body.site): _expecting(fact, expected)}


def repository_looked(state: State, entry: Entry, body: RepositoryLooked) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None:
        state.strays += 1
        return
    looked = replace(fact, looked_at=entry.at, looked=body, proven=_there(fact, body.missing))
    state.repositories = {**state.repositories, (body.agency, body.site): looked}


def _there(fact: RepositoryFact, missing: tuple[str, ...]) -> frozenset[str]:
    """Of the proven snapshots those that are not told to be missing: what comes back in their place is to be proven."""
    if not missing:
        return fact.proven
    told = " ".join(missing)
    return frozenset(each for each in fact.proven if each[:SHORT] not in told)


def repository_checked(state: State, entry: Entry, body: RepositoryChecked) -> None:
    """Of another repository than is there now it says nothing."""
    fact = state.repositories.get((body.agency, body.site))
    if fact is None or fact.made.repository != body.repository:
        state.strays += 1
        return
    key = (body.part, body.of)
    before = fact.read.get(key)
    since = before.since if before is not None and bool(before.found.faults) == bool(body.faults) else entry.at
    read = {**fact.read, key: PartRead(entry.at, since, body)}
    whole = sum(of == body.of for _, of in read) == body.of
    if before is None:
        read = {part: each for part, each in read.items() if part[1] == body.of or (each.found.faults and not whole)}
    state.repositories = {**state.repositories, (body.agency, body.site): replace(fact, read=read)}


def repository_pruned(state: State, entry: Entry, body: RepositoryPruned) -> None:
    fact = state.repositories.get((body.agency, body.site))
    if fact is None or fact.made.repository != body.repository:
        state.strays += 1
        return
    pruned = replace(fact, pruned_at=entry.at, pruned=body, pruning=None)
    state.repositories = {**state.repositories, (body.agency, body.site): pruned}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    RepositoryMade.KIND: repository_made,
    SnapshotKept.KIND: snapshot_kept,
    SnapshotHolds.KIND: snapshot_holds,
    SnapshotFailed.KIND: snapshot_failed,
    SnapshotForgotten.KIND: snapshot_forgotten,
    RepositoryLooked.KIND: repository_looked,
    RepositoryChecked.KIND: repository_checked,
    RepositoryPruned.KIND: repository_pruned,
}
