"""Following log files: through rotation and truncation, from where the last run stopped, in bounded memory.

A position names the files of one path that are still being read, the oldest first, by inode and by the hash of their
first bytes (an inode is used again). Lines are given out whole, and a position covers exactly what was given out: who
writes down positions together with what came of the lines counts each line once, also through a crash.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

CHUNK_BYTES = 128 * 1024
LINE_BYTES_MAX = 64 * 1024  # what is longer is no log line: it is skipped, and counted
SKIPS_MAX = 64  # chunks of such a line that one turn passes over
HEAD_BYTES = 256  # of a file, by which it is known again
ROTATED_SECONDS = 5.0  # a rotated file is read on for so long: its writer may not have noticed yet
FILES_PER_PATH_MAX = 4  # rotated files that are still read


@dataclass
class Counts:
    """What happened besides lines: truncations, lines longer than allowed, rotated files that were gone."""

    truncated: int = 0
    overlong: int = 0
    gone: int = 0


@dataclass
class _File:
    """One open file of the path. ``head`` is the hash of its first ``head_bytes``."""

    handle: BinaryIO
    inode: int
    offset: int
    head_bytes: int = 0
    head: str = ""
    skipping: bool = False  # within a line that is too long
    rotated_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        known = {"inode": self.inode, "offset": self.offset, "head_bytes": self.head_bytes, "head": self.head}
        return {**known, "skipping": self.skipping}


@dataclass
class Tail:
    """One path. ``position``: what :meth:`position` gave; none for a path that was never read (from its beginning)."""

    path: Path
    known: Sequence[Mapping[str, Any]] = ()
    counts: Counts = field(default_factory=Counts)
    behind: bool = False  # there was more to read than was read
    _files: list[_File] = field(default_factory=list)
    _resumed: bool = False

    def lines(self, now: float, budget_bytes: int = CHUNK_BYTES) -> list[bytes]:
        """The next whole lines without their ends, oldest first, of at most so many bytes; empty where there is none
        yet."""
        if not self._resumed:
            self._resumed = True
            self._resume()
        self._look(now)
        found: list[bytes] = []
        self.behind = False
        for file in tuple(self._files):
            left = budget_bytes - sum(map(len, found))
            if left <= 0:
                self.behind = True
                break
            new, at_end = self._read(file, left)
            for _ in range(SKIPS_MAX):
                if new or at_end:
                    break
                new, at_end = self._read(file, left)  # within a line that is too long
            found += new
            if not at_end:
                self.behind = True
                break  # what is newer waits until the older is read
            if file.rotated_at is not None and now - file.rotated_at >= ROTATED_SECONDS:
                found += self._last(file)
                self._drop(file)
        return found

    def position(self) -> list[dict[str, Any]]:
        """Where the next line begins, to be kept and given again."""
        if not self._resumed:
            return [dict(each) for each in self.known]
        return [file.to_json() for file in self._files]

    def close(self) -> None:
        for file in self._files:
            file.handle.close()
        self._files.clear()

    # --- which files ---------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Open again what was being read: by its inode, under whatever name it has now."""
        for told in self.known:
            found = self._find(told)
            if found is None:
                self.counts.gone += 1
            else:
                self._files.append(found)

    def _find(self, told: Mapping[str, Any]) -> _File | None:
        for path in sorted(self.path.parent.glob(f"{self.path.name}*")):
            try:
                handle = path.open("rb")
            except OSError:
                continue
            if os.fstat(handle.fileno()).st_ino == told["inode"] and _head(handle, told["head_bytes"]) == told["head"]:
                known = {key: told[key] for key in ("inode", "offset", "head_bytes", "head", "skipping")}
                return _File(handle, **known)
            handle.close()
        return None

    def _look(self, now: float) -> None:
        """Notice that the path leads to another file by now."""
        try:
            inode = self.path.stat().st_ino
        except OSError:
            inode = 0  # moved away, and nothing new yet; or not there at all
        if self._files and self._files[-1].inode != inode and self._files[-1].rotated_at is None:
            self._files[-1].rotated_at = now
        if inode and (not self._files or self._files[-1].inode != inode):
            try:
                handle = self.path.open("rb")
            except OSError:
                return
            self._files.append(_File(handle, os.fstat(handle.fileno()).st_ino, 0))
            for old in self._files[:-FILES_PER_PATH_MAX]:
                self.counts.gone += 1
                self._drop(old)

    def _drop(self, file: _File) -> None:
        file.handle.close()
        self._files.remove(file)

    # --- reading -------------------------------------------------------------------------------------------------

    def _read(self, file: _File, budget_bytes: int) -> tuple[list[bytes], bool]:
        """Whole lines, and whether all that is there was read."""
        size = os.fstat(file.handle.fileno()).st_size
        if size < file.offset or not self._ends_a_line(file):
            self.counts.truncated += 1  # as copytruncate does: what is there now is new
            file.offset, file.head_bytes, file.head, file.skipping = 0, 0, "", False
        if size == file.offset:
            return [], True
        file.handle.seek(file.offset)
        chunk = file.handle.read(min(max(budget_bytes, LINE_BYTES_MAX + 1), CHUNK_BYTES))
        at_end = file.offset + len(chunk) >= size
        end = chunk.rfind(b"\n") + 1
        if not end:
            skipped = self._skip(file, chunk)
            return [], at_end and not skipped
        lines = chunk[: end - 1].split(b"\n")
        if file.skipping:
            file.skipping = False
            lines = lines[1:]
        kept = [line for line in lines if len(line) <= LINE_BYTES_MAX]
        self.counts.overlong += len(lines) - len(kept)
        file.offset += end
        self._mark(file)
        return kept, at_end

    @staticmethod
    def _ends_a_line(file: _File) -> bool:
        """Whether the byte before our place is what we left there: if not, the file was written anew."""
        if not file.offset or file.skipping:
            return True
        file.handle.seek(file.offset - 1)
        return file.handle.read(1) == b"\n"

    def _skip(self, file: _File, chunk: bytes) -> bool:
        """Pass over a piece of a line that is too long; whether there was one."""
        if len(chunk) <= LINE_BYTES_MAX and not file.skipping:
            return False  # a line that is still being written
        if not file.skipping:
            self.counts.overlong += 1
        file.skipping = True
        file.offset += len(chunk)
        self._mark(file)
        return True

    @staticmethod
    def _last(file: _File) -> list[bytes]:
        """The unfinished last line of a file that nobody writes any more."""
        file.handle.seek(file.offset)
        rest = file.handle.read(LINE_BYTES_MAX + 1)
        return [] if not rest or file.skipping or len(rest) > LINE_BYTES_MAX else [rest.rstrip(b"\n")]

    @staticmethod
    def _mark(file: _File) -> None:
        if file.head_bytes < HEAD_BYTES:
            file.head_bytes = min(file.offset, HEAD_BYTES)
            file.head = _head(file.handle, file.head_bytes)


def _head(handle: BinaryIO, head_bytes: int) -> str:
    if not head_bytes:
        return ""
    handle.seek(0)
    return hashlib.sha256(handle.read(head_bytes)).hexdigest()
