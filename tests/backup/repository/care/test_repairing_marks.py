"""A repair between the two phases of a prune: what is marked for removal stays so, and what still needs it reads it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.repository.care.pruning import Wish, prune
from backup.repository.care.removal import alone
from backup.repository.format.keys import Holder
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from ncia.core.base.clock import SystemClock
from tests.backup.repository.care.test_repairing import Pair, check, flipped, repair
from tests.backup.repository.sample import PASSWORD, reopened
from tests.fakes.repository import FakeStore

NOW = datetime(2026, 11, 26, tzinfo=UTC)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def opened(store: FakeStore) -> Repository:
    return open_repository(store, PASSWORD)


def pruned(store: FakeStore) -> set[bytes]:
    """Forget all but the newest snapshot, and mark what nobody needs; the packs that are marked."""
    found = opened(store)
    for each in found.snapshots()[:-1]:
        store.remove(Kind.SNAPSHOTS, each.id)
    with alone(found, Holder("pruner", "here"), SystemClock()) as lock:
        prune(found, lock, NOW, Wish(grace=timedelta(days=7), unused_share=0.0))
    return marked(store)


def marked(store: FakeStore) -> set[bytes]:
    return {mark.pack for _, _, marks in opened(store).index_wholes() for mark in marks}


def test_what_is_marked_is_not_named_again(pair: Pair) -> None:
    one, _ = pair.fresh()
    before = pruned(one)
    assert before
    held = dict(one.held)
    told = repair(one)
    assert (told.mended, told.lost) == ([], [])
    assert (one.held, marked(one)) == (held, before)


def test_an_index_that_is_written_anew_keeps_its_marks(pair: Pair) -> None:
    from backup.repository.format.index import index_text

    one, _ = pair.fresh()
    before = pruned(one)
    for name, packs, marks in list(opened(one).index_wholes()):
        wrong = [(pack, [blob._replace(offset=blob.offset + 1) for blob in blobs]) for pack, blobs in packs]
        one.remove(Kind.INDEX, name)
        opened(one).save_file(Kind.INDEX, index_text(wrong, marks))
    assert any("written anew" in sentence for sentence in repair(one).mended)
    assert marked(one) == before
    assert check(one).holds


def test_a_marked_pack_that_is_damaged_comes_back_from_the_twin_and_stays_marked(pair: Pair) -> None:
    one, two = pair.fresh()
    before = pruned(one)
    bad = min(before).hex()
    one.held[Kind.DATA, bad] = flipped(one.held[Kind.DATA, bad])
    repair_alone(one, two)
    assert one.held[Kind.DATA, bad] == pair.first[Kind.DATA, bad]


def repair_alone(one: FakeStore, two: FakeStore) -> None:
    assert repair(one, two).lost == []
    assert check(one).holds


def test_a_snapshot_that_counts_on_what_is_marked_lacks_nothing(pair: Pair) -> None:
    """One that was frozen while the prune went by."""
    one, _ = pair.fresh()
    late = {key: content for key, content in one.held.items() if key[0] is Kind.SNAPSHOTS}
    pruned(one)
    one.held.update(late)
    told = repair(one)
    assert (told.lost, told.mended) == ([], [])
    assert len(reopened(opened(one)).snapshots()) == 3
