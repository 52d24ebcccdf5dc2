"""A repository's store in memory, as honest as the real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from backup.repository.format.layout import demand_range, path_of, told
from backup.repository.ports import Kind, Missing, Stored, StoreFault


class FakeStore:
    def __init__(self) -> None:
        self.held: dict[tuple[Kind, str], bytes] = {}
        self._lock = threading.Lock()

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        path_of(kind, name)
        with self._lock:
            if self.held.setdefault((kind, name), bytes(data)) != bytes(data):
                raise StoreFault("repository.other-content", f"save {told(kind, name)}", "other bytes have that name")

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        demand_range(f"load {told(kind, name)}", offset, length)
        return self._found(kind, name)[offset : None if length is None else offset + length]

    def size(self, kind: Kind, name: str) -> int:
        return len(self._found(kind, name))

    def names(self, kind: Kind) -> Iterator[Stored]:
        with self._lock:
            found = [Stored(name, len(data)) for (each, name), data in self.held.items() if each is kind]
        return iter(found)

    def remove(self, kind: Kind, name: str) -> None:
        path_of(kind, name)
        with self._lock:
            self.held.pop((kind, name), None)

    def create(self) -> None:
        with self._lock:
            if (Kind.CONFIG, "") in self.held:
                raise StoreFault("repository.exists", "make a repository", "there is one already")

    def close(self) -> None:
        """Nothing is held open."""

    def _found(self, kind: Kind, name: str) -> bytes:
        path_of(kind, name)
        with self._lock:
            if (kind, name) not in self.held:
                raise Missing("repository.missing", f"load {told(kind, name)}", "there is no such file")
            return self.held[kind, name]
