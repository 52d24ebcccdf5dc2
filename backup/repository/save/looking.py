"""What lies in folders, as the file system says: asked when it is needed, or ahead, while a key is being derived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from backup.repository.format.trees import DIR, Node, head_text
from backup.repository.save.excluding import Excluding, LeftOut
from backup.repository.save.scan import Losses, Owners, node_of
from backup.repository.save.walk import Way

AHEAD_MAX = 50_000  # entries, of about a kilobyte each
WHOLE = Way(whole=True)

Seen = tuple[Node, str]  # and its text, up to the content
Entry = tuple[bytes, Way, Seen | None]


@dataclass
class Looking:
    """For one thread at a time. ``excluded`` counts what ``excluding`` left out, a folder as one."""

    losses: Losses
    owners: Owners = field(default_factory=Owners)
    excluding: Excluding | None = None
    excluded: int = 0
    seen_ahead: int = 0  # so many entries
    _ahead: dict[bytes, list[Entry]] = field(default_factory=dict)

    def entries(self, path: bytes, way: Way) -> Iterator[Entry]:
        """A folder's, ascending by their names; those that were looked at already with what was seen. Without those
        that are excluded by their path.

        Raises ``OSError`` where it cannot be listed."""
        known = self._ahead.pop(path, None)
        if known is None:
            known, excluded = self._listed(path, way)
            self.excluded += excluded
        return iter(known)

    def stat(self, path: bytes, way: Way) -> os.stat_result:
        """What the system says of one entry; raises ``OSError``. A link on the way is gone through, as it was asked."""
        return os.lstat(path) if way.whole else os.stat(path)

    def seen(self, path: bytes, way: Way, found: os.stat_result, losses: Losses | None = None) -> Seen:
        """The rest of it; raises ``OSError``, and :class:`LeftOut` where it is excluded by what it is."""
        node = node_of(path.rpartition(b"/")[2], path, found, self.owners, self.losses if losses is None else losses)
        if self.excluding is not None and way.whole and self.excluding.by_kind(path, node):
            raise LeftOut
        return node, head_text(node)

    def look(self, path: bytes, way: Way, losses: Losses | None = None) -> Seen:
        return self.seen(path, way, self.stat(path, way), losses)

    def ahead(self, way: Way, over: Callable[[], bool]) -> None:
        """Look at folders in the order in which they will be asked for, until it is ``over``. A folder in which
        anything is amiss is left for then: it is told once."""
        room = AHEAD_MAX
        left: list[tuple[bytes, Way]] = [(b"/", way)]
        while left and not over():
            path, way = left.pop()
            amiss = Losses()
            try:
                listed, excluded = self._listed(path, way)
                room -= len(listed)
                if room < 0:
                    return
                found = []
                for name, below, _ in listed:
                    with suppress(LeftOut):
                        found.append((name, below, self.look(joined(path, name), below, amiss)))
            except OSError:
                continue
            if not amiss:
                self._ahead[path] = list(found)
                self.seen_ahead += len(found)
                self.excluded += excluded + len(listed) - len(found)
            left += [(joined(path, name), below) for name, below, seen in reversed(found) if seen[0].type == DIR]

    def forget(self) -> None:
        """What was looked at ahead; it is looked at again."""
        self._ahead.clear()
        self.excluded = self.seen_ahead = 0

    def _listed(self, path: bytes, way: Way) -> tuple[list[Entry], int]:
        """What is in a folder, and how many entries of it are excluded by their path."""
        listed = _listed(path, way)
        if self.excluding is None:
            return listed, 0
        by_path = self.excluding.by_path
        left = [each for each in listed if not (each[1].whole and by_path(joined(path, each[0])))]
        return left, len(listed) - len(left)


def joined(path: bytes, name: bytes) -> bytes:
    return path + name if path == b"/" else path + b"/" + name


def _listed(path: bytes, way: Way) -> list[Entry]:
    if way.whole:
        return [(name, WHOLE, None) for name in sorted(os.listdir(path))]
    return [(name, way.parts[name], None) for name in sorted(way.parts)]
