"""What a backup leaves out, in restic's words and by its rules: judged by an entry's path, then by what it is.

What was asked for by its own name is kept, whatever matches it; what is below it is judged.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backup.repository.format.trees import DIR, Node
from backup.repository.save.patterns import Patterns
from ncia.core.base.errors import NciaError

CACHES = "CACHEDIR.TAG:Signature: 8a477f597d28d172789f06886806bc55"  # https://bford.info/cachedir
SIZE = re.compile(r"(\d{1,18})([bBkKmMgGtT]?)")
UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+)|(\$))", re.ASCII)
READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK


@dataclass(frozen=True)
class Exclusions:
    """``insensitive`` are patterns to which letters are the same in either case; ``if_present``: names of files, each
    perhaps with ``:`` and how it must begin, whose folders' other entries are left out."""

    patterns: tuple[str, ...] = ()
    insensitive: tuple[str, ...] = ()
    if_present: tuple[str, ...] = ()
    larger_than: int | None = None
    one_file_system: bool = False

    @property
    def told(self) -> tuple[str, ...]:
        """The patterns, for the snapshot."""
        return self.patterns + self.insensitive


NOTHING = Exclusions()


class LeftOut(Exception):
    """An entry that is not asked for after all."""


class Excluding:
    """For one backup, by one thread at a time. ``targets``: the absolute paths that were asked for."""

    def __init__(self, exclusions: Exclusions, targets: Iterable[bytes]) -> None:
        self._targets = frozenset(targets)
        self._judges = [Patterns(exclusions.insensitive, insensitive=True), Patterns(exclusions.patterns)]
        self._tags = [_tag(each) for each in exclusions.if_present]
        self._tagged: tuple[bytes, frozenset[bytes] | None] = (b"", None)
        self._larger_than = exclusions.larger_than
        self._devices: dict[bytes, int] = {}
        if exclusions.one_file_system:
            self._devices = {path: os.lstat(path).st_dev for path in self._targets if os.path.lexists(path)}

    def by_path(self, path: bytes) -> bool:
        text = path.decode("utf-8", "surrogateescape")
        return path not in self._targets and any(judge.match(text) for judge in self._judges)

    def by_kind(self, path: bytes, node: Node) -> bool:
        """After a look at it."""
        if path in self._targets:
            return False
        if self._larger_than is not None and node.type != DIR and _size(node) > self._larger_than:
            return True
        if self._devices and self._is_beyond(path, node):
            return True
        return bool(self._tags) and self._is_tagged(path)

    def _is_beyond(self, path: bytes, node: Node) -> bool:
        """On another file system? A folder on which one is mounted stays, with nothing in it."""
        if self._asked(path) in (node.device_id, None):
            return False
        if node.type != DIR:
            return True
        above = os.path.dirname(path)
        try:
            return os.lstat(above).st_dev != self._asked(above)
        except OSError:
            return True

    def _asked(self, path: bytes) -> int | None:
        """The file system of what was asked for, of which this is a part."""
        while path not in self._devices:
            if path == b"/":
                return None
            path = os.path.dirname(path)
        return self._devices[path]

    def _is_tagged(self, path: bytes) -> bool:
        folder, name = os.path.split(path)
        known, names = self._tagged
        if known != folder or names is None:
            names = frozenset(tag for tag, begin in self._tags if _is_there(os.path.join(folder, tag), begin))
            self._tagged = (folder, names)
        return any(name != tag for tag in names)


def exclusions_of(
    patterns: Iterable[str],
    insensitive: Iterable[str],
    files: Iterable[Path],
    insensitive_files: Iterable[Path],
    if_present: Iterable[str],
    larger_than: str,
    one_file_system: bool,
    environment: Mapping[str, str],
) -> Exclusions:
    """As they are given on a command line. Raises where a file, a pattern or a size cannot be read."""
    words = [*patterns, *(line for file in files for line in _lines(file, environment))]
    others = [*insensitive, *(line for file in insensitive_files for line in _lines(file, environment))]
    Patterns(words)
    Patterns(others, insensitive=True)
    tags = tuple(if_present)
    for tag in tags:
        _tag(tag)
    size = _bytes_of(larger_than) if larger_than else None
    return Exclusions(tuple(words), tuple(others), tags, size, one_file_system)


def _lines(file: Path, environment: Mapping[str, str]) -> list[str]:
    """One pattern a line; comments and empty lines are none. Variables are put in, ``$$`` is a dollar."""
    what = f"read the patterns in {file}"
    try:
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise NciaError("repository.no-patterns", what, error.strerror or str(error)) from error
    lines = (line.strip() for line in text.split("\n"))

    def value(found: re.Match[str]) -> str:
        return "$" if found[3] else environment.get(found[1] or found[2], "")

    return [VARIABLE.sub(value, line) for line in lines if line and not line.startswith("#")]


def _bytes_of(text: str) -> int:
    found = SIZE.fullmatch(text)
    if found is None:
        why = f"{text!r} is no size"
        raise NciaError("repository.bad-size", "leave out large files", why, "such as 500, 20k, 300M, 2G")
    return int(found[1]) * UNITS[found[2].lower()]


def _tag(text: str) -> tuple[bytes, bytes]:
    name, _, begin = text.partition(":")
    if not name or "/" in name:
        why = f"{text!r} names no file"
        raise NciaError("repository.bad-pattern", "leave out folders with a file in them", why, "such as .nobackup")
    return os.fsencode(name), os.fsencode(begin)


def _size(node: Node) -> int:
    return node.size or len(node.target)


def _is_there(path: bytes, begin: bytes) -> bool:
    """Is there such a file, and does it begin so? Where that cannot be said, nothing is left out."""
    if not begin:
        return os.path.lexists(path)
    try:
        file = os.open(path, READ)
        try:
            return os.read(file, len(begin)) == begin
        finally:
            os.close(file)
    except OSError:
        return False
