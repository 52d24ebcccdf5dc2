"""What the snapshots need: every tree and blob below their roots, each counted in one pack, however many hold it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from backup.repository.care.reaching import reached
from backup.repository.faults import Damaged, Hostile
from backup.repository.format.index import Index, Where
from backup.repository.format.packs import Blob
from backup.repository.format.seal import OVERHEAD_BYTES
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Missing
from backup.repository.repository import Repository
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import SHORT

READERS = 8
TOGETHER = 256  # folders that are held in memory at once
CHECK_FIRST = "ncia repo check tells what is damaged; repair it, or forget that snapshot"


@dataclass
class Needed:
    """Of a pack: what of it is needed. ``bytes`` are sealed."""

    blobs: int = 0
    bytes: int = 0


@dataclass
class Used:
    """``packs``: those that hold anything needed."""

    packs: dict[bytes, Needed] = field(default_factory=dict)
    snapshots: set[str] = field(default_factory=set)
    trees: set[bytes] = field(default_factory=set)  # those that were looked into
    _ids: Index = field(default_factory=Index)

    def has(self, id_: bytes, tree: bool) -> bool:
        return self._ids.has(id_, tree)

    def count(self, where: Where) -> bool:
        """Whether it is the first time."""
        pack, blob = where
        if self._ids.has(blob.id, blob.tree):
            return False
        self._ids.add(b"", (Blob(blob.id, blob.tree, 0, OVERHEAD_BYTES, 0),))
        share = self.packs.setdefault(pack, Needed())
        share.blobs += 1
        share.bytes += blob.length
        return True


def use(
    repository: Repository, used: Used, snapshots: Iterable[Snapshot], tell: Callable[[int], None] = lambda _: None
) -> None:
    """Add what ``snapshots`` need; the index must be loaded. Refuses where anything of it is nowhere: whoever removes
    has to know what is needed."""
    for snapshot in snapshots:
        used.snapshots.add(snapshot.id)
        try:
            for id_, tree in reached(repository, (snapshot.tree,), used.trees):
                if not used.has(id_, tree):
                    used.count(_demand(repository, id_, tree, snapshot))
        except (Damaged, Hostile, Missing) as error:
            raise _refusal(snapshot, f"{error.what}: {error.why}") from error
        tell(len(used.snapshots))


def _demand(repository: Repository, id_: bytes, tree: bool, snapshot: Snapshot) -> Where:
    where = repository.where(id_, tree)
    if where is None:
        raise _refusal(snapshot, f"no index tells where {'tree' if tree else 'blob'} {id_.hex()[:SHORT]} is")
    return where


def _refusal(snapshot: Snapshot, why: str) -> Refusal:
    return Refusal("repository.unsure", f"find what snapshot {snapshot.id[:SHORT]} needs", why, CHECK_FIRST)
