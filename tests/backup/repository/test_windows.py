from __future__ import annotations

import hashlib
import random

import pytest

from backup.repository.faults import Damaged
from backup.repository.format.trees import Node, node_text, tree_text
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.save.pipeline import Packing
from backup.repository.windows import FIRST_BYTES, KEPT_BYTES
from tests.backup.repository.sample import new, reopened
from tests.fakes.repository import FakeStore

TREES = 2000
ENTRIES = 20


class Counting(FakeStore):
    """Tells how often it was asked, and for how much."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        content = super().load(kind, name, offset, length)
        if kind is Kind.DATA:
            self.asked.append(len(content))
        return content


def tree_of(chance: random.Random) -> bytes:
    nodes = [
        Node(b"%02d" % number, "file", 0o644, 5, 5, 5, 0, 0, content=(chance.randbytes(32),))
        for number in range(ENTRIES)
    ]
    return tree_text(map(node_text, nodes))


@pytest.fixture(scope="module")
def kept() -> tuple[Repository, list[bytes]]:
    """A repository of so many trees that lie in the order of the list."""
    repository = new()
    chance = random.Random(1)
    packing = Packing(repository, verify=True, guard=lambda: None)
    trees = [packing.keep(tree_of(chance), tree=True) for _ in range(TREES)]
    packing.finish()
    return repository, trees


def counted(repository: Repository) -> Repository:
    opened = reopened(repository)
    opened.store = Counting()
    opened.store.held = dict(repository.store.held)
    return opened


@pytest.mark.parametrize("way", [1, -1], ids=["forwards", "backwards"])
def test_trees_that_lie_side_by_side_are_read_a_few_at_a_time(kept: tuple[Repository, list[bytes]], way: int) -> None:
    repository, trees = kept
    opened = counted(repository)
    for tree in trees[::way]:
        assert hashlib.sha256(opened.load_blob(tree, tree=True)).digest() == tree
    size = sum(opened.demand(tree, tree=True).blob.length for tree in trees)
    assert len(opened.store.asked) <= 16
    assert sum(opened.store.asked) <= 1.75 * size


def test_of_a_repository_that_has_aged_little_is_read_in_vain() -> None:
    """Each backup kept a tenth of the trees anew: those of the last one lie in all packs, some here and some there."""
    repository, chance, trees = new(), random.Random(3), {}
    for backup in range(11):
        packing = Packing(repository, verify=False, guard=lambda: None)
        for folder in sorted(chance.sample(range(TREES), TREES // 10)) if backup else range(TREES):
            trees[folder] = packing.keep(tree_of(chance), tree=True)
        packing.finish()
    opened = counted(repository)
    for folder in reversed(range(TREES)):
        opened.load_blob(trees[folder], tree=True)
    size = sum(opened.demand(tree, tree=True).blob.length for tree in trees.values())
    assert sum(opened.store.asked) <= 5 * size
    assert len(opened.store.asked) <= TREES // 5


def test_one_tree_alone_is_read_with_little_beside_it(kept: tuple[Repository, list[bytes]]) -> None:
    repository, trees = kept
    opened = counted(repository)
    opened.load_blob(trees[TREES // 2], tree=True)
    assert opened.store.asked == [FIRST_BYTES]


def test_what_is_kept_is_bounded(kept: tuple[Repository, list[bytes]]) -> None:
    repository, trees = kept
    opened = counted(repository)
    for tree in random.Random(2).choices(trees, k=2 * TREES):
        opened.load_blob(tree, tree=True)
        assert opened._windows._bytes <= KEPT_BYTES
    assert opened._windows._bytes == sum(len(each.content) for each in opened._windows._kept.values())


def test_a_tree_that_was_mended_since_its_neighbour_was_read_is_read_anew(kept: tuple[Repository, list[bytes]]) -> None:
    repository, trees = kept
    opened = counted(repository)
    where = opened.demand(trees[1], tree=True)
    good = opened.store.held[Kind.DATA, where.pack.hex()]
    bad = bytearray(good)
    bad[where.blob.offset + 20] ^= 1
    opened.store.held[Kind.DATA, where.pack.hex()] = bytes(bad)
    opened.load_blob(trees[0], tree=True)
    with pytest.raises(Damaged):
        opened.load_blob(trees[1], tree=True)
    opened.load_blob(trees[0], tree=True)
    opened.store.held[Kind.DATA, where.pack.hex()] = good
    assert hashlib.sha256(opened.load_blob(trees[1], tree=True)).digest() == trees[1]
