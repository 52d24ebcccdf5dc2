"""Real places for a repository: a folder, a host of the lab's, OpenSSH's own server, an S3 server."""

from __future__ import annotations

import itertools
import secrets as entropy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from backup.repository.ports import Store
from backup.repository.stores.folder import FolderStore
from tests.backup.repository.faults import FaultyStore
from tests.fakes.repository import FakeStore


@dataclass
class Place:
    """Somewhere repositories can be. ``disk``: where they lie as files; None for what keeps nothing on a disk."""

    disk: Path | None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def store(self, root: str) -> Store:
        """A new store over the same place each time it is asked for the same ``root``."""
        raise NotImplementedError

    def new_root(self) -> str:
        return f"repository-{next(self._numbers)}"


@dataclass
class FakePlace(Place):
    disk: Path | None = None
    _stores: dict[str, FakeStore] = field(default_factory=dict)

    def store(self, root: str) -> Store:
        return self._stores.setdefault(root, FakeStore())


@dataclass
class FaultyPlace(FakePlace):
    """A store that could fail and does not is as good as any."""

    def store(self, root: str) -> Store:
        return FaultyStore(super().store(root))


@dataclass
class FolderPlace(Place):
    disk: Path

    def store(self, root: str) -> Store:
        return FolderStore(self.disk / root)


@contextmanager
def place(name: str, folder: Path) -> Iterator[Place]:
    if name == "fake":
        yield FakePlace()
    elif name == "faulty":
        yield FaultyPlace()
    elif name == "folder":
        yield FolderPlace(folder)
    else:
        raise ValueError(name)


PLACES = ("fake", "faulty", "folder")


def id_of(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def pack(size: int) -> tuple[str, bytes]:
    """Bytes that compress to nothing less, and the name that they have."""
    content = entropy.token_bytes(size)
    return id_of(content), content
