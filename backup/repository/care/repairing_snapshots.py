"""Snapshots without what is lost for good, as ``restic repair snapshots`` makes them; the originals stay.

A file loses the blobs that are nowhere, and is as much shorter; a folder that cannot be read becomes an empty one. The
new snapshot is tagged ``repaired`` and tells its ``original``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from backup.repository.care.copying_blobs import original_of
from backup.repository.care.reaching import DEPTH_MAX, Lacks, nodes_of
from backup.repository.faults import Damaged, Hostile
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import DIR, FILE, Node, node_text, shown, tree_text
from backup.repository.ports import Kind, Missing
from backup.repository.repository import Repository
from backup.repository.save.pipeline import Packing
from ncia.core.base.ids import SHORT

TAG = "repaired"


@dataclass
class Rewritten:
    """``made``: the original's id, and that of the one without what is lost. ``changed``: what is otherwise in them."""

    made: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)


class Rewriting:
    """Of a repository whose index is loaded and names what is there and no more (that is: after a repair)."""

    def __init__(self, repository: Repository, guard: Callable[[], None]) -> None:
        self.rewritten = Rewritten()
        self._repository = repository
        self._guard = guard
        self._lacks = Lacks(repository, lambda id_, tree: repository.where(id_, tree) is not None)
        self._anew: dict[bytes, bytes | None] = {}  # trees that were written anew; None: it cannot be read
        self._packing = Packing(repository, verify=True, guard=guard)

    def run(self, forget: bool) -> Rewritten:
        """With ``forget`` the originals go, once what takes their place is there."""
        known = self._repository.snapshots()
        lacking = [each for each in known if self._lacks.below(each.tree)]
        try:
            trees = {each.id: self._tree(each.tree, each) for each in lacking}
            self._packing.finish()
        finally:
            self._packing.abandon()
        there = {(each.original, each.tree): each.id for each in known}
        for snapshot in lacking:
            tree = trees[snapshot.id]
            if tree is not None:
                made = there.get((original_of(snapshot), tree)) or self._written(snapshot, tree)
                self.rewritten.made[snapshot.id] = made
            if forget:
                self._forget(snapshot.id)
        if forget:
            self._forget_unreadable()
        return self.rewritten

    def _tree(self, root: bytes, of: Snapshot) -> bytes | None:
        """The tree without what is lost below it; None where it cannot be read itself. What is in a folder is made
        before the folder, and each tree once."""
        waiting = [(root, b"")]
        while waiting:
            tree, path = waiting[-1]
            if self._is_made(tree):
                waiting.pop()
                continue
            nodes = self._nodes(tree, path, of)
            if nodes is None:
                continue
            below = [(node.subtree, path + b"/" + node.name) for node in nodes if node.type == DIR]
            left = [each for each in below if not self._is_made(each[0])]
            if left:
                waiting += reversed(left)
                continue
            text = tree_text(node_text(self._node(node, path, of)) for node in nodes)
            self._anew[tree] = self._packing.keep(text, tree=True)
        return self._anew.get(root, root)

    def _is_made(self, tree: bytes) -> bool:
        return tree in self._anew or self._lacks.known(tree) == ()

    def _nodes(self, tree: bytes, path: bytes, of: Snapshot) -> tuple[Node, ...] | None:
        try:
            if path.count(b"/") > DEPTH_MAX:
                raise Hostile("read a tree", f"it lies below {DEPTH_MAX} others")
            return nodes_of(self._repository, tree)
        except (Damaged, Missing, Hostile) as error:
            told = f"{shown(path or b'/')} of snapshot {of.id[:SHORT]}: it is empty now, for {error.why}"
            self.rewritten.changed.append(told)
            self._anew[tree] = None
            return None

    def _node(self, node: Node, above: bytes, of: Snapshot) -> Node:
        path = above + b"/" + node.name
        if node.type == DIR:
            subtree = self._anew.get(node.subtree, node.subtree)
            return node._replace(subtree=self._packing.keep(tree_text(()), tree=True) if subtree is None else subtree)
        if node.type != FILE:
            return node
        found = [(id_, self._repository.where(id_, tree=False)) for id_ in node.content or ()]
        if all(where is not None for _, where in found):
            return node
        size = sum(where.blob.plain_bytes for _, where in found if where is not None)
        told = f"{shown(path)} of snapshot {of.id[:SHORT]}: {node.size - size} of its {node.size} bytes are left out"
        self.rewritten.changed.append(told)
        return node._replace(content=tuple(id_ for id_, where in found if where is not None), size=size)

    def _written(self, snapshot: Snapshot, tree: bytes) -> str:
        """All that the original tells, also what we do not know."""
        told = json.loads(self._repository.load_file(Kind.SNAPSHOTS, snapshot.id))
        tags = [*dict.fromkeys([*(told.get("tags") or ()), TAG])]
        made = {**told, "tree": tree.hex(), "tags": tags, "original": original_of(snapshot)}
        self._guard()
        return self._repository.save_file(Kind.SNAPSHOTS, json.dumps(made, separators=(",", ":")).encode())

    def _forget(self, name: str) -> None:
        self._guard()
        self._repository.store.remove(Kind.SNAPSHOTS, name)
        self.rewritten.forgotten.append(name)

    def _forget_unreadable(self) -> None:
        for stored in list(self._repository.store.names(Kind.SNAPSHOTS)):
            try:
                self._repository.snapshot(stored.name)
            except Missing:
                continue
            except Damaged:
                self._forget(stored.name)
