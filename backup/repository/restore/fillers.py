"""The fillers of one restore: begun once there is enough to do, each asked by one worker at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from backup.repository.format.index import runs_needed
from backup.repository.format.packs import Blob, span_of
from backup.repository.format.seal import Key
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.process import Crew
from backup.repository.repository import Repository
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.filler import (
    FOLDERS_MAX,
    PACKER,
    SLAB_BYTES,
    Answer,
    Filler,
    NewFile,
    Question,
    SealedPiece,
)
from backup.repository.restore.filling import Piece, Target
from ncia.core.base.errors import Unreachable

HELPED_FROM_FILES = 1500  # to begin fillers takes as long as to make so many here
HELPED_FROM_BYTES = 256 << 20


class Laid(NamedTuple):
    """A part of a pack that was loaded, and the blobs in it."""

    run: Sequence[Blob]
    content: bytes


class Fillers:
    """:meth:`fill` is for several threads."""

    def __init__(
        self,
        repository: Repository,
        files: int = HELPED_FROM_FILES,
        size: int = HELPED_FROM_BYTES,
        begin: Callable[[Key], Filler] = Filler,
    ) -> None:
        """They are begun, as many as there are processors, once there are so many files, or so many bytes."""
        self._repository = repository
        self._from = (files, size)
        self._free = threading.BoundedSemaphore(os.cpu_count() or 1)
        self.crew = Crew(lambda: begin(repository.key))
        self._files = self._bytes = 0

    def expect(self, files: int, size: int) -> None:
        """So much more is to be written."""
        self._files += files
        self._bytes += size

    def fill(self, parts: Sequence[tuple[Target, list[Piece]]], overwrite: Overwrite | None) -> Answer | None:
        """Let a filler make these new files, each of which is one part; None where it is for the worker to do: there
        is little of it, or something in the store that is better told of by name."""
        if not parts or self.crew.over or (self._files < self._from[0] and self._bytes < self._from[1]):
            return None
        laid = self._loaded(piece for _, pieces in parts for piece in pieces)
        if laid is None:
            return None
        with self._free, self.crew.member() as filler:
            return None if filler is None else _filled(filler, parts, laid, overwrite)

    def _loaded(self, pieces: Iterable[Piece]) -> list[Laid] | None:
        """What the pieces need; None where some of it cannot be had, or is more than a filler takes."""
        runs = runs_needed(piece.where for piece in pieces)
        spans = [span_of(run) for _, run in runs]
        if sum(length for _, length in spans) > SLAB_BYTES:
            return None
        laid: list[Laid] = []
        for (pack, run), (begin, length) in zip(runs, spans, strict=True):
            try:
                content = self._repository.store.load(Kind.DATA, pack.hex(), begin, length)
            except (Missing, StoreFault) as error:
                if isinstance(error, Unreachable):
                    raise
                return None
            if len(content) != length:
                return None
            laid.append(Laid(run, content))
        return laid


def _filled(
    filler: Filler, parts: Sequence[tuple[Target, list[Piece]]], laid: Sequence[Laid], overwrite: Overwrite | None
) -> Answer | None:
    folders: dict[int, int] = {}  # an open one -> which it is in the question
    paths: list[bytes] = []
    for target, _ in parts:
        if target.place.descriptor not in folders:
            folders[target.place.descriptor] = len(paths)
            paths.append(target.place.path)
    if len(folders) > FOLDERS_MAX:
        return None
    at: dict[bytes, int] = {}  # where in the slab a blob lies
    used = 0
    for run, content in laid:
        filler.slab[used : used + len(content)] = content
        for blob in run:
            at[blob.id] = used + blob.offset - run[0].offset
        used += len(content)
    files = [
        NewFile(
            folders[target.place.descriptor],
            target.node,
            target.lacking,
            [SealedPiece(at[piece.where.blob.id], piece.where.blob, piece.at) for piece in pieces],
        )
        for target, pieces in parts
    ]
    try:
        question = PACKER.encode(Question(paths, files, overwrite))
    except OverflowError:  # a time that no 64 bits hold
        return None
    return filler.fill(question, list(folders))
