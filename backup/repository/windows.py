"""Trees of one pack lie side by side, and are mostly asked for one after the other: a few are read in one go.

A store that is ten milliseconds away takes ten seconds for a thousand trees, one by one. The first look into a pack
reads little more than was asked for; each that follows it, twice as much as the one before, and on towards the side
on which it lies of that one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from backup.repository.format.index import Where
from backup.repository.ports import Kind, Store

FIRST_BYTES = 64 << 10
MOST_BYTES = 2 << 20
KEPT_BYTES = 8 << 20  # of what was read, the last
PACKS_MAX = 1024  # whose next look is remembered


class Windows:
    """Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()  # pack and offset -> what was read there
        self._used = 0
        self._looks: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # pack -> how much the last one read, where

    def load(self, store: Store, where: Where) -> tuple[bytes | memoryview, bool]:
        """A sealed blob, and whether it was read before; raises as :meth:`Store.load`."""
        pack, blob = where
        with self._lock:
            for (of, begin), content in self._kept.items():
                if of == pack and begin <= blob.offset and blob.offset + blob.length <= begin + len(content):
                    self._kept.move_to_end((of, begin))
                    return memoryview(content)[blob.offset - begin : blob.offset - begin + blob.length], True
            size, before = self._looks.pop(pack, (FIRST_BYTES // 2, 0))
            size = min(2 * size, MOST_BYTES)
            self._looks[pack] = (size, blob.offset)
            if len(self._looks) > PACKS_MAX:
                self._looks.popitem(last=False)
        size = max(size, blob.length)
        begin = blob.offset if blob.offset >= before else max(0, blob.offset + blob.length - size)
        content = store.load(Kind.DATA, pack.hex(), begin, size)
        if blob.length < len(content) <= MOST_BYTES:
            self._keep(pack, begin, content)
        return memoryview(content)[blob.offset - begin : blob.offset - begin + blob.length], False

    def forget(self, pack: bytes) -> None:
        """What was read of it is not as it should be, or no longer."""
        with self._lock:
            for key in [key for key in self._kept if key[0] == pack]:
                self._used -= len(self._kept.pop(key))

    def _keep(self, pack: bytes, begin: int, content: bytes) -> None:
        with self._lock:
            self._used += len(content) - len(self._kept.pop((pack, begin), b""))
            self._kept[pack, begin] = content
            while self._used > KEPT_BYTES:
                _, dropped = self._kept.popitem(last=False)
                self._used -= len(dropped)
