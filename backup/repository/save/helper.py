"""A process that reads small files and seals them: ``python -m backup.repository.save.helper SLAB COMPRESSION``.

Per file this takes some hundred steps of Python, and one interpreter does one step at a time: two helpers do two. A
helper holds the key, which it gets on its standard input, and asks no store. It answers on its standard output, and
lays the sealed blobs into a slab of memory that both share. It ends when its standard input does.

A question: ``count, length`` and that many bytes of paths, each ended by the next one's NUL. The answer: the length of
the texts; for each file what became of it, the id, its plain length, whether that is compressed, and how long its blob
in the slab is; then the files' nodes as text, a line each.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from backup.repository.faults import Damaged
from backup.repository.format.compression import Compression, Squeezer
from backup.repository.format.seal import KEY_BYTES, OVERHEAD_BYTES, Key, Sealer
from backup.repository.format.trees import HEAD_END, head_text
from backup.repository.process import HelperProcess
from backup.repository.save.scan import ONE_BLOB_MAX, Losses, Owners, node_of

QUESTION = struct.Struct("<II")
TEXTS = struct.Struct("<I")
ANSWER = struct.Struct("<B32sI?I")
SLAB_BYTES = 4 << 20
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
SEALED, OTHER, FAILED, CORRUPT = range(4)


class Sealed(NamedTuple):
    """What became of a file. ``state``: SEALED; OTHER, when it needs more than a helper can do; FAILED, then
    ``plain_bytes`` is the error's number; CORRUPT, when what was sealed did not open to the same. ``length`` is that of
    its blob."""

    state: int
    id: bytes = bytes(32)
    plain_bytes: int = 0
    compressed: bool = False
    length: int = 0


class Helper(HelperProcess):
    """One such process. Its slab holds the blobs of the last answer, one after the other, until the next question."""

    def __init__(self, key: Key, compression: Compression, verify: bool) -> None:
        super().__init__("backup.repository.save.helper", key, SLAB_BYTES, compression)
        self.tell(bytes([verify]))

    def seal(self, paths: Sequence[bytes]) -> tuple[list[Sealed], list[str]]:
        """What became of each file, in their order, and the node's text of each that is sealed."""
        told = b"\0".join(paths)
        self.tell(QUESTION.pack(len(paths), len(told)) + told)
        (length,) = TEXTS.unpack(self.heard(TEXTS.size))
        sealed = list(map(Sealed._make, ANSWER.iter_unpack(self.heard(len(paths) * ANSWER.size))))
        return sealed, self.heard(length).decode().split("\n")


def main(slab: mmap.mmap, compression: Compression) -> None:
    """Answer until nobody asks."""
    questions, answers = sys.stdin.buffer, sys.stdout.buffer
    key, verify = Key.of_bytes(questions.read(KEY_BYTES)), questions.read(1) == b"\x01"
    sealing = _Sealing(Sealer(key), Squeezer.new(compression), verify, memoryview(slab))
    while header := questions.read(QUESTION.size):
        _, length = QUESTION.unpack(header)
        answers.write(sealing.answer(questions.read(length)))
        answers.flush()


class _Sealing:
    def __init__(self, sealer: Sealer, squeezer: Squeezer, verify: bool, slab: memoryview) -> None:
        self._sealer = sealer
        self._squeezer = squeezer
        self._verify = verify
        self._slab = slab
        self._owners = Owners()
        self._losses = Losses()

    def answer(self, question: bytes) -> bytes:
        told, texts = bytearray(), []
        used = 0
        for path in question.split(b"\0"):
            text = ""
            try:
                read = self._read(path, len(self._slab) - used)
                if read is None:
                    told += ANSWER.pack(OTHER, bytes(32), 0, 0, 0)
                else:
                    head, content = read
                    answer, length, id_ = self._seal(content, used)
                    told += answer
                    used += length
                    text = f"{head}{HEAD_END}[{id_}]}}"
            except OSError as error:
                told += ANSWER.pack(FAILED, bytes(32), error.errno or 0, 0, 0)
            except Damaged:
                told += ANSWER.pack(CORRUPT, bytes(32), 0, 0, 0)
            texts.append(text)
        lines = "\n".join(texts).encode()
        return b"".join((TEXTS.pack(len(lines)), told, lines))

    def _read(self, path: bytes, room: int) -> tuple[str, bytes] | None:
        """A file's text up to its content, and that; None where it is not small, or moves, or is not kept whole."""
        descriptor = os.open(path, READ)
        try:
            found = os.fstat(descriptor)
            size = found.st_size
            if not stat.S_ISREG(found.st_mode) or size > min(ONE_BLOB_MAX, room - OVERHEAD_BYTES):
                return None
            content = os.read(descriptor, size + 1)
            node = node_of(path.rpartition(b"/")[2], path, found, self._owners, self._losses, descriptor)
            if len(content) == size and not self._losses:
                return head_text(node), content
            self._losses = Losses()
            return None
        finally:
            os.close(descriptor)

    def _seal(self, content: bytes, used: int) -> tuple[bytes, int, str]:
        if not content:
            return ANSWER.pack(SEALED, bytes(32), 0, 0, 0), 0, ""
        hashed = hashlib.sha256(content)
        id_ = hashed.digest()
        body = self._squeezer.squeeze(content)
        compressed = body is not content
        length = len(body) + OVERHEAD_BYTES
        room = self._slab[used : used + length]
        self._sealer.seal_into(body, room)
        if self._verify:
            what = "verify a blob before it is kept"
            opened = self._sealer.look(room, what)
            plain = self._squeezer.expand(opened, len(content), what) if compressed else opened
            if hashlib.sha256(plain).digest() != id_:
                raise Damaged(what, "it is not what was sealed")
        return ANSWER.pack(SEALED, id_, len(content), compressed, length), length, f'"{hashed.hexdigest()}"'


if __name__ == "__main__":
    with suppress(BrokenPipeError):  # nobody waits for the answer any more
        main(mmap.mmap(int(sys.argv[1]), SLAB_BYTES), Compression(sys.argv[2]))
    os._exit(0)  # it holds nothing that is to be closed, and somebody waits for its end
