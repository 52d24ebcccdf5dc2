"""Big files into chunks: read into two windows that are used in turn, cut where their content says so.

A chunk's end depends on nothing before it, so an insertion changes the chunks around it and no others. The last chunk
of a full window is carried over to the next one and cut again with what follows. Of a sparse file the holes are not
read: each is as many of the longest chunks of zeros, all of them the same one, as fit into it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from concurrent.futures import Future

from pyfastcdc import FastCDC

from backup.repository.save.scan import ONE_BLOB_MAX

CHUNK_MIN = ONE_BLOB_MAX
CHUNK_TYPICAL = 512 << 10  # beyond the least: chunks have a mebibyte in the middle
CHUNK_MAX = 8 << 20
WINDOW_BYTES = 16 << 20
WINDOWS = 2
ROOM_MIN = 1 << 20  # a window with less room left is not begun with another file

Chunks = list["Future[bytes] | bytes"]  # of one file, in order: their ids, or who will know them
Keep = Callable[[memoryview], "Future[bytes]"]


class Cutter:
    """Cuts one file after the other. ``keep`` takes a chunk that stays as it is until its future is done."""

    def __init__(self, seed: int, keep: Keep) -> None:
        self._cdc = FastCDC(CHUNK_TYPICAL, min_size=CHUNK_MIN, max_size=CHUNK_MAX, seed=seed)
        self._keep = keep
        self._windows: list[memoryview] = []
        self._users: list[list[Future[bytes]]] = [[] for _ in range(WINDOWS)]
        self._turn = 0
        self._used = 0

    def cut(self, descriptor: int, sparse: bool = False) -> tuple[Chunks, int]:
        """The chunks of an open file from its start to its end, and how many bytes that was. ``sparse``: it may have
        holes."""
        if not self._windows:
            self._windows = [memoryview(bytearray(WINDOW_BYTES)) for _ in range(WINDOWS)]
        found: Chunks = []
        size = 0
        zeros: Future[bytes] | None = None
        if WINDOW_BYTES - self._used < ROOM_MIN:
            self._next(b"")
        start = self._used
        while True:
            if sparse and (count := hole_bytes(descriptor, size) // CHUNK_MAX):
                self._send(self._windows[self._turn][start : self._used], last=True, found=found)
                zeros = zeros or self._keep(memoryview(bytes(CHUNK_MAX)))
                found += [zeros] * count
                size = os.lseek(descriptor, size + count * CHUNK_MAX, os.SEEK_SET)
                self._next(b"")
                start = 0
            window = self._windows[self._turn]
            count = os.readv(descriptor, [window[self._used :]])
            size += count
            self._used += count
            if count and self._used < WINDOW_BYTES:
                continue
            rest = self._send(window[start : self._used], last=not count, found=found)
            if not count:
                return found, size
            self._next(rest)
            _settle(found)
            start = 0

    def _send(self, part: memoryview, last: bool, found: Chunks) -> memoryview:
        """Give away the chunks of a part; unless it ends the file, all but the last one, which is returned."""
        ends = [(chunk.offset, chunk.length) for chunk in self._cdc.cut_buf(part)] if part else []
        rest = part[len(part) :]
        if not last and ends:
            rest = part[ends.pop()[0] :]
        for offset, length in ends:
            kept = self._keep(part[offset : offset + length])
            found.append(kept)
            self._users[self._turn].append(kept)
        return rest

    def _next(self, carried: memoryview | bytes) -> None:
        """Go on with the other window, once nobody reads it any more."""
        turn = (self._turn + 1) % WINDOWS
        for user in self._users[turn]:
            user.result()
        self._users[turn].clear()
        self._windows[turn][: len(carried)] = carried
        self._turn, self._used = turn, len(carried)


def _settle(found: Chunks) -> None:
    """Who knows an id by now is replaced by it, from the end back: a file of terabytes has millions of chunks."""
    for at in range(len(found) - 1, -1, -1):
        chunk = found[at]
        if isinstance(chunk, bytes):
            return
        if chunk.done():
            found[at] = chunk.result()


def hole_bytes(descriptor: int, at: int) -> int:
    """How long the hole is that begins at a place of an open file; 0 where there is data, or nobody knows of holes. The
    file is read on from there."""
    try:
        data = os.lseek(descriptor, at, os.SEEK_DATA)
    except OSError as error:
        if error.errno not in (errno.ENXIO, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        data = os.fstat(descriptor).st_size if error.errno == errno.ENXIO else at
    os.lseek(descriptor, at, os.SEEK_SET)
    return max(0, data - at)
