"""A repository's files at its twin: packs first, then the indexes that name them, then the snapshots that need them.

Twins have one id and one master key, so a file of either is a file of the other, byte for byte. Each bears its hash as
its name and is held against it on the way. What is there already is not sent again: a copy that was broken off goes on
when it is run again. Keys stay each place's own. ``copying_blobs`` copies where the other one is no twin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from backup.repository.care.reaching import Lacks, reached
from backup.repository.faults import Damaged, Hostile
from backup.repository.format.index import Pack, index_packs, index_text
from backup.repository.format.snapshots import Snapshot, snapshot_of
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SHORT

CONNECTIONS = 4  # packs on their way at once, each held in memory


@dataclass
class Copied:
    """What a copy brought. ``faults``: what it could not, and why."""

    packs: int = 0
    indexes: int = 0
    snapshots: list[str] = field(default_factory=list)
    blobs: int = 0  # written anew, where the other one is no twin
    bytes: int = 0
    bytes_all: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        return bool(self.faults)


Tell = Callable[[Copied], None]


def twins(one: Repository, other: Repository) -> bool:
    """Is a file of one a file of the other? restic of old wrote the third part of the key down otherwise."""
    return (one.config.id, one.key.encrypt, one.key.mac_k) == (other.config.id, other.key.encrypt, other.key.mac_k)


class Copying:
    """One copy from ``one`` to its twin ``other``. ``guard`` raises where ``other`` may not be written to any more.

    A fault of ``other`` ends it, for the next file would meet it too; one of a file of ``one`` costs that file."""

    def __init__(
        self, one: Repository, other: Repository, guard: Callable[[], None], tell: Tell = lambda _: None
    ) -> None:
        self.copied = Copied()
        self._one = one
        self._other = other
        self._guard = guard
        self._tell = tell
        self._here: set[bytes] = set()  # packs that the other one has whole, by their length
        self._seen: set[bytes] = set()  # packs that are at one of them at least
        self._lost: set[bytes] = set()  # packs that this one does not have itself: no later copy will bring them

    def run(self, snapshots: Sequence[Snapshot] | None = None) -> Copied:
        """Copy everything, or what these snapshots need. What is listed first needs what is listed after it, so that a
        backup that goes on there meanwhile is left for the next copy, and not taken for one that lost its packs."""
        names = [each.name for each in self._one.store.names(Kind.SNAPSHOTS)]
        indexes = [each.name for each in self._one.store.names(Kind.INDEX)]
        self._packs(None if snapshots is None else self._needed(snapshots))
        self._indexes(indexes, snapshots is None)
        self._snapshots(names if snapshots is None else {each.id for each in snapshots}.intersection(names))
        return self.copied

    def _needed(self, snapshots: Sequence[Snapshot]) -> set[bytes]:
        """The packs of these snapshots."""
        self._one.load_index()
        found: set[bytes] = set()
        seen: set[bytes] = set()
        for snapshot in snapshots:
            try:
                for id_, tree in reached(self._one, (snapshot.tree,), seen):
                    found.add(self._one.demand(id_, tree).pack)
            except (Damaged, Hostile, Missing) as error:
                self._fault(f"snapshot {snapshot.id[:SHORT]}", error)
        return found

    def _packs(self, needed: set[bytes] | None) -> None:
        here = {bytes.fromhex(each.name): each.size for each in self._other.store.names(Kind.DATA)}
        there = {bytes.fromhex(each.name): each.size for each in self._one.store.names(Kind.DATA)}
        wanted = there.keys() if needed is None else needed
        self._here = {pack for pack, size in here.items() if there.get(pack, size) == size}
        for pack in sorted(wanted & (here.keys() - self._here)):
            sizes = f"{there[pack]} bytes at one and {here[pack]} at the other"
            self.copied.faults.append(f"pack {pack.hex()[:SHORT]}: it has {sizes}; repair finds the right one")
        self._seen = here.keys() | there.keys()
        self._nowhere(wanted - here.keys() - there.keys())
        sending = sorted(wanted - here.keys() - self._lost)
        self.copied.bytes_all = sum(there[pack] for pack in sending)
        with ThreadPoolExecutor(CONNECTIONS, "copy") as pool:
            running: deque[tuple[bytes, Future[int | NciaError]]] = deque()
            try:
                for pack in sending:
                    running.append((pack, pool.submit(self._pack, pack)))
                    if len(running) > CONNECTIONS:
                        first, came = running.popleft()
                        self._came(first, came.result())
                for first, came in running:
                    self._came(first, came.result())
            finally:
                pool.shutdown(cancel_futures=True)

    def _pack(self, pack: bytes) -> int | NciaError:
        """How many bytes came; or what is wrong with those of this one."""
        try:
            content = self._one.load_sealed(Kind.DATA, pack.hex())
        except (Damaged, Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            return error
        self._other.keep(Kind.DATA, pack.hex(), content)
        return len(content)

    def _came(self, pack: bytes, came: int | NciaError) -> None:
        if isinstance(came, NciaError):
            self._lost.add(pack)
            self._fault(f"pack {pack.hex()[:SHORT]}", came)
            return
        self._here.add(pack)
        self.copied.packs += 1
        self.copied.bytes += came
        self._tell(self.copied)

    def _nowhere(self, packs: set[bytes]) -> None:
        for pack in sorted(packs - self._lost):
            self._lost.add(pack)
            self.copied.faults.append(f"pack {pack.hex()[:SHORT]}: an index names it, and it is at neither place")

    def _indexes(self, names: Sequence[str], everything: bool) -> None:
        """Each index as it is, once all that it names is there; of another one what is, as an index of its own."""
        there = {each.name for each in self._other.store.names(Kind.INDEX)}
        named = {pack for _, packs in self._other.index_files() for pack, _ in packs}
        for name in names:
            if name in there:
                continue
            try:
                packs, sealed = self._index(name)
            except (Damaged, Missing) as error:
                self._fault(f"index {name[:SHORT]}", error)
                continue
            if everything:
                self._nowhere({pack for pack, _ in packs} - self._seen)
            self._guard()
            rest = [(pack, blobs) for pack, blobs in packs if pack in self._here and pack not in named]
            if all(pack in self._here for pack, _ in packs):
                self._other.keep(Kind.INDEX, name, sealed)
            elif rest:
                self._other.save_file(Kind.INDEX, index_text(rest))
            else:
                continue
            named.update(pack for pack, _ in rest)
            self.copied.indexes += 1

    def _index(self, name: str) -> tuple[list[Pack], bytes]:
        sealed = self._one.load_sealed(Kind.INDEX, name)
        text = self._one.open_file(Kind.INDEX, name, sealed)
        return index_packs(text, f"read index {name[:SHORT]}"), sealed

    def _snapshots(self, names: Iterable[str]) -> None:
        there = {each.name for each in self._other.store.names(Kind.SNAPSHOTS)}
        lacks: Lacks | None = None
        for name in sorted(names):
            if name in there:
                continue
            try:
                sealed = self._one.load_sealed(Kind.SNAPSHOTS, name)
                snapshot = snapshot_of(self._one.open_file(Kind.SNAPSHOTS, name, sealed), name)
            except (Damaged, Missing) as error:
                self._fault(f"snapshot {name[:SHORT]}", error)
                continue
            if self.copied.partial:  # else all is there that its indexes name
                lacks = lacks or self._lacks()
                if why := self._held_back(lacks, snapshot):
                    self.copied.faults.append(f"snapshot {name[:SHORT]}: {why}")
                    continue
            self._guard()
            self._other.keep(Kind.SNAPSHOTS, name, sealed)
            self.copied.snapshots.append(name)

    def _lacks(self) -> Lacks:
        self._one.load_index()
        return Lacks(self._one, self._settled)

    def _settled(self, id_: bytes, tree: bool) -> bool:
        """Nothing more will come of waiting: it is there, or lost here as well. A snapshot that lacks something is
        worth more at two places than at one."""
        where = self._one.where(id_, tree)
        return where is None or where.pack in self._here or where.pack in self._lost

    def _held_back(self, lacks: Lacks, snapshot: Snapshot) -> str:
        found = [lack for lack in lacks.below(snapshot.tree) if not self._settled(lack.id, lack.tree)]
        return f"held back, for {len(found)} blobs that it needs are not there yet" if found else ""

    def _fault(self, whose: str, error: NciaError) -> None:
        self.copied.faults.append(f"{whose}: {error.why}")
