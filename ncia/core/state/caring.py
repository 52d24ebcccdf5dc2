"""What the care of agencies' repositories found and did: a part of their facts (``repositories.py``).

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import from_text
from ncia.core.journal.entries_care import (
    ForgetAllowed,
    ForgetHeld,
    LockMet,
    PruneFailed,
    PruneStarted,
    RepositoryMended,
    SnapshotMended,
    SnapshotProofFailed,
    SnapshotProven,
    StoreLooked,
)
from ncia.core.journal.entries_repositories import SnapshotKept
from ncia.core.journal.entry import Entry
from ncia.core.state.repositories import (
    EXPECTED_MAX,
    ExpectedSnapshot,
    Held,
    LockFact,
    Pruning,
    RepositoryFact,
    SnapshotProof,
)

if TYPE_CHECKING:
    from ncia.core.state.state import State

SAME_LOCK = timedelta(hours=2)


def forget_held(state: State, entry: Entry, body: ForgetHeld) -> None:
    def held(fact: RepositoryFact) -> RepositoryFact:
        since = fact.held.since if fact.held is not None else entry.at
        return replace(fact, held=Held(since, entry.at, body) if body.would_go else None)

    changed(state, body.agency, body.site, held)


def forget_allowed(state: State, entry: Entry, body: ForgetAllowed) -> None:
    changed(state, body.agency, body.site, lambda fact: replace(fact, held=None))


def snapshot_mended(state: State, entry: Entry, body: SnapshotMended) -> None:
    """As old as where it came from, and a copy of the same. A backup that failed here since then is made good."""
    same = body.model_dump(exclude={"source_site", "kept_at"})
    kept = ExpectedSnapshot(from_text(body.kept_at), SnapshotKept(**same, seconds=0.0))
    source = state.repositories.get((body.agency, body.source_site))
    held = source.holds.get(body.snapshot) if source is not None else None

    def mended(fact: RepositoryFact) -> RepositoryFact:
        if any(each.kept.snapshot == body.snapshot for each in fact.expected):
            return fact
        expected = sorted((*fact.expected, kept), key=lambda each: each.at)
        holds = {**fact.holds, body.snapshot: held} if held is not None else fact.holds
        return replace(fact, expected=tuple(expected[-EXPECTED_MAX:]), holds=holds, mended_at=entry.at)

    changed(state, body.agency, body.site, mended)
    if held is not None:
        known = state.holders.get(body.dataset, frozenset())
        state.holders = {**state.holders, body.dataset: known | {(body.agency, body.site)}}
    failure = state.snapshot_failures.get((body.dataset, body.site))
    if failure is not None and kept.whole and failure.since <= kept.at:
        others = {key: each for key, each in state.snapshot_failures.items() if key != (body.dataset, body.site)}
        state.snapshot_failures = others


def repository_mended(state: State, entry: Entry, body: RepositoryMended) -> None:
    def mended(fact: RepositoryFact) -> RepositoryFact:
        return replace(fact, mended_at=entry.at) if fact.made.repository == body.repository else fact

    changed(state, body.agency, body.site, mended)


def prune_started(state: State, entry: Entry, body: PruneStarted) -> None:
    changed(state, body.agency, body.site, lambda fact: replace(fact, pruning=Pruning(entry.at, entry.by, body)))


def prune_failed(state: State, entry: Entry, body: PruneFailed) -> None:
    def failed(fact: RepositoryFact) -> RepositoryFact:
        if fact.pruning is None or fact.pruning.begun.job != body.job:
            return fact
        return replace(fact, pruning=replace(fact.pruning, error=body.error, ended_at=entry.at))

    changed(state, body.agency, body.site, failed)


def snapshot_proven(state: State, entry: Entry, body: SnapshotProven) -> None:
    def proven(fact: RepositoryFact) -> RepositoryFact:
        files = {each.kept.snapshot: each.kept.files for each in fact.expected}
        expected = {*files}
        told = {body.snapshot} if body.documents or not files.get(body.snapshot) else set()
        return replace(
            fact,
            proofs={**fact.proofs, body.dataset: SnapshotProof(body.job, entry.at, entry.at, body.snapshot)},
            proven=(fact.proven | told) & expected,
            refuted=(fact.refuted - {body.snapshot}) & expected,
        )

    changed(state, body.agency, body.site, proven)


def snapshot_proof_failed(state: State, entry: Entry, body: SnapshotProofFailed) -> None:
    def refuted(fact: RepositoryFact) -> RepositoryFact:
        expected = {each.kept.snapshot for each in fact.expected}
        before = fact.proofs.get(body.dataset)
        since = before.since if before is not None and before.error else entry.at
        return replace(
            fact,
            proofs={**fact.proofs, body.dataset: SnapshotProof(body.job, entry.at, since, body.snapshot, body.error)},
            proven=(fact.proven - {body.snapshot}) & expected,
            refuted=(fact.refuted | {body.snapshot}) & expected,
        )

    changed(state, body.agency, body.site, refuted)


def lock_met(state: State, entry: Entry, body: LockMet) -> None:
    """In a row are those between which little time has passed."""
    key = (body.verb, body.dataset, body.site)
    before = state.locks_met.get(key)
    row = before is not None and entry.at - before.at < SAME_LOCK
    since, count = (before.since, before.count + 1) if before is not None and row else (entry.at, 1)
    state.locks_met = {**state.locks_met, key: LockFact(since, entry.at, count, body)}


def store_looked(state: State, entry: Entry, body: StoreLooked) -> None:
    state.aside = {**state.aside, body.site: body}


def changed(state: State, agency: str, site: str, change: Callable[[RepositoryFact], RepositoryFact]) -> None:
    fact = state.repositories.get((agency, site))
    if fact is None:
        state.strays += 1
        return
    state.repositories = {**state.repositories, (agency, site): change(fact)}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    ForgetHeld.KIND: forget_held,
    ForgetAllowed.KIND: forget_allowed,
    SnapshotMended.KIND: snapshot_mended,
    RepositoryMended.KIND: repository_mended,
    PruneStarted.KIND: prune_started,
    PruneFailed.KIND: prune_failed,
    SnapshotProven.KIND: snapshot_proven,
    SnapshotProofFailed.KIND: snapshot_proof_failed,
    LockMet.KIND: lock_met,
    StoreLooked.KIND: store_looked,
}
