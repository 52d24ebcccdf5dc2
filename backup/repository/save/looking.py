"""What lies in folders, as the file system says: asked when it is needed, or ahead, while a key is being derived."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from backup.repository.format.trees import DIR, Node, head_text
from backup.repository.save.scan import Losses, Owners, node_of
from backup.repository.save.walk import Way

AHEAD_MAX = 50_000  # entries, of about a kilobyte each
WHOLE = Way(whole=True)

Seen = tuple[Node, str]  # and its text, up to the content
Entry = tuple[bytes, Way, Seen | None]


@dataclass
class Looking:
    """For one thread at a time."""

    losses: Losses
    owners: Owners = field(default_factory=Owners)
    seen_ahead: int = 0  # so many entries
    _ahead: dict[bytes, list[Entry]] = field(default_factory=dict)

    def entries(self, path: bytes, way: Way) -> Iterator[Entry]:
        """A folder's, ascending by their names; those that were looked at already with what was seen.

        Raises ``OSError`` where it cannot be listed."""
        known = self._ahead.pop(path, None)
        return iter(_listed(path, way) if known is None else known)

    def stat(self, path: bytes, way: Way) -> os.stat_result:
        """What the system says of one entry; raises ``OSError``. A link on the way is gone through, as it was asked."""
        return os.lstat(path) if way.whole else os.stat(path)

    def seen(self, path: bytes, found: os.stat_result, losses: Losses | None = None) -> Seen:
        """The rest of it; raises ``OSError``."""
        node = node_of(path.rpartition(b"/")[2], path, found, self.owners, self.losses if losses is None else losses)
        return node, head_text(node)

    def look(self, path: bytes, way: Way, losses: Losses | None = None) -> Seen:
        return self.seen(path, self.stat(path, way), losses)

    def ahead(self, way: Way, over: Callable[[], bool]) -> None:
        """Look at folders in the order in which they will be asked for, until it is ``over``. A folder in which
        anything is amiss is left for then: it is told once."""
        room = AHEAD_MAX
        left: list[tuple[bytes, Way]] = [(b"/", way)]
        while left and not over():
            path, way = left.pop()
            amiss = Losses()
            try:
                listed = _listed(path, way)
                room -= len(listed)
                if room < 0:
                    return
                found = [(name, below, self.look(joined(path, name), below, amiss)) for name, below, _ in listed]
            except OSError:
                continue
            if not amiss:
                self._ahead[path] = list(found)
                self.seen_ahead += len(found)
            left += [(joined(path, name), below) for name, below, seen in reversed(found) if seen[0].type == DIR]


def joined(path: bytes, name: bytes) -> bytes:
    return path + name if path == b"/" else path + b"/" + name


def _listed(path: bytes, way: Way) -> list[Entry]:
    if way.whole:
        return [(name, WHOLE, None) for name in sorted(os.listdir(path))]
    return [(name, way.parts[name], None) for name in sorted(way.parts)]
