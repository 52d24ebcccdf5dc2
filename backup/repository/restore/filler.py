"""A process that opens blobs and fills new files: ``python -m backup.repository.restore.filler SLAB SOCKET``.

Per file this takes some hundred steps of Python, and one interpreter does one step at a time: two fillers do two. A
filler holds the key, which it gets on its standard input, and asks no store: what is sealed lies in a slab of memory
that both share. It knows no path to the target either: it gets the folders as open ones, over a socket, and makes
files in them that were not there.

A question: its length, and as msgpack the folders' paths (to tell of) and the files. The answer likewise: how many
bytes were written, and what could not be kept.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from backup.repository.faults import Damaged
from backup.repository.format.compression import Squeezer
from backup.repository.format.packs import Blob, plain_of
from backup.repository.format.seal import KEY_BYTES, Key, Sealer
from backup.repository.format.trees import Node
from backup.repository.process import HelperProcess
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.placing import Place, Placing
from backup.repository.restore.writing import write_new
from backup.repository.save.scan import Losses

LENGTH = struct.Struct("<I")
READY = b"\n"
SLAB_BYTES = 24 << 20  # a batch, its last part, and what lies between
FOLDERS_MAX = 200  # open ones that go over a socket at once


class SealedPiece(NamedTuple):
    """A blob that goes into a file: where it lies in the slab, and where its plain bytes go."""

    begin: int
    blob: Blob
    at: int


class NewFile(NamedTuple):
    """A file. ``folder``: which of the question's; ``lacking``: some of its content is lost already."""

    folder: int
    node: Node
    lacking: bool
    pieces: list[SealedPiece]


class Question(NamedTuple):
    paths: list[bytes]
    files: list[NewFile]
    overwrite: Overwrite | None = None


class Answer(NamedTuple):
    written: int
    counts: dict[str, int]
    named: list[str]

    @property
    def losses(self) -> Losses:
        return Losses(Counter(self.counts), self.named)


PACKER = msgspec.msgpack.Encoder()
QUESTION = msgspec.msgpack.Decoder(Question)
ANSWER = msgspec.msgpack.Decoder(Answer)


class Filler(HelperProcess):
    """One such process."""

    def __init__(self, key: Key) -> None:
        self._folders, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            super().__init__("backup.repository.restore.filler", key, SLAB_BYTES, str(number), files=(number,))

    def demand_ready(self) -> None:
        self.heard(len(READY))

    def fill(self, question: bytes, folders: Sequence[int]) -> Answer:
        """``question``: a :class:`Question` as :data:`PACKER` packs it, whose folders are these open ones."""
        self.tell(LENGTH.pack(len(question)) + question)
        try:
            socket.send_fds(self._folders, [b"\0"], folders)
        except OSError as error:
            raise self.gone() from error
        (length,) = LENGTH.unpack(self.heard(LENGTH.size))
        return ANSWER.decode(self.heard(length))

    def close(self) -> None:
        self._folders.close()
        super().close()


def main(slab: mmap.mmap, folders: socket.socket) -> None:
    """Answer until nobody asks."""
    os.umask(0)  # each file is made with a mode of its own
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    filling = _Filling(Key.of_bytes(questions.read(KEY_BYTES)), memoryview(slab))
    answers.write(READY)
    answers.flush()
    while header := questions.read(LENGTH.size):
        question = QUESTION.decode(questions.read(*LENGTH.unpack(header)))
        asked, descriptors, _, _ = socket.recv_fds(folders, 1, FOLDERS_MAX)
        if not asked:
            return
        try:
            answer = PACKER.encode(filling.answer(question, descriptors))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()


class _Filling:
    def __init__(self, key: Key, slab: memoryview) -> None:
        self._sealer = Sealer(key)
        self._squeezer = Squeezer.new()
        self._slab = slab

    def answer(self, question: Question, descriptors: Sequence[int]) -> Answer:
        losses = Losses()
        placing = Placing(losses, question.overwrite)
        places = [Place(path, None, None, each) for path, each in zip(question.paths, descriptors, strict=True)]
        written = 0
        for folder, node, lacking, pieces in question.files:
            place = places[folder]
            written += write_new(placing, place, node, self._opened(placing, place, node, pieces), lacking)
        return Answer(written, losses.counts, losses.named)

    def _opened(
        self, placing: Placing, place: Place, node: Node, pieces: Sequence[SealedPiece]
    ) -> Iterator[tuple[int, bytes | memoryview | None]]:
        for begin, blob, at in pieces:
            plain: bytes | memoryview | None = None
            try:
                plain = plain_of(blob, self._slab[begin : begin + blob.length], self._sealer, self._squeezer)
            except Damaged as error:
                placing.note("content", place.within(node.name), f"{blob.plain_bytes} bytes: {error.why}")
            yield at, plain


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody waits for the answer any more
        main(mmap.mmap(int(sys.argv[1]), SLAB_BYTES), socket.socket(fileno=int(sys.argv[2])))
    os._exit(0)  # it holds nothing that is to be closed, and somebody waits for its end
