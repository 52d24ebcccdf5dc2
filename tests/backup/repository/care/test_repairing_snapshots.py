"""Snapshots without what is lost for good: only when asked, the originals kept until they are to go."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from backup.repository.care.repairing_snapshots import Rewriting, Rewritten
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from backup.repository.restore.listing import entries
from backup.repository.save.walk import Way
from tests.backup.repository.care.test_repairing import Pair, check, gone, harm, harm_blob, pack_of_two, repair
from tests.backup.repository.sample import PASSWORD, reopened
from tests.fakes.repository import FakeStore


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def rewrite(store: FakeStore, forget: bool) -> Rewritten:
    return Rewriting(opened(store), lambda: None).run(forget)


def opened(store: FakeStore) -> Repository:
    return reopened(open_repository(store, PASSWORD))


def files(store: FakeStore, tree: bytes) -> dict[bytes, int]:
    return {path: node.size for path, node in entries(opened(store), tree, Way(whole=True)) if node.type == "file"}


def test_what_lacks_nothing_is_not_touched(pair: Pair) -> None:
    one, _ = pair.fresh()
    assert rewrite(one, forget=True) == Rewritten()
    assert one.held == pair.first


def test_a_file_is_shorter_by_what_is_lost_and_all_else_is_as_it_was(pair: Pair) -> None:
    one, _ = pair.fresh()
    pack, (first, _) = pack_of_two(one)
    harm_blob(one, pack, first)
    repair(one)
    before = {each.id: each for each in opened(one).snapshots()}
    told = rewrite(one, forget=False)
    assert told.made
    assert told.forgotten == []
    after = {each.id: each for each in opened(one).snapshots()}
    assert before.items() <= after.items()
    for old, new in told.made.items():
        assert (after[new].original, after[new].tags) == (old, ("repaired",))
        assert (after[new].time, after[new].paths) == (before[old].time, before[old].paths)
        was, now = files(one, before[old].tree), files(one, after[new].tree)
        assert was.keys() == now.keys()
        assert [path for path in was if was[path] != now[path]] != []
        assert sum(was.values()) - sum(now.values()) == first.plain_bytes


def test_the_originals_go_when_that_is_asked_and_then_the_repository_holds(pair: Pair) -> None:
    one, _ = pair.fresh()
    pack, (first, _) = pack_of_two(one)
    harm_blob(one, pack, first)
    repair(one)
    assert not check(one).holds
    told = rewrite(one, forget=True)
    assert sorted(told.forgotten) == sorted(told.made)
    assert check(one).holds
    assert repair(one).lost == []


def test_asked_twice_it_makes_no_second_one(pair: Pair) -> None:
    one, _ = pair.fresh()
    pack, (first, _) = pack_of_two(one)
    harm_blob(one, pack, first)
    repair(one)
    assert rewrite(one, forget=False).made == rewrite(one, forget=False).made


def test_a_folder_that_cannot_be_read_is_an_empty_one(pair: Pair) -> None:
    one, _ = pair.fresh()
    found = opened(one)
    snapshot = found.snapshots()[-1]
    below = next(node.subtree for path, node in entries(found, snapshot.tree, Way(whole=True)) if node.name == b"below")
    where = found.index.where(below, tree=True)
    harm_blob(one, where.pack, where.blob)
    repair(one)
    told = rewrite(one, forget=True)
    assert any("below of snapshot" in sentence and "it is empty now" in sentence for sentence in told.changed)
    assert check(one).holds
    left = {path.rpartition(b"/")[2] for path in files(one, opened(one).snapshots()[-1].tree)}
    assert left == {b"file0", b"file1", b"file2"}


def test_a_snapshot_that_nothing_is_left_of_goes_only_when_that_is_asked(pair: Pair) -> None:
    one, _ = pair.fresh()
    name = harm(one, lambda content: content[:-1], Kind.SNAPSHOTS)
    assert any(name[:8] in sentence and "lost for good" in sentence for sentence in repair(one).lost)
    assert rewrite(one, forget=False).forgotten == []
    assert rewrite(one, forget=True).forgotten == [name]
    assert check(one).holds


def test_what_another_program_told_in_the_snapshot_is_told_again(pair: Pair) -> None:
    one, _ = pair.fresh()
    found = opened(one)
    kept = json.loads(found.load_file(Kind.SNAPSHOTS, found.snapshots()[-1].id)) | {"excludes": ["*.tmp"]}
    harm(one, gone, Kind.SNAPSHOTS)
    found.save_file(Kind.SNAPSHOTS, json.dumps(kept).encode())
    pack, (first, _) = pack_of_two(one)
    harm_blob(one, pack, first)
    repair(one)
    made = rewrite(one, forget=False).made
    texts = [json.loads(opened(one).load_file(Kind.SNAPSHOTS, new)) for new in made.values()]
    assert any(text.get("excludes") == ["*.tmp"] for text in texts)
