"""Thirty folders that stand for a thousand million paths: each tree is walked once, or the walk ends in a sentence."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.care.copying_blobs import CopyingBlobs
from backup.repository.care.pruning import Wish, prune
from backup.repository.care.reaching import ByPath, Lacks
from backup.repository.care.repairing import Repairing
from backup.repository.care.repairing_snapshots import Rewriting
from backup.repository.faults import Hostile
from backup.repository.locks import Lock
from backup.repository.repository import Repository
from backup.repository.restore.comparing import Comparing
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.listing import changes, entries
from backup.repository.restore.mounting import Mounting
from backup.repository.restore.restoring import Restoring
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from tests.backup.repository.hostile import deep, doubling
from tests.backup.repository.sample import HOLDER, NOW, new, reopened, twin_of

ALL = Way(whole=True)
LEVELS = 30
TREES = LEVELS + 1
ENDLESS = "name each other so often that they stand for more than"


def unguarded() -> None:
    """Nobody else is at work."""


def made(lost: bool = False) -> tuple[Repository, bytes]:
    repository = new()
    snapshot = doubling(repository, LEVELS, lost)
    return reopened(repository), snapshot.tree


def test_a_check_walks_each_tree_once() -> None:
    checked = Checking(reopened(made()[0]), Share()).run()
    assert (checked.trees, checked.faults) == (TREES, [])
    lacking = Checking(reopened(made(lost=True)[0]), Share()).run()
    assert len(lacking.faults) == 1


def test_a_prune_walks_each_tree_once() -> None:
    repository, _ = made()
    with Lock(repository, HOLDER, SystemClock(), exclusive=True) as lock:
        assert prune(reopened(repository), lock, NOW, Wish()).snapshots == 1


@pytest.mark.parametrize("lost", [False, True])
def test_copies_and_repairs_walk_each_tree_once(lost: bool) -> None:
    repository, _ = made(lost)
    twin, other = twin_of(repository), new()
    assert Copying(repository, twin, unguarded).run().snapshots
    assert CopyingBlobs(repository, other, unguarded).run(repository.snapshots()).partial is lost
    repaired = Repairing(reopened(repository), reopened(twin), unguarded, Share()).run()
    assert repaired.partial is lost
    assert repaired.lost_count < 100_000
    assert any("not all of it is counted" in note for note in repaired.notes) is lost
    assert len(Rewriting(reopened(repository), unguarded).run(forget=False).made) == lost


def test_what_is_lost_in_all_of_them_is_told_for_the_first_of_them() -> None:
    repository, tree = made(lost=True)
    lacks = Lacks(repository, lambda id_, kind: repository.where(id_, kind) is not None)
    found = lacks.below(tree)
    assert 1000 < len(found) < 100_000
    assert {lack.id for lack in found} == {found[0].id}
    assert lacks.cut


def test_a_listing_ends_in_a_sentence() -> None:
    repository, tree = made()
    with pytest.raises(Hostile, match=ENDLESS):
        for _ in islice(entries(repository, tree, ALL), 1_000_000):
            pass


def test_a_difference_ends_in_a_sentence() -> None:
    repository = new()
    one, two = doubling(repository), doubling(repository, salt=b"other")
    opened = reopened(repository)
    with pytest.raises(Hostile, match=ENDLESS):
        for _ in islice(changes(opened, one.tree, two.tree), 1_000_000):
            pass
    with pytest.raises(Hostile, match=ENDLESS):
        for _ in islice(changes(opened, one.tree, b""), 1_000_000):
            pass


def test_a_restore_and_what_it_would_do_end_in_a_sentence(tmp_path: Path) -> None:
    repository, tree = made()
    with pytest.raises(Hostile, match=ENDLESS):
        for _ in islice(Comparing(repository, Overwrite.ALWAYS).run(tree, tmp_path / "none", ALL), 1_000_000):
            pass
    with pytest.raises(Hostile, match=ENDLESS), Restoring(repository) as restoring:
        restoring.run(repository.snapshots()[0], tmp_path / "target", ALL)


def test_a_mount_answers_at_any_depth() -> None:
    repository, _ = made()
    mounting = Mounting(repository, repository.snapshots())
    (name,) = mounting.readdir("/ids", 0)[2:]
    path = f"/ids/{name[0]}" + "/a/b" * (LEVELS // 2)
    assert mounting.getattr(f"{path}/file")["st_size"] == len(b"at the end")
    assert [each for each, _, _ in mounting.readdir(path, 0)] == [".", "..", "file"]


def test_what_is_honest_and_names_one_folder_very_often_is_walked_to_its_end() -> None:
    """A million empty folders are one tree; so are those that a file system's own snapshots share."""
    repository = new()
    tree = doubling(repository, levels=13).tree
    opened = reopened(repository)
    assert sum(entry.node.name == b"file" for entry in entries(opened, tree, ALL)) == 1 << 13
    by_path = ByPath(opened, tree)
    for _ in range(1_000_000):
        by_path.into(tree, 1)


def test_a_folder_deeper_than_any_path_is_refused_by_whoever_goes_there_by_its_path(tmp_path: Path) -> None:
    repository = new()
    tree = deep(repository, 5000).tree
    opened = reopened(repository)
    checked = Checking(reopened(repository), Share(0, 0)).run()
    assert [fault.partition(" lies below ")[2] for fault in checked.faults] == ["4096 others"]
    with pytest.raises(Hostile, match="4096 others"):
        for _ in entries(opened, tree, ALL):
            pass
    with pytest.raises(Hostile, match="4096 others"):
        for _ in changes(opened, tree, b""):
            pass
    lacks = Lacks(opened, lambda id_, kind: opened.where(id_, kind) is not None)
    assert [lack.why for lack in lacks.below(tree)] == ["it lies below 4096 others"]
    assert not lacks.cut
    assert Rewriting(opened, unguarded).run(forget=False).made


def test_a_folder_as_deep_as_a_path_can_be_is_rewritten_without_what_is_lost_below_it() -> None:
    repository = new()
    snapshot = deep(repository, 2000, lost=True)
    rewritten = Rewriting(reopened(repository), unguarded).run(forget=True)
    assert list(rewritten.made) == rewritten.forgotten == [snapshot.id]
    checked = Checking(reopened(repository), Share()).run()
    assert (checked.faults, checked.snapshots) == ([], 1)
