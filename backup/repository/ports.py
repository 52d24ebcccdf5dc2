"""What a repository needs from the place where it lies, and what goes wrong there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from ncia.core.base.errors import NciaError


class Kind(StrEnum):
    CONFIG = "config"
    KEYS = "keys"
    DATA = "data"
    INDEX = "index"
    SNAPSHOTS = "snapshots"
    LOCKS = "locks"


@dataclass(frozen=True)
class Stored:
    name: str
    size: int


class Missing(NciaError):
    """The store answered, and has no file of that name."""


class StoreFault(NciaError):
    """The store did not do what it was asked; of a save, nothing can be said to be kept."""


class Store(Protocol):
    """Named files of a repository, as restic lays them out (data/ab/abcd…, config without a name).

    Names are lower-case hex; CONFIG has the name "". Safe for several threads.
    """

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        """Whole and durable when it returns; nothing of that name before; raises StoreFault. ``data`` stays as it is
        until then, and after that if the store is :class:`Lingering`."""
        ...

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        """The bytes from ``offset``, ``length`` of them or all that follow; raises Missing."""
        ...

    def size(self, kind: Kind, name: str) -> int:
        """Raises Missing."""
        ...

    def names(self, kind: Kind) -> Iterator[Stored]: ...

    def remove(self, kind: Kind, name: str) -> None:
        """No fault where it is not there."""
        ...

    def create(self) -> None:
        """The layout of a new repository."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Lingering(Protocol):
    """A store that gives up what takes too long."""

    def lingers(self) -> bool:
        """May a save that has returned, or any later one, still read what it was given?"""
        ...
