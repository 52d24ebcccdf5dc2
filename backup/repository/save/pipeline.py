"""Blobs into packs: hashed, compressed, sealed and verified by many threads, written by two, bounded throughout.

A blob that is new is sealed straight into an open pack; which of the open ones is left to chance, so that the order of
lengths in a pack does not tell which file it was. A pack that is full is written and durable before an index names it.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from backup.repository.format.index import Pack, index_text
from backup.repository.format.packs import Blob, seal_header
from backup.repository.format.seal import OVERHEAD_BYTES
from backup.repository.ports import Kind, Lingering
from backup.repository.repository import Repository
from backup.repository.save.helper import Sealed
from ncia.core.base.errors import NciaError

PACK_BYTES = 16 << 20  # restic's own target; the last blob may exceed it
PACK_ROOM_BYTES = PACK_BYTES + (9 << 20)  # with the longest chunk and a header; memory is only what is written to
SPREAD = 2  # so many packs are open for chance to choose from
SPREAD_FROM_BYTES = 4 << 20  # below that a backup is so small that more packs would only be more files
PACK_BLOBS_MAX = 100_000  # so that a header stays far below what restic reads
WRITERS = 2  # a store far away takes one pack while it makes another durable
WRITES_MAX = 3  # packs that are full and not durable yet
INDEX_BLOBS_MAX = 40_000
INDEX_SECONDS = 60.0  # what an interrupted backup has kept is named at least so often


@dataclass
class Added:
    """What a backup added; ``packed`` is what it takes in the store."""

    data_blobs: int = 0
    tree_blobs: int = 0
    plain_bytes: int = 0
    packed_bytes: int = 0

    def count(self, tree: bool, plain: int, packed: int) -> None:
        self.tree_blobs += tree
        self.data_blobs += not tree
        self.plain_bytes += plain
        self.packed_bytes += packed


@dataclass
class OpenPack:
    """A pack that is being filled by one thread at a time."""

    tree: bool
    room: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, PACK_ROOM_BYTES))
    used: int = 0
    blobs: list[Blob] = field(default_factory=list)

    def reserve(self, length: int) -> memoryview:
        """The next ``length`` bytes, to be written by the caller."""
        end = self.used + length
        if end > len(self.room):  # a folder of very many files
            grown = mmap.mmap(-1, 2 * end)
            grown[: self.used] = self.room[: self.used]
            self.room = grown
        return memoryview(self.room)[self.used : end]


class Packing:
    """Where new blobs go. :meth:`keep` is for many threads; :meth:`finish` for whoever made this."""

    def __init__(self, repository: Repository, verify: bool, guard: Callable[[], None]) -> None:
        self.added = Added()
        self._repository = repository
        self._verify = verify
        self._guard = guard  # raises where no index may be written any more
        self._lock = threading.Lock()
        self._claimed: dict[bool, set[bytes]] = {False: set(), True: set()}  # in packs that are not durable yet
        self._distrusted: set[bytes] = set()  # trees that an index tells of and nobody can read
        self._open: dict[bool, list[OpenPack]] = {False: [], True: []}
        self._rooms: list[mmap.mmap] = []
        self._writer = ThreadPoolExecutor(WRITERS, "pack writer")
        self._slots = threading.Semaphore(WRITES_MAX)
        self._writes: deque[Future[None]] = deque()
        self._unnamed: list[Pack] = []  # durable packs that no index tells yet
        self._named_at = time.monotonic()

    def keep(self, plain: bytes | memoryview, tree: bool = False) -> bytes:
        """A blob's id. It is in a pack when this returns, and durable once :meth:`finish` has returned."""
        id_ = hashlib.sha256(plain).digest()
        self.keep_as(id_, plain, tree)
        return id_

    def keep_as(self, id_: bytes, plain: bytes | memoryview, tree: bool = False) -> None:
        """The same, of a blob whose id is known."""
        with self._lock:
            if not self._claim(id_, tree):
                return
        with _means():
            self._seal(id_, plain, tree)

    def _seal(self, id_: bytes, plain: bytes | memoryview, tree: bool) -> None:
        packed = self._repository.squeezer.squeeze(plain, tree)
        plain_length = 0 if packed is plain else len(plain)
        pack = self._take(tree)
        length = len(packed) + OVERHEAD_BYTES
        with pack.reserve(length) as sealed:
            self._repository.sealer.seal_into(packed, sealed)
            blob = Blob(id_, tree, pack.used, length, plain_length)
            if self._verify:
                self._repository.verify_blob(blob, sealed)
        pack.blobs.append(blob)
        pack.used += length
        with self._lock:
            self.added.count(tree, len(plain), length)
        self._put(pack)

    def place(self, sealed: Sequence[Sealed], slab: memoryview) -> None:
        """Keep blobs of data that a helper has sealed, as they follow each other in its slab; those that are known
        already are passed over."""
        with self._lock:
            fresh = [each.length > 0 and self._claim(each.id, tree=False) for each in sealed]
        size = sum([each.length for each, new in zip(sealed, fresh, strict=True) if new])
        if not size:
            return
        with _means():
            self._place(sealed, fresh, size, slab)

    def _place(self, sealed: Sequence[Sealed], fresh: Sequence[bool], size: int, slab: memoryview) -> None:
        pack = self._take(tree=False)
        used, blobs = pack.used, pack.blobs
        before = len(blobs)
        plain_bytes = at = filled = 0  # at: in the slab
        with pack.reserve(size) as room:
            whole = size == sum([each.length for each in sealed])
            if whole:
                room[:] = slab[:size]
            for (_, id_, plain, compressed, length), new in zip(sealed, fresh, strict=True):
                if new:
                    if not whole:
                        room[filled : filled + length] = slab[at : at + length]
                    blobs.append(Blob(id_, False, used + filled, length, plain if compressed else 0))
                    filled += length
                    plain_bytes += plain
                at += length
        pack.used = used + size
        with self._lock:
            self.added.data_blobs += len(blobs) - before
            self.added.plain_bytes += plain_bytes
            self.added.packed_bytes += size
        self._put(pack)

    def finish(self) -> None:
        """Everything that was kept is durable and named by an index when this returns."""
        for packs in self._open.values():
            while packs:
                self._send(packs.pop())
        while self._writes:
            self._writes.popleft().result()
        self._writer.shutdown()
        self._name(self._unnamed)

    def abandon(self) -> None:
        """Stop: what is durable stays, and is found by the next backup where an index names it."""
        self._writer.shutdown(cancel_futures=True)

    def distrust(self, tree: bytes) -> None:
        """Keep this tree anew if it comes: what is there of it cannot be read."""
        with self._lock:
            self._distrusted.add(tree)

    def _claim(self, id_: bytes, tree: bool) -> bool:
        """Is this one nobody's yet? Then it is the caller's to keep. Ask under the lock."""
        claimed = self._claimed[tree]
        if id_ in claimed:
            return False
        if self._repository.index.has(id_, tree) and not (tree and id_ in self._distrusted):
            return False
        self._distrusted.discard(id_)
        claimed.add(id_)
        return True

    def _put(self, pack: OpenPack) -> None:
        """Give a pack back, or to the writer where it is full."""
        if pack.used >= PACK_BYTES or len(pack.blobs) >= PACK_BLOBS_MAX:
            self._send(pack)
            return
        with self._lock:
            self._open[pack.tree].append(pack)

    def _take(self, tree: bool) -> OpenPack:
        """An open pack that is this thread's until it is put back."""
        with self._lock:
            free = self._open[tree]
            if len(free) >= SPREAD or (free and free[0].used < SPREAD_FROM_BYTES):
                return free.pop(secrets.randbelow(len(free)))
            return OpenPack(tree, self._rooms.pop()) if self._rooms else OpenPack(tree)

    def _send(self, pack: OpenPack) -> None:
        self._slots.acquire()
        with self._lock:
            over = [self._writes.popleft() for _ in range(len(self._writes)) if self._writes[0].done()]
            self._writes.append(self._writer.submit(self._write, pack))
        for write in over:
            write.result()  # a fault of the store ends the backup here

    def _write(self, pack: OpenPack) -> None:
        try:
            with _means():
                self._write_pack(pack)
        finally:
            self._slots.release()

    def _write_pack(self, pack: OpenPack) -> None:
        header = seal_header(pack.blobs, self._repository.sealer)
        with pack.reserve(len(header)) as end:
            end[:] = header
        with memoryview(pack.room)[: pack.used + len(header)] as whole:
            name = hashlib.sha256(whole).digest()
            self._repository.keep(Kind.DATA, name.hex(), whole)
        with self._lock:
            self._repository.index.add(name, pack.blobs)
            self._claimed[pack.tree].difference_update([blob.id for blob in pack.blobs])
            self.added.packed_bytes += len(header)
            if len(pack.room) == PACK_ROOM_BYTES and not self._is_read_on():
                self._rooms.append(pack.room)
            self._unnamed.append((name, pack.blobs))
            due = self._taken_if_due()
        self._name(due)

    def _is_read_on(self) -> bool:
        store = self._repository.store
        return isinstance(store, Lingering) and store.lingers()

    def _taken_if_due(self) -> list[Pack]:
        """The packs that it is time to name; they are the caller's then."""
        waiting = sum(len(blobs) for _, blobs in self._unnamed)
        if waiting < INDEX_BLOBS_MAX and time.monotonic() - self._named_at < INDEX_SECONDS:
            return []
        due, self._unnamed = self._unnamed, []
        self._named_at = time.monotonic()
        return due

    def _name(self, packs: list[Pack]) -> None:
        if packs:
            self._guard()
            self._repository.save_file(Kind.INDEX, index_text(packs))


@contextmanager
def _means() -> Iterator[None]:
    """Whoever reads files takes an ``OSError`` for a fault of the file. One of ours ends the backup: what was claimed
    and is in no pack would be taken for kept by the next file that holds it."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        hint = "free memory, processes or open files of this machine, and run it again"
        raise NciaError("repository.no-means", "keep what was read", why, hint) from error
