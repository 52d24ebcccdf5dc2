"""What lies in folders, as the file system says: asked when it is needed, or told by a scout that went ahead."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backup.repository.format.trees import DIR, FILE, Node, head_text
from backup.repository.save.excluding import NOTHING, Excluding, Exclusions, LeftOut
from backup.repository.save.scan import Losses, Owners, node_of
from backup.repository.save.walk import Way, absolute

AHEAD_MAX = 50_000  # entries, of about half a kilobyte each
FOLDER_MAX = 10_000  # entries of a folder that is told; a larger one, and what is below, is left to whoever asks for it
LOOK_SECONDS = 0.005  # so often it is asked whether the time for looking ahead is over
WHOLE = Way(whole=True)

Seen = tuple[int, str]  # of a file: its size, and its text up to the content
Entry = tuple[bytes, Way, Seen | None]
Told = tuple[bytes, int, list[tuple[bytes, int | None, str]] | None]
"""A folder, how many of its entries are excluded, and the others: name, size, text; None: it has to be looked at."""


class Ahead(Protocol):
    """Whoever went ahead, in the order in which folders are asked for. ``over``: nothing more is told."""

    over: bool

    def next(self, wait_seconds: float | None = None) -> Told | None:
        """None where nothing is told within that time, or it is over."""
        ...

    def close(self) -> None: ...


@dataclass
class Looking:
    """For one thread at a time. ``excluded`` counts what ``excluding`` left out, a folder as one."""

    losses: Losses
    owners: Owners = field(default_factory=Owners)
    excluding: Excluding | None = None
    excluded: int = 0
    seen_ahead: int = 0  # so many entries
    since: datetime | None = None  # of what was told ahead
    ahead: Ahead | None = None
    _told: dict[bytes, Told] = field(default_factory=dict)

    def entries(self, path: bytes, way: Way) -> Iterator[Entry]:
        """A folder's, ascending by their names; those that were looked at already with what was seen. Without those
        that are excluded by their path.

        Raises ``OSError`` where it cannot be listed."""
        told = self._told_of(path)
        if told is None or told[2] is None or not way.whole:  # on the way lies what was asked for, whenever it came
            listed, excluded = self._listed(path, way)
            self.excluded += excluded
            return iter(listed)
        self.excluded += told[1]
        return iter([(name, WHOLE, None if size is None else (size, head)) for name, size, head in told[2]])

    def hear(self, over: Callable[[], bool]) -> None:
        """Hear what whoever went ahead tells, until it is ``over``."""
        while self.ahead is not None and self.seen_ahead < AHEAD_MAX and not over():
            if (told := self.ahead.next(LOOK_SECONDS)) is not None:
                self._keep(told)
            elif self.ahead.over:
                self.stop()

    def stop(self) -> None:
        """Nobody goes ahead any more. What was told holds."""
        if self.ahead is not None:
            self.ahead.close()
            self.ahead = None

    def stat(self, path: bytes, way: Way) -> os.stat_result:
        """What the system says of one entry; raises ``OSError``. A link on the way is gone through, as it was asked."""
        return os.lstat(path) if way.whole else os.stat(path)

    def node(self, path: bytes, way: Way, found: os.stat_result, losses: Losses | None = None) -> Node:
        """The rest of it; raises ``OSError``, and :class:`LeftOut` where it is excluded by what it is."""
        node = node_of(path.rpartition(b"/")[2], path, found, self.owners, self.losses if losses is None else losses)
        if self.excluding is not None and way.whole and self.excluding.by_kind(path, node):
            raise LeftOut
        return node

    def tour(self, way: Way) -> Iterator[Told]:
        """Every folder, in the order in which it will be asked for; ``losses`` hears of none that is to be told."""
        left: list[tuple[bytes, Way]] = [(b"/", way)]
        while left:
            path, way = left.pop()
            self.losses = Losses()
            found: list[tuple[bytes, int | None, str]] = []
            folders: list[tuple[bytes, Way]] = []
            try:
                listed, excluded = self._listed(path, way)
                if len(listed) > FOLDER_MAX:
                    yield path, 0, None
                    continue
                for name, below, _ in listed:
                    inner = joined(path, name)
                    try:
                        node = self.node(inner, below, self.stat(inner, below))
                    except LeftOut:
                        excluded += 1
                        continue
                    is_file = node.type == FILE
                    found.append((name, node.size if is_file else None, head_text(node) if is_file else ""))
                    if node.type == DIR:
                        folders.append((inner, below))
            except OSError as error:
                self.losses.note("folder", path, str(error))
            left += reversed(folders)
            yield (path, 0, None) if self.losses else (path, excluded, found)

    def forget(self) -> None:
        """What was told ahead; it is looked at again."""
        self.stop()
        self._told.clear()
        self.excluded = self.seen_ahead = 0
        self.since = None

    def _told_of(self, path: bytes) -> Told | None:
        """What was told of a folder, or is told now. Folders are told of in the order in which they are asked for: when
        one that comes later is told of, this one never will be."""
        known = self._told.pop(path, None)
        wanted = path.split(b"/")
        latest = next(reversed(self._told), b"")
        while known is None and self.ahead is not None and latest.split(b"/") <= wanted:
            told = self.ahead.next()
            if told is None:
                self.stop()
            elif told[0] == path:
                known = told
            else:
                latest = told[0]
                if latest.split(b"/") > wanted:  # else it is of a folder that nobody asked for
                    self._keep(told)
        return known

    def _keep(self, told: Told) -> None:
        self._told[told[0]] = told
        self.seen_ahead += len(told[2] or ())

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


def looking_at(paths: Iterable[str], exclusions: Exclusions) -> Looking:
    if exclusions == NOTHING:
        return Looking(Losses())
    return Looking(Losses(), excluding=Excluding(exclusions, map(absolute, paths)))
