"""What the snapshots need: every tree and blob below their roots, each counted in one pack, however many hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from backup.repository.faults import Damaged, Hostile
from backup.repository.index import Index, Where
from backup.repository.packs import Blob
from backup.repository.ports import Missing
from backup.repository.repository import SHORT, Repository
from backup.repository.seal import OVERHEAD_BYTES
from backup.repository.snapshots import Snapshot
from backup.repository.trees import DIR, FILE, tree_nodes
from ncia.core.base.errors import Refusal

READERS = 8
TOGETHER = 256  # folders that are held in memory at once
CHECK_FIRST = "ncia repo check tells what is damaged; repair it, or forget that snapshot"


@dataclass
class Share:
    """Of a pack: what of it is needed. ``bytes`` are sealed."""

    blobs: int = 0
    bytes: int = 0


@dataclass
class Used:
    """``packs``: those that hold anything needed."""

    packs: dict[bytes, Share] = field(default_factory=dict)
    snapshots: set[str] = field(default_factory=set)
    _ids: Index = field(default_factory=Index)

    def has(self, id_: bytes, tree: bool) -> bool:
        return self._ids.has(id_, tree)

    def count(self, where: Where) -> bool:
        """Whether it is the first time."""
        pack, blob = where
        if self._ids.has(blob.id, blob.tree):
            return False
        self._ids.add(b"", (Blob(blob.id, blob.tree, 0, OVERHEAD_BYTES, 0),))
        share = self.packs.setdefault(pack, Share())
        share.blobs += 1
        share.bytes += blob.length
        return True


def use(
    repository: Repository, used: Used, snapshots: Iterable[Snapshot], tell: Callable[[int], None] = lambda _: None
) -> None:
    """Add what ``snapshots`` need; the index must be loaded. Refuses where anything of it is nowhere: whoever removes
    has to know what is needed. Folders of one depth are read side by side, for a store may be far away."""
    with ThreadPoolExecutor(READERS, "prune reader") as pool:
        for snapshot in snapshots:
            used.snapshots.add(snapshot.id)
            level = [snapshot.tree]
            while level:
                fresh = [tree for tree in level if used.count(_demand(repository, tree, True, snapshot))]
                level = []
                for trees, blobs in _read(pool, repository, fresh, snapshot):
                    level += trees
                    for id_ in blobs:
                        if not used.has(id_, False):
                            used.count(_demand(repository, id_, False, snapshot))
            tell(len(used.snapshots))


Below = tuple[list[bytes], list[bytes]]  # the trees and the blobs that a folder names


def _read(pool: ThreadPoolExecutor, repository: Repository, trees: list[bytes], snapshot: Snapshot) -> Iterator[Below]:
    if len(trees) == 1:
        yield _below(repository, trees[0], snapshot)
        return
    for begin in range(0, len(trees), TOGETHER):
        yield from pool.map(lambda tree: _below(repository, tree, snapshot), trees[begin : begin + TOGETHER])


def _below(repository: Repository, tree: bytes, snapshot: Snapshot) -> Below:
    try:
        nodes = tree_nodes(repository.load_blob(tree, tree=True), f"read tree {tree.hex()[:SHORT]}")
    except (Damaged, Hostile, Missing) as error:
        raise _refusal(snapshot, f"{error.what}: {error.why}") from error
    blobs = [id_ for node in nodes if node.type == FILE for id_ in node.content or ()]
    return [node.subtree for node in nodes if node.type == DIR], blobs


def _demand(repository: Repository, id_: bytes, tree: bool, snapshot: Snapshot) -> Where:
    where = repository.where(id_, tree)
    if where is None:
        raise _refusal(snapshot, f"no index tells where {'tree' if tree else 'blob'} {id_.hex()[:SHORT]} is")
    return where


def _refusal(snapshot: Snapshot, why: str) -> Refusal:
    return Refusal("repository.unsure", f"find what snapshot {snapshot.id[:SHORT]} needs", why, CHECK_FIRST)
