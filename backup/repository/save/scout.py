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
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from typing import Any, NamedTuple

from backup.repository.process import begun
from backup.repository.save.excluding import Exclusions
from backup.repository.save.looking import Looking, Told, looking_at
from backup.repository.save.walk import absolute, ways

LENGTH = struct.Struct("<I")
TOLD_BYTES_MAX = 32 << 20  # of what is told and not asked for yet


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


def sent(asked: Iterable[str], exclusions: Exclusions) -> Scout | None:
    """A scout, or nobody where no process can be begun: it saves time, and nothing hangs on it."""
    try:
        return Scout(asked, exclusions)
    except OSError:
        return None


class Scout:
    """One such process. What it does not tell, because it ended or was ended, whoever asks looks at himself."""

    def __init__(self, asked: Iterable[str], exclusions: Exclusions, told_bytes_max: int = TOLD_BYTES_MAX) -> None:
        there = [os.fsdecode(path) for path in map(absolute, asked) if os.path.lexists(path)]
        self._process = begun("backup.repository.save.scout", errors=subprocess.DEVNULL)
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.write(Question(tuple(there), exclusions).as_json())
                self._process.stdin.close()
        self._told: deque[bytes] = deque()  # nothing: it has told all
        self._bytes, self._told_bytes_max = 0, told_bytes_max
        self._change = threading.Condition()
        self.over = False
        self._hearing = threading.Thread(target=self._hear, name="scout", daemon=True)
        self._hearing.start()

    def next(self, wait_seconds: float | None = None) -> Told | None:
        """As :class:`~backup.repository.save.looking.Ahead` says."""
        with self._change:
            if self.over or not self._change.wait_for(lambda: self._told, wait_seconds):
                return None
            content = self._told.popleft()
            self._bytes -= len(content)
            self.over = not content
            self._change.notify()
        if not content:
            return None
        told: Told = marshal.loads(content)  # noqa: S302 - of a process of our own
        return told

    def close(self) -> None:
        with self._change:
            self.over = True
            self._change.notify()
        self._process.kill()
        self._hearing.join()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _hear(self) -> None:
        """Of its own thread: a pipe that nobody empties would hold the scout up while an index is read."""
        content = b"first"
        while content and not self.over:
            content = self._heard()
            with self._change:
                self._change.wait_for(lambda: self._bytes < self._told_bytes_max or self.over)
                self._told.append(content)
                self._bytes += len(content)
                self._change.notify()

    def _heard(self) -> bytes:
        pipe = self._process.stdout
        header = pipe.read(LENGTH.size) if pipe is not None else b""
        if pipe is None or len(header) < LENGTH.size:
            return b""
        (length,) = LENGTH.unpack(header)
        content = pipe.read(length)
        return content if len(content) == length else b""


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
