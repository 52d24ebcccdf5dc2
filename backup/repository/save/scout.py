"""A process that looks at folders before the backup asks for them: ``python -m backup.repository.save.scout``.

To look at 40,000 files takes an interpreter half a second. Meanwhile another one derives the key and compares what was
seen with the parent snapshot. Question, on the standard input: the paths and exclusions, as JSON. Answer: folder after
folder, each a length and a marshalled ``path, excluded, entries``; no entries of one in which anything was amiss, for
whoever asks for it tells that. An entry is ``name, size, text up to the content``; no size of what is no file.
"""

from __future__ import annotations

import json
import marshal
import os
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from io import BufferedReader, RawIOBase
from typing import Any, NamedTuple

from backup.repository.save.excluding import Exclusions
from backup.repository.save.looking import Looking, Told, looking_at
from backup.repository.save.walk import absolute, ways

LENGTH = struct.Struct("<I")
PIECE_BYTES = 1 << 18
TOLD_MAX = 2000  # folders that are told of and not asked for
CLOSE_SECONDS = 0.01


class Question(NamedTuple):
    paths: tuple[str, ...]
    exclusions: Exclusions

    def as_json(self) -> bytes:
        return json.dumps({"paths": self.paths, "exclusions": asdict(self.exclusions)}).encode()

    @classmethod
    def of_json(cls, text: bytes) -> Question:
        told = json.loads(text)
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told["exclusions"].items()
        }
        return cls(tuple(told["paths"]), Exclusions(**fields))


class Scout:
    """One such process. What it does not tell, because it ended or was ended, whoever asks looks at himself."""

    def __init__(self, asked: Iterable[str], exclusions: Exclusions) -> None:
        there = [os.fsdecode(path) for path in map(absolute, asked) if os.path.lexists(path)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "backup.repository.save.scout"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)},
            process_group=0,  # whoever interrupts us means us: a scout ends by itself
            bufsize=0,
        )
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(Question(tuple(there), exclusions).as_json())
                self._process.stdin.close()
        self._told: queue.Queue[bytes] = queue.Queue(TOLD_MAX)  # nothing: it has told all
        self.over = False
        self._closed = threading.Event()
        self._hearing = threading.Thread(target=self._hear, name="scout", daemon=True)
        self._hearing.start()

    def next(self, wait_seconds: float | None = None) -> Told | None:
        """As :class:`~backup.repository.save.looking.Ahead` says."""
        if self.over:
            return None
        try:
            content = self._told.get(timeout=wait_seconds)
        except queue.Empty:
            return None
        if not content:
            self.over = True
            return None
        told: Told = marshal.loads(content)  # noqa: S302 - of a process of our own
        return told

    def close(self) -> None:
        self.over = True
        self._closed.set()
        self._process.kill()
        while self._hearing.is_alive():
            with suppress(queue.Empty):  # it may wait for room
                self._told.get_nowait()
            self._hearing.join(CLOSE_SECONDS)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _hear(self) -> None:
        """Of its own thread: a pipe that nobody empties would hold the scout up while an index is read."""
        pipe = self._process.stdout
        reader = BufferedReader(pipe, PIECE_BYTES) if isinstance(pipe, RawIOBase) else None
        while reader is not None and not self._closed.is_set():
            header = reader.read(LENGTH.size)
            length = LENGTH.unpack(header)[0] if len(header) == LENGTH.size else 0
            content = reader.read(length)
            if not content or len(content) < length:
                break
            self._told.put(content)
        if not self._closed.is_set():
            self._told.put(b"")


def main() -> None:
    """Tell of every folder, until nobody hears it any more."""
    question = Question.of_json(sys.stdin.buffer.read())
    looking: Looking = looking_at(question.paths, question.exclusions)
    paths = [os.fsencode(path) for path in question.paths]
    with suppress(BrokenPipeError):
        for told in looking.tour(ways(paths)):
            content = marshal.dumps(told)
            sys.stdout.buffer.write(LENGTH.pack(len(content)) + content)
        sys.stdout.buffer.flush()
    os._exit(0)  # a pipe that nobody reads is no error, and nothing else is left to be done


if __name__ == "__main__":
    main()
