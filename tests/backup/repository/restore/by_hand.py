"""Snapshots made by hand, as anybody with the key could write them, and restores of them, by workers or fillers."""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import Node, node_text, tree_text
from backup.repository.ports import Kind, Store, StoreFault
from backup.repository.repository import Repository
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.filler import Answer
from backup.repository.restore.fillers import Fillers
from backup.repository.restore.filling import Piece, Target
from backup.repository.restore.restoring import Restored, Restoring
from backup.repository.save.pipeline import Packing
from backup.repository.save.walk import Way
from tests.backup.repository.sample import NOW, reopened

ALL = Way(whole=True)
ME = {"uid": os.geteuid(), "gid": os.getegid()}


BY = pytest.mark.parametrize("helped", [False, True], ids=["by workers", "by fillers"])


def bring(
    repository: Repository, snapshot: Snapshot, target: Path, way: Way = ALL, helped: bool = False, **how: object
) -> Restored:
    opened = reopened(repository)
    fillers = Counted(opened, files=0) if helped else None
    with Restoring(opened, fillers=fillers, **how) as restoring:
        told = restoring.run(snapshot, target, way)
    assert fillers is None or fillers.files or told.partial or not told.files, "no filler made anything"
    return told


def restoring_of(opened: Repository, helped: bool, **how: object) -> Restoring:
    """``helped``: processes make the files, however few they are."""
    return Restoring(opened, fillers=Fillers(opened, files=0) if helped else None, **how)


class Counted(Fillers):
    """Counts what they made."""

    files = 0

    def fill(self, parts: list[tuple[Target, list[Piece]]], overwrite: Overwrite | None) -> Answer | None:
        answer = super().fill(parts, overwrite)
        self.files += len(parts) if answer is not None else 0
        return answer


def made_by_hand(repository: Repository, *nodes: Node, contents: tuple[bytes, ...] = ()) -> Snapshot:
    """A snapshot of a root folder with these nodes, as anybody with the key could write it."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    for content in contents:
        packing.keep(content)
    tree = packing.keep(tree_text(map(node_text, nodes)), tree=True)
    packing.finish()
    made = Snapshot(NOW, tree, ("/",), "host", "user")
    return replace(made, id=repository.save_file(Kind.SNAPSHOTS, made.as_json()))


def file_of(name: bytes, content: bytes = b"", **fields: object) -> Node:
    ids = (hashlib.sha256(content).digest(),) if content else ()
    node = Node(name, "file", 0o644, 5, 5, 5, ME["uid"], ME["gid"], size=len(content), content=ids)
    return node._replace(**fields)


class Meeting:
    """Its first answers come when so many are asked for."""

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._met = threading.Barrier(count)
        self._left = count
        self._lock = threading.Lock()

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            waits = self._left > 0
            self._left -= 1
        if waits:
            self._met.wait(timeout=20)
        return self._store.load(kind, name, offset, length)


def failing_at(opened: Repository, content: bytes, fault: StoreFault) -> None:
    """The pack of that content cannot be read."""
    load = opened.store.load
    pack = opened.index.where(hashlib.sha256(content).digest(), tree=False).pack.hex()

    class Failing:
        def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name == pack:
                raise fault
            return load(kind, name, offset, length)

    opened.store = Failing()


def flip(repository: Repository, kind: Kind, name: str, at: int) -> None:
    held = repository.store.held
    content = bytearray(held[kind, name])
    content[at] ^= 1
    held[kind, name] = bytes(content)
