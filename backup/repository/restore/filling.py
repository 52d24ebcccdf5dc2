"""What is on its way into files: each one's pieces, where they go, and batches of them that one turn writes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from backup.repository.format.index import Where
from backup.repository.format.trees import Node
from backup.repository.repository import Repository
from backup.repository.restore.placing import Place
from ncia.core.base.ids import SHORT

BATCH_BYTES = 8 << 20
BATCH_FILES = 200
BATCH_FOLDERS = 64  # each is held open


@dataclass
class Target:
    """One file on its way. ``left`` counts its parts that are not written yet."""

    place: Place
    node: Node
    made: bool = False  # there already: it has more parts or more names than one, or was met
    met: bool = False  # it was there before
    same: bool = False  # its content is taken for the same
    lacking: bool = False  # some of its content is lost
    left: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def part_done(self) -> bool:
        """One part more; true for the last one."""
        with self.lock:
            self.left -= 1
            return not self.left

    @property
    def path(self) -> bytes:
        return self.place.within(self.node.name)


class Piece(NamedTuple):
    """A blob, and where its plain bytes go."""

    target: Target
    at: int
    where: Where


@dataclass
class Batch:
    """Parts of files that are read and written by one turn of a worker."""

    parts: list[tuple[Target, list[Piece]]] = field(default_factory=list)
    size: int = 0
    folders: set[int] = field(default_factory=set)

    @property
    def full(self) -> bool:
        return self.size >= BATCH_BYTES or len(self.parts) >= BATCH_FILES or len(self.folders) >= BATCH_FOLDERS


def pieces_of(target: Target, repository: Repository) -> tuple[list[Piece], list[str]]:
    """A file's pieces, and what is amiss with them, a sentence each. Of what no index tells not even the length is
    known: what comes before the first of it has its place by its beginning, what comes after the last by the end."""
    content = target.node.content or ()
    places = [repository.where(id_, tree=False) for id_ in content]
    pieces: list[Piece] = []
    at = 0
    for where in _known(places):
        pieces.append(Piece(target, at, where))
        at += where.blob.plain_bytes
    if len(pieces) == len(places):
        fits = at == target.node.size
        return pieces, [] if fits else [f"it has {at} bytes and its node says {target.node.size}"]
    target.lacking = True
    after: list[Piece] = []
    end = target.node.size
    for where in _known(reversed(places)):
        end -= where.blob.plain_bytes
        after.append(Piece(target, end, where))
    unknown = [id_.hex()[:SHORT] for id_, where in zip(content, places, strict=True) if where is None]
    why = f"no index tells where blob {unknown[0]} is"
    if len(unknown) > 1:
        why += f", nor {len(unknown) - 1} others"
    return pieces + (after[::-1] if end >= at else []), [why]


def _known(places: Iterable[Where | None]) -> Iterator[Where]:
    """Those before the first that is not."""
    for where in places:
        if where is None:
            return
        yield where


def parts_of(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """A file's pieces in parts of bounded size."""
    part: list[Piece] = []
    size = 0
    for piece in pieces:
        if part and size >= BATCH_BYTES:
            yield part
            part, size = [], 0
        part.append(piece)
        size += piece.where.blob.plain_bytes
    if part:
        yield part
