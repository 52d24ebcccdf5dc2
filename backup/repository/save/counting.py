"""How much a backup will go through, counted beside it for whoever waits for its end."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress

from backup.repository.save.excluding import Exclusions, LeftOut
from backup.repository.save.looking import Looking, joined, looking_at
from backup.repository.save.walk import Way, absolute, ways


class Counting:
    """A walk of its own, in a thread. Nothing hangs on it: what it cannot look at it passes over, and files that come
    or go meanwhile are counted or not."""

    def __init__(self, asked: Iterable[str], exclusions: Exclusions) -> None:
        self.bytes = 0  # in all; 0 until that is known
        self._over = False
        paths = tuple(asked)
        walk = (looking_at(paths, exclusions), ways(map(absolute, paths)))
        self._thread = threading.Thread(target=self._count, args=walk, name="backup count", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over = True
        self._thread.join()

    def _count(self, looking: Looking, way: Way) -> None:
        left, size = [(b"/", way)], 0
        while left and not self._over:
            for path, below, bytes_ in _within(looking, *left.pop()):
                if bytes_ is None:
                    left.append((path, below))
                else:
                    size += bytes_
        if not left:
            self.bytes = size


def _within(looking: Looking, folder: bytes, way: Way) -> Iterator[tuple[bytes, Way, int | None]]:
    """What is in a folder: a file with its size, a folder with none."""
    with suppress(OSError):
        for name, below, _ in looking.entries(folder, way):
            path = joined(folder, name)
            with suppress(OSError, LeftOut):
                found = looking.stat(path, below)
                if looking.excluding is not None:
                    looking.node(path, below, found)
                if stat.S_ISDIR(found.st_mode):
                    yield path, below, None
                elif stat.S_ISREG(found.st_mode):
                    yield path, below, found.st_size
