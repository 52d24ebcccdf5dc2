"""What a check finds is mended: from the twin where it is whole there, else from what is left here.

A damaged pack is replaced by the twin's, held against its hash before. Where neither has it whole, those of its blobs
that either still has go into new packs. Indexes that are damaged, or tell what is not so, are written anew from what
the packs themselves tell. All that the twin has more is brought. What is nowhere is told, with the files that need it.
Nothing is removed before what takes its place is known to be good; what was salvaged is durable and named before.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

from backup.repository.care.checking import Share
from backup.repository.care.copying import Copied, Copying
from backup.repository.care.examining import Examined, examine, header_of
from backup.repository.care.reaching import Lacks
from backup.repository.faults import Damaged
from backup.repository.format.index import Mark, Pack, index_text
from backup.repository.format.packs import Blob, pack_bytes
from backup.repository.format.trees import shown
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from backup.repository.save.pipeline import INDEX_BLOBS_MAX, Packing
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SHORT

READING_MAX = 4  # packs that are held in memory at once
LOST_MAX = 1000  # of what is lost so many are named


@dataclass
class Repaired:
    """``mended``: what was done, a sentence each. ``lost``: what is lost for good, and who needs it."""

    packs: int = 0
    bytes_read: int = 0
    bytes: int = 0
    bytes_brought: int = 0  # of what the other place has and this one had not
    bytes_to_bring: int = 0
    mended: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    lost_count: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def partial(self) -> bool:
        return bool(self.lost)

    def lose(self, sentence: str) -> None:
        self.lost_count += 1
        if len(self.lost) < LOST_MAX:
            self.lost.append(sentence)


class _Bad(NamedTuple):
    """A pack that is not what it should be. ``indexed``: what an index says of it, where one does."""

    pack: bytes
    indexed: Sequence[Blob] | None
    examined: Examined | None  # None: it is not there, or cannot be read


class Repairing:
    """One repair, of a repository that nobody else writes to meanwhile. ``guard`` raises where that is not sure any
    more. ``share``: which packs are read; those that are missing or have another length are mended whatever it is."""

    def __init__(
        self,
        repository: Repository,
        twin: Repository | None,
        guard: Callable[[], None],
        share: Share,
        tell: Callable[[Repaired], None] = lambda _: None,
    ) -> None:
        self.repaired = Repaired()
        self._repository = repository
        self._store = repository.store
        self._twin = twin
        self._guard = guard
        self._share = share
        self._tell = tell
        self._sizes: dict[bytes, int] = {}  # of the packs that are there
        self._named: set[bytes] = set()  # by an index that can be read
        self._marked: dict[bytes, Mark] = {}  # for removal, and named by none: it stays so
        self._bad: list[_Bad] = []
        self._right: dict[bytes, Sequence[Blob]] = {}  # what a pack tells of itself, where no index tells just that
        self._dropped: set[bytes] = set()  # packs that no index is to name
        self._over: set[bytes] = set()  # those of them whose blobs are all somewhere else

    def run(self) -> Repaired:
        if self._twin is not None:
            self._twin.load_index()
            self.repaired.notes += [f"at the other place: {sentence}" for sentence in self._twin.damaged]
            self._bring(self._twin)
        self._examine()
        bad = [each for each in self._bad if not self._replaced(each)]
        if self._twin is not None:
            for kind in (Kind.INDEX, Kind.SNAPSHOTS):
                self._replace(kind, self._twin)
            self.repaired.notes += [f"at the other place: {fault}" for fault in self._bring(self._twin)]
        self._salvage(bad)
        self._indexes()
        self._remove_dropped()
        fresh = Repository(self._store, self._repository.key, self._repository.config)
        fresh.load_index()
        lacks = Lacks(fresh, lambda id_, tree: fresh.where(id_, tree) is not None)
        if self._twin is not None:
            self._bring_snapshots(self._twin, lacks)
        self._lost(fresh, lacks)
        return self.repaired

    def _examine(self) -> None:
        """Which packs are sound? They alone come into the index that the mending counts on."""
        self._sizes = {bytes.fromhex(each.name): each.size for each in self._store.names(Kind.DATA)}
        self.repaired.packs = len(self._sizes)
        self.repaired.bytes = sum(size for pack, size in self._sizes.items() if self._share.holds(pack))
        with ThreadPoolExecutor(os.cpu_count() or 1, "repair") as pool:
            running: deque[tuple[Pack, bool, Future[Examined | None]]] = deque()
            for pack, blobs, named in self._told():
                if pack not in self._sizes:
                    self._bad.append(_Bad(pack, blobs, None))
                elif named and not self._share.holds(pack) and self._sizes[pack] == pack_bytes(blobs):
                    self._count_on(pack, blobs)
                else:
                    running.append(((pack, blobs), named, pool.submit(self._look, pack, blobs if named else None)))
                if len(running) > READING_MAX:
                    self._judge(*running.popleft())
            for each in running:
                self._judge(*each)

    def _told(self) -> Iterator[tuple[bytes, Sequence[Blob], bool]]:
        """Each pack once: those that an index names, those that one marks, then those that none speaks of."""
        marks: list[Mark] = []
        for _, packs, marked in self._readable():
            marks += marked
            for pack, blobs in packs:
                if pack not in self._named:
                    self._named.add(pack)
                    yield pack, blobs, True
        self._marked = {mark.pack: mark for mark in marks if mark.pack in self._sizes and mark.pack not in self._named}
        yield from ((mark.pack, mark.blobs, True) for mark in self._marked.values())
        left = self._sizes.keys() - self._named - self._marked.keys()
        yield from ((pack, (), False) for pack in sorted(left))

    def _count_on(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        """On what a pack holds; where it is marked, only to be read."""
        (self._repository.marked if pack in self._marked else self._repository.index).add(pack, blobs)

    def _readable(self) -> Iterator[tuple[str, list[Pack], list[Mark]]]:
        for stored in list(self._store.names(Kind.INDEX)):
            try:
                yield stored.name, *self._repository.index_whole(stored.name)
            except Damaged:  # mended, or removed once others name what it named
                continue

    def _look(self, pack: bytes, indexed: Sequence[Blob] | None) -> Examined | None:
        try:
            content = self._repository.load_pack(pack.hex())
        except (Damaged, Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            return None
        return examine(self._repository, pack, content, indexed)

    def _judge(self, told: Pack, named: bool, future: Future[Examined | None]) -> None:
        pack, blobs = told
        examined = future.result()
        self.repaired.bytes_read += self._sizes[pack] if self._share.holds(pack) else 0
        self._tell(self.repaired)
        alone = examined if examined is None or not named else self._without_index(pack, examined)
        if alone is None or not alone.sound:
            self._bad.append(_Bad(pack, blobs if named else None, examined))
            return
        self._count_on(pack, alone.told)
        if pack not in self._marked and (not named or sorted(alone.told) != sorted(blobs)):
            self._right[pack] = alone.told

    def _without_index(self, pack: bytes, examined: Examined) -> Examined | None:
        """The same, where an index may be what is wrong."""
        return examined if examined.sound or not examined.told else self._look(pack, None)

    def _replaced(self, bad: _Bad) -> bool:
        """Is it as it was now, from the twin?"""
        name = bad.pack.hex()
        content = _whole(self._twin, Kind.DATA, name) if self._twin is not None else None
        examined = None if content is None else examine(self._repository, bad.pack, memoryview(content), None)
        if content is None or examined is None or not examined.sound:
            return False
        self._guard()
        if bad.pack in self._sizes:
            self._store.remove(Kind.DATA, name)
        self._repository.keep(Kind.DATA, name, content)
        self._sizes[bad.pack] = len(content)
        self._count_on(bad.pack, examined.told)
        if bad.pack not in self._marked and (bad.indexed is None or sorted(bad.indexed) != sorted(examined.told)):
            self._right[bad.pack] = examined.told
        self.repaired.mended.append(f"pack {name[:SHORT]}: brought whole from the other place ({len(content)} bytes)")
        return True

    def _salvage(self, bad: Sequence[_Bad]) -> None:
        """What can be had of packs that are nowhere whole goes into new packs; then no index names them any more."""
        packing = Packing(self._repository, verify=True, guard=self._guard)
        try:
            for each in bad:
                if (each.examined is None and each.pack in self._sizes) or not self._salvage_one(each, packing):
                    name = f"pack {each.pack.hex()[:SHORT]}"
                    self.repaired.lose(f"{name} cannot be read just now, and is left as it is: look at the store")
            packing.finish()
        finally:
            packing.abandon()
        self._sizes.update((bytes.fromhex(each.name), each.size) for each in self._store.names(Kind.DATA))

    def _salvage_one(self, bad: _Bad, packing: Packing) -> bool:
        """Where its blobs lie an index tells, its own header, or that of the twin's, whichever can be read. False where
        a store fails: what is known of the pack must not go then."""
        name = f"pack {bad.pack.hex()[:SHORT]}"
        places: dict[tuple[bytes, bool], set[Blob]] = {}
        for blob in (
            *(bad.indexed or ()),
            *(bad.examined.known if bad.examined else ()),
            *self._twins_header(bad.pack),
        ):
            places.setdefault((blob.id, blob.tree), set()).add(blob)
        wanted = [found for key, found in places.items() if not self._repository.index.has(*key)]
        try:
            kept = sum(self._kept(bad.pack, found, packing) for found in wanted)
        except _Unread:
            return False
        self._dropped.add(bad.pack)
        if places and kept == len(wanted):
            self._over.add(bad.pack)  # else what is left of it stays, for whoever can make more of it
        if kept or bad.indexed is not None:
            self.repaired.mended.append(f"{name}: {kept} of {len(wanted)} blobs that nothing else holds were salvaged")
        else:
            self.repaired.notes.append(f"{name} is damaged, and no index names it: nothing counts on it")
        return True

    def _kept(self, pack: bytes, places: set[Blob], packing: Packing) -> bool:
        """Is a blob kept anew: from this pack, the twin's, or where the twin's index tells?"""
        for blob in places:
            plain = _read(self._repository, pack, blob)
            if plain is None and self._twin is not None:
                plain = _read(self._twin, pack, blob)
                if plain is None and (where := self._twin.where(blob.id, blob.tree)) is not None:
                    plain = _read(self._twin, where.pack, where.blob)
            if plain is not None:
                packing.keep(plain, blob.tree)
                return True
        return False

    def _twins_header(self, pack: bytes) -> tuple[Blob, ...]:
        """What the twin's pack of that name tells, however damaged the rest of it is."""
        if self._twin is None:
            return ()
        try:
            return header_of(self._twin, pack, self._twin.load_pack(pack.hex()))
        except (Damaged, Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            return ()

    def _replace(self, kind: Kind, twin: Repository) -> None:
        """Damaged indexes and snapshots: the twin's in their place where it has them."""
        for stored in list(self._store.names(kind)):
            try:
                self._repository.load_file(kind, stored.name)
            except Missing:
                continue
            except Damaged:
                if (content := _whole(twin, kind, stored.name)) is not None:
                    self._guard()
                    self._store.remove(kind, stored.name)
                    self._repository.keep(kind, stored.name, content)
                    what = f"{kind.value.rstrip('s')} {stored.name[:SHORT]}"
                    self.repaired.mended.append(f"{what}: brought whole from the other place")

    def _bring(self, twin: Repository) -> list[str]:
        """All that the other place has and this one has not; what could not be brought."""

        def heard(copied: Copied) -> None:
            self.repaired.bytes_brought, self.repaired.bytes_to_bring = copied.bytes, copied.bytes_all
            self._tell(self.repaired)

        copied = Copying(twin, self._repository, self._guard, heard).run()
        for count, what in ((copied.packs, "packs"), (copied.indexes, "indexes")):
            if count:
                self.repaired.mended.append(f"{count} {what} that were not here: brought from the other place")
        for name in copied.snapshots:
            self.repaired.mended.append(f"snapshot {name[:SHORT]}: brought from the other place")
        return copied.faults

    def _indexes(self) -> None:
        """Indexes that are damaged or wrong are written anew, and what no index names is named."""
        old: list[str] = []
        anew: list[Pack] = []
        marks: list[Mark] = []
        named: set[bytes] = set()
        for stored in list(self._store.names(Kind.INDEX)):
            try:
                packs, marked = self._repository.index_whole(stored.name)
            except Missing:
                continue
            except Damaged as error:
                old.append(stored.name)
                self.repaired.mended.append(f"index {stored.name[:SHORT]}: left out, for {error.why}")
                continue
            twice = len({pack for pack, _ in packs}) < len(packs)  # harmless here, and damage to restic
            if not twice and all(self._holds(pack, blobs) for pack, blobs in packs):
                named.update(pack for pack, _ in packs)
                continue
            old.append(stored.name)
            marks += (mark for mark in marked if mark.pack in self._marked and self._there(mark.pack))
            anew += [(pack, self._right.get(pack, blobs)) for pack, blobs in packs if self._there(pack)]
            self.repaired.mended.append(f"index {stored.name[:SHORT]}: written anew, for it told what is not so")
        anew += [(pack, blobs) for pack, blobs in self._right.items() if self._there(pack)]
        fresh = {pack: blobs for pack, blobs in anew if pack not in named}
        self._write(fresh, marks)
        added = sum(pack not in self._named for pack in fresh)
        if added:
            self.repaired.mended.append(f"{added} packs that no index named: named by a new one")
        for name in old:
            self._guard()
            self._store.remove(Kind.INDEX, name)

    def _there(self, pack: bytes) -> bool:
        return pack in self._sizes and pack not in self._dropped

    def _holds(self, pack: bytes, blobs: Sequence[Blob]) -> bool:
        right = self._right.get(pack)
        return self._there(pack) and (right is None or sorted(right) == sorted(blobs))

    def _write(self, packs: dict[bytes, Sequence[Blob]], marks: Sequence[Mark]) -> None:
        part: list[Pack] = []
        for pack, blobs in packs.items():
            part.append((pack, blobs))
            if sum(len(each) for _, each in part) >= INDEX_BLOBS_MAX:
                self._guard()
                self._repository.save_file(Kind.INDEX, index_text(part))
                part = []
        if part or marks:
            self._guard()
            self._repository.save_file(Kind.INDEX, index_text(part, marks))

    def _remove_dropped(self) -> None:
        """Packs of which everything is somewhere else by now."""
        for pack in sorted(self._over & self._sizes.keys()):
            self._guard()
            self._store.remove(Kind.DATA, pack.hex())

    def _bring_snapshots(self, twin: Repository, lacks: Lacks) -> None:
        """Snapshots whose blobs are all here by now, though the other place, whose indexes may be damaged, cannot find
        them there."""
        here = {stored.name for stored in self._store.names(Kind.SNAPSHOTS)}
        for stored in list(twin.store.names(Kind.SNAPSHOTS)):
            if stored.name in here or (content := _whole(twin, Kind.SNAPSHOTS, stored.name)) is None:
                continue
            try:
                tree = twin.snapshot(stored.name).tree
            except (Damaged, Missing):  # what is sealed otherwise is told where it lies
                continue
            if not lacks.below(tree):
                self._guard()
                self._repository.keep(Kind.SNAPSHOTS, stored.name, content)
                self.repaired.mended.append(f"snapshot {stored.name[:SHORT]}: brought from the other place")

    def _lost(self, fresh: Repository, lacks: Lacks) -> None:
        """What is lost for good, by the files of the snapshots that need it."""
        for snapshot in fresh.snapshots():
            for lack in lacks.below(snapshot.tree):
                kind = "the folder's tree" if lack.tree else "blob"
                whose = f"{shown(lack.path or b'/')} of snapshot {snapshot.id[:SHORT]}"
                # one that an index names lies in a pack that was not read, and may be whole at the other place
                known = fresh.where(lack.id, lack.tree) is not None
                gone = "is lost for good" if self._twin else "is lost for good, unless a twin has it"
                fate = "is damaged, in a pack that was not read" if known else gone
                self.repaired.lose(f"{whose}: {kind} {lack.id.hex()[:SHORT]} {fate}: {lack.why}")
        if lacks.cut:
            self.repaired.notes.append("so much is lost that not all of it is counted and named: these are the first")
        for sentence in fresh.damaged:
            self.repaired.lose(f"{sentence}; it is lost for good")


def _whole(repository: Repository, kind: Kind, name: str) -> bytes | None:
    """A file's bytes, where it is there and has the hash that is its name."""
    try:
        return repository.load_sealed(kind, name)
    except (Damaged, Missing, StoreFault) as error:
        if isinstance(error, Unreachable):
            raise
        return None


def _read(repository: Repository, pack: bytes, blob: Blob) -> bytes | None:
    """A blob's plain bytes, verified; None where they are not there."""
    try:
        sealed = repository.store.load(Kind.DATA, pack.hex(), blob.offset, blob.length)
        return repository.open_blob(blob, sealed)
    except (Damaged, Missing):
        return None
    except StoreFault as fault:
        if isinstance(fault, Unreachable):
            raise
        raise _Unread from fault


class _Unread(Exception):
    """A store failed at what it has: nothing is known of it."""
