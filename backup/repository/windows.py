"""Trees of one pack lie side by side, and are mostly asked for one after the other: a few are read in one go.

A store that is ten milliseconds away takes ten seconds for a thousand trees, one by one. But in a repository that has
aged those of a snapshot lie here and there. So the first look into a pack reads little more than was asked for, and
each that follows it some times as much as was of use of the one before.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from backup.repository.format.index import Where
from backup.repository.ports import Kind, Store

FIRST_BYTES = 16 << 10
MOST_BYTES = 2 << 20
KEPT_BYTES = 8 << 20  # of all packs together
GROWTH = 3  # times as much as was of use
BEHIND = 8  # an eighth of what is read lies on the side from which one came: a folder's tree lies behind its entries'


@dataclass
class Window:
    """What was read of a pack last, and how much of it was of use."""

    begin: int
    content: bytes
    used: int = 0

    def holds(self, begin: int, end: int) -> bool:
        return self.begin <= begin and end <= self.begin + len(self.content)


class Windows:
    """One of each pack. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Window] = OrderedDict()
        self._bytes = 0

    def load(self, store: Store, where: Where) -> tuple[bytes | memoryview, bool]:
        """A sealed blob, and whether it was read before; raises as :meth:`Store.load`."""
        pack, blob = where
        begin, end = blob.offset, blob.offset + blob.length
        with self._lock:
            window = self._kept.get(pack)
            if window is not None:
                self._kept.move_to_end(pack)
                if window.holds(begin, end):
                    window.used += blob.length
                    return memoryview(window.content)[begin - window.begin : end - window.begin], True
        size, forwards = FIRST_BYTES, True
        if window is not None:
            size, forwards = max(size, min(GROWTH * window.used, MOST_BYTES)), begin >= window.begin
        first = begin - size // BEHIND if forwards else end - size + size // BEHIND
        first = min(begin, max(0, first))
        content = store.load(Kind.DATA, pack.hex(), first, max(end - first, size))
        if len(content) <= MOST_BYTES + blob.length:
            self._keep(pack, Window(first, content, blob.length))
        return memoryview(content)[begin - first : end - first], False

    def forget(self, pack: bytes) -> None:
        """What was read of it is not as it should be, or no longer."""
        with self._lock:
            self._drop(pack)

    def _keep(self, pack: bytes, window: Window) -> None:
        with self._lock:
            self._drop(pack)
            self._kept[pack] = window
            self._bytes += len(window.content)
            while self._bytes > KEPT_BYTES:
                self._drop(next(iter(self._kept)))

    def _drop(self, pack: bytes) -> None:
        if (window := self._kept.pop(pack, None)) is not None:
            self._bytes -= len(window.content)
