"""A point as its store hands it over, into a folder of this machine: judged by its list before a byte is written.

First comes a line for each entry, then what the files hold. So names and sizes are known, and refused or found too
large, before anything is made; and there is no word in it for a link, a device or a place outside.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from backup.agencies.manifest import shown
from backup.agencies.room import Room
from ncia.core.base.errors import NciaError, Refusal

LIST_BYTES_MAX = 64 << 20
ENTRIES_MAX = 1_000_000
NAME_BYTES_MAX, DEPTH_MAX = 255, 16
PIECE_BYTES = 1 << 20
LOOK_EVERY_BYTES = 64 << 20  # whether the disk still has its share
FILE_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Listed:
    name: str
    is_folder: bool
    size_bytes: int


def listed(text: bytes) -> tuple[Listed, ...]:
    """The entries of a list; raises ``ValueError`` with a clause that says which one may not be."""
    lines = text.split(b"\n")
    if len(lines) > ENTRIES_MAX:
        raise ValueError(f"it lists {len(lines)} entries, more than {ENTRIES_MAX}")
    return tuple(_entry(line) for line in lines)


def _entry(line: bytes) -> Listed:
    kind, _, rest = line.partition(b" ")
    size, _, path = rest.partition(b" ")
    name = path.removeprefix(b"./")
    told = shown(name.decode("utf-8", "backslashreplace"))
    if kind not in (b"f", b"d"):
        raise ValueError(f"{told} is neither a file nor a folder" if path else "its list cannot be read")
    if why := name_fault(name):
        raise ValueError(f"{told}: {why}")
    if not size.isdigit():
        raise ValueError(f"{told} has no size")
    return Listed(name.decode(), kind == b"d", int(size) if kind == b"f" else 0)


def name_fault(name: bytes) -> str:
    """Why an entry below a folder of ours may not be called so; empty where it may."""
    parts = name.split(b"/")
    if name.startswith(b"/") or any(part in (b"", b".", b"..") for part in parts):
        return "the name leads out of its folder, or to none"
    if len(parts) > DEPTH_MAX or any(len(part) > NAME_BYTES_MAX for part in parts):
        return "the name is too long or too deep"
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is no text"
    return "" if text.isprintable() else "the name has signs that nobody can read"


class Unpacking:
    """Give :meth:`take` all that comes, then :meth:`end`. ``found``: size and SHA-256 of each file, by name."""

    def __init__(self, folder: Path, room: Room, what: str) -> None:
        self.found: dict[str, tuple[int, str]] = {}
        self._folder = folder
        self._room = room
        self._what = what
        self._list = bytearray()
        self._waiting: list[Listed] | None = None  # files to come, the next one last
        self._file: _File | None = None
        self._unseen = 0  # bytes written since somebody looked at the disk
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._closing.close()

    def take(self, piece: bytes) -> None:
        if self._waiting is None:
            since = max(0, len(self._list) - 1)
            self._list += piece
            end = self._list.find(b"\n\n", since)
            if (end if end >= 0 else len(self._list)) > LIST_BYTES_MAX:
                raise self._hostile(f"its list is longer than {LIST_BYTES_MAX} bytes")
            if end < 0:
                return
            piece = bytes(self._list[end + 2 :])
            self._begin(bytes(self._list[:end]))
            self._list.clear()
        left = memoryview(piece)
        while left:
            if self._file is None:
                raise self._hostile("more comes than it lists")
            written = self._file.write(left)
            left = left[written:]
            self._look(written)
            self._next()

    def end(self) -> None:
        """Raises where not all of it came."""
        if self._waiting is None or self._file is not None:
            why = "it broke off: not all that it lists came"
            raise NciaError("agency.not-staged", self._what, why, "it is tried again")

    def _begin(self, text: bytes) -> None:
        try:
            entries = listed(text)
        except ValueError as fault:
            raise self._hostile(str(fault)) from fault
        size = sum(each.size_bytes for each in entries)
        self._closing.enter_context(self._room.promise(self._folder.name, size, self._what))
        for each in sorted((each for each in entries if each.is_folder), key=lambda each: each.name):
            (self._folder / each.name).mkdir(mode=0o700)
        self._waiting = [each for each in entries if not each.is_folder][::-1]
        self._next()

    def _next(self) -> None:
        """Close what is whole, and open what comes next; files that hold nothing are made on the way."""
        waiting = self._waiting or []
        while self._file is None or self._file.left == 0:
            if self._file is not None:
                self.found[self._file.listed.name] = (self._file.listed.size_bytes, self._file.close())
                self._file = None
            if not waiting:
                return
            self._file = _File(self._folder, waiting.pop())

    def _look(self, written: int) -> None:
        self._unseen += written
        if self._unseen >= LOOK_EVERY_BYTES:
            self._unseen = 0
            self._room.demand_spare(self._what)

    def _hostile(self, why: str) -> Refusal:
        return Refusal("agency.hostile", self._what, why, "look at the host of that store: nothing of it was kept")


class _File:
    def __init__(self, folder: Path, listed: Listed) -> None:
        self.listed = listed
        self.left = listed.size_bytes
        self._digest = hashlib.sha256()
        self._descriptor = os.open(folder / listed.name, FILE_MAKE, 0o600)

    def write(self, piece: memoryview) -> int:
        """Writes what belongs to this file of a piece; answers how much that was."""
        mine = piece[: self.left]
        self._digest.update(mine)
        written = 0
        while written < len(mine):
            written += os.write(self._descriptor, mine[written:])
        self.left -= len(mine)
        return len(mine)

    def close(self) -> str:
        os.close(self._descriptor)
        return self._digest.hexdigest()


def digests_below(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each file below a folder; raises ``ValueError`` where something else is there."""
    found = {}
    for above, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(above, name)
            inner = str(path.relative_to(folder))
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ValueError(f"{shown(inner)} is neither a file nor a folder")
            if path.is_file():
                found[inner] = _digest(path)
    return found


def _digest(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return size, digest.hexdigest()


def packed(folder: Path) -> Iterator[bytes]:
    """Folders and files below a folder as a tar archive, in pieces; whoever made that folder has looked for links."""
    for path in sorted(folder.rglob("*")):
        told = tarfile.TarInfo(f"./{path.relative_to(folder)}")
        told.mode = 0o700 if path.is_dir() else 0o600
        if path.is_dir():
            told.type = tarfile.DIRTYPE
            yield told.tobuf(tarfile.PAX_FORMAT)
            continue
        told.size = path.stat().st_size
        yield told.tobuf(tarfile.PAX_FORMAT)
        with path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                yield piece
        yield bytes(-told.size % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)
