"""Is all of it there, and is it what was written? The structure always, every byte of the packs where that is asked.

The structure: every index, snapshot and key can be read, every pack that an index names is there with its length, every
tree of every snapshot and every blob that one names is known. That finds what is missing; a flipped bit only reading
finds, so what share was read is always told.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from backup.repository.care.examining import examine
from backup.repository.care.reaching import DEPTH_MAX, nodes_of
from backup.repository.faults import Damaged, Hostile
from backup.repository.format.index import Mark, Pack, Where
from backup.repository.format.keys import list_keys
from backup.repository.format.packs import Blob, pack_bytes
from backup.repository.format.trees import DIR, FILE, shown
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT

READING_MAX = 4  # packs that are held in memory at once


@dataclass(frozen=True)
class Share:
    """Which packs are read: the ``number``-th of ``of`` parts, which together are all of them. Of 0: none."""

    number: int = 1
    of: int = 1

    def holds(self, pack: bytes) -> bool:
        return bool(self.of) and int.from_bytes(pack[:4]) % self.of == self.number - 1


STRUCTURE_ONLY = Share(0, 0)


@dataclass
class Checked:
    """What was found. ``faults`` are what cannot be restored; ``notes`` cost nobody anything."""

    snapshots: int = 0
    trees: int = 0
    blobs: int = 0
    packs: int = 0
    bytes: int = 0
    bytes_read: int = 0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def share_read(self) -> float:
        return self.bytes_read / self.bytes if self.bytes else 1.0

    @property
    def holds(self) -> bool:
        return not self.faults


class Checking:
    """One check; writes nothing."""

    def __init__(
        self, repository: Repository, share: Share, workers: int = 0, tell: Callable[[Checked], None] = lambda _: None
    ) -> None:
        self.checked = Checked()
        self._repository = repository
        self._share = share
        self._workers = workers or os.cpu_count() or 1
        self._tell = tell
        self._sizes: dict[bytes, int] = {}  # of the packs that are there
        self._named: set[bytes] = set()
        self._marks: list[Mark] = []
        self._marked: set[bytes] = set()
        self._needed: set[bytes] = set()  # of the marked ones
        self._trees: set[bytes] = set()

    def run(self) -> Checked:
        self._keys()
        self._sizes = {bytes.fromhex(each.name): each.size for each in self._repository.store.names(Kind.DATA)}
        self.checked.packs, self.checked.bytes = len(self._sizes), sum(self._sizes.values())
        for pack, blobs in self._packs():
            self._repository.index.add(pack, blobs)
            self._placed(pack, blobs)
        self._marked = {mark.pack for mark in self._marks if mark.pack in self._sizes} - self._named
        self._repository.load_marks(mark for mark in self._marks if mark.pack in self._marked)
        self._unnamed()
        self._snapshots()
        self._tell_needed()
        if self._share.of:
            self._read()
        return self.checked

    def _keys(self) -> None:
        try:
            for _ in list_keys(self._repository.store):
                pass
        except Damaged as error:
            self._fault(error)

    def _packs(self) -> Iterator[Pack]:
        """What all indexes tell; one that cannot be read is a fault, and the others are gone on with."""
        for stored in list(self._repository.store.names(Kind.INDEX)):
            try:
                packs, marks = self._repository.index_whole(stored.name)
                self._marks += marks
                if len({pack for pack, _ in packs}) < len(packs):
                    why = "nothing is lost by it, restic takes it for damage, and a repair writes it anew"
                    self.checked.notes.append(f"index {stored.name[:SHORT]} names a pack twice: {why}")
                yield from packs
            except Missing:
                continue
            except (Damaged, StoreFault) as error:
                self._fault(error)

    def _placed(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        self._named.add(pack)
        self.checked.blobs += len(blobs)
        want, found = pack_bytes(blobs), self._sizes.get(pack)
        name = f"pack {pack.hex()[:SHORT]}"
        if found is None:
            self.checked.faults.append(f"{name} is missing: an index says that {len(blobs)} blobs are in it")
        elif found != want:
            self.checked.faults.append(f"{name} has {found} bytes, and {want} by what an index says of it")

    def _unnamed(self) -> None:
        if self._marked:
            self.checked.notes.append(
                f"{len(self._marked)} packs are marked for removal: a prune that comes later removes them"
            )
        over = [pack for pack in self._sizes if pack not in self._named and pack not in self._marked]
        if over:
            size = sum(self._sizes[pack] for pack in over)
            what = "1 pack is" if len(over) == 1 else f"{len(over)} packs are"
            why = "a backup that was interrupted leaves such, and the next prune removes them"
            self.checked.notes.append(f"{what} named by no index ({size} bytes): {why}")

    def _snapshots(self) -> None:
        for stored in list(self._repository.store.names(Kind.SNAPSHOTS)):
            try:
                snapshot = self._repository.snapshot(stored.name)
            except Missing:
                continue
            except (Damaged, StoreFault) as error:
                self._fault(error)
                continue
            self.checked.snapshots += 1
            self._walk(snapshot.tree, stored.name[:SHORT])
            self._tell(self.checked)

    def _walk(self, root: bytes, snapshot: str) -> None:
        waiting = [(root, b"")]
        while waiting:
            tree, path = waiting.pop()
            if tree in self._trees:
                continue
            if path.count(b"/") > DEPTH_MAX:
                self.checked.faults.append(f"a folder of snapshot {snapshot} lies below {DEPTH_MAX} others")
                return
            self._trees.add(tree)
            self.checked.trees += 1
            try:
                nodes = nodes_of(self._repository, tree)
            except (Damaged, Hostile, Missing, StoreFault) as error:
                self._fault(error, f"{shown(path or b'/')} of snapshot {snapshot}")
                continue
            self._need(self._repository.where(tree, tree=True))
            for node in nodes:
                within = path + b"/" + node.name
                if node.type == DIR:
                    waiting.append((node.subtree, within))
                elif node.type == FILE:
                    self._content(node.content or (), node.size, f"{shown(within)} of snapshot {snapshot}")

    def _content(self, ids: Sequence[bytes], size: int, whose: str) -> None:
        found = 0
        for id_ in ids:
            where = self._repository.where(id_, tree=False)
            if where is None:
                self.checked.faults.append(f"{whose}: no index tells where blob {id_.hex()[:SHORT]} is")
                return
            found += where.blob.plain_bytes
            self._need(where)
        if found != size:
            self.checked.faults.append(f"{whose}: it has {size} bytes, and {found} are kept")

    def _need(self, where: Where | None) -> None:
        if self._marked and where is not None and where.pack in self._marked:
            self._needed.add(where.pack)

    def _tell_needed(self) -> None:
        if self._needed:
            why = "the next prune brings them back, and until then restic does not find them"
            self.checked.notes.append(f"{len(self._needed)} of them hold what a snapshot needs: {why}")

    def _read(self) -> None:
        with ThreadPoolExecutor(self._workers, "check worker") as pool:
            running: deque[tuple[bytes, Future[tuple[int, list[str]]]]] = deque()
            for pack, blobs in self._to_read():
                running.append((pack, pool.submit(self._read_pack, pack, blobs)))
                if len(running) >= READING_MAX:
                    self._was_read(*running.popleft())
            while running:
                self._was_read(*running.popleft())

    def _to_read(self) -> Iterator[tuple[bytes, Sequence[Blob] | None]]:
        """Each pack of the share that is there, once, with what an index says of it."""
        left = {pack for pack in self._sizes if self._share.holds(pack)}
        for stored in list(self._repository.store.names(Kind.INDEX)):
            try:
                for pack, blobs in self._repository.index_file(stored.name):
                    if pack in left:
                        left.discard(pack)
                        yield pack, blobs
            except (Damaged, Missing, StoreFault):  # told before
                continue
        yield from ((pack, None) for pack in sorted(left))

    def _was_read(self, pack: bytes, read: Future[tuple[int, list[str]]]) -> None:
        size, faults = read.result()
        self.checked.bytes_read += size
        if pack in self._named:
            self.checked.faults += faults
        else:
            self.checked.notes += [f"{fault} (no index names it: nothing counts on it)" for fault in faults]
        self._tell(self.checked)

    def _read_pack(self, pack: bytes, blobs: Sequence[Blob] | None) -> tuple[int, list[str]]:
        """How many bytes were read, and what is wrong with them."""
        try:
            content = self._repository.load_pack(pack.hex())
        except (Damaged, Missing, StoreFault) as error:
            return 0, [f"pack {pack.hex()[:SHORT]}: {error.why}"]
        return len(content), examine(self._repository, pack, content, blobs).faults

    def _fault(self, error: NciaError, whose: str = "") -> None:
        self.checked.faults.append(f"{whose}: {error.why}" if whose else f"{error.what}: {error.why}")
