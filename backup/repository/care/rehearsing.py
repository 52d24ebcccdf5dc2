"""A store of which nothing is changed: what would be saved is remembered, what would be removed is hidden."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from backup.repository.format.layout import told
from backup.repository.ports import Kind, Missing, Store, Stored

File = tuple[Kind, str]


class Rehearsing:
    """``store`` as it would be. Packs that ``elsewhere`` has as well are read there, and not held in memory."""

    def __init__(self, store: Store, elsewhere: Store | None) -> None:
        self._store = store
        self._elsewhere = elsewhere
        self._saved: dict[File, bytes | None] = {}  # None: its bytes are elsewhere
        self._sizes: dict[File, int] = {}
        self._removed: set[File] = set()
        self._lock = threading.Lock()

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        content = None if self._has_elsewhere(kind, name, len(data)) else bytes(data)
        with self._lock:
            self._saved[kind, name] = content
            self._sizes[kind, name] = len(data)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            saved = (kind, name) in self._saved
            content = self._saved.get((kind, name))
        if content is not None:
            return content[offset : None if length is None else offset + length]
        if saved and self._elsewhere is not None:
            return self._elsewhere.load(kind, name, offset, length)
        self._demand(kind, name)
        return self._store.load(kind, name, offset, length)

    def size(self, kind: Kind, name: str) -> int:
        with self._lock:
            known = self._sizes.get((kind, name))
        if known is not None:
            return known
        self._demand(kind, name)
        return self._store.size(kind, name)

    def names(self, kind: Kind) -> Iterator[Stored]:
        with self._lock:
            saved = {name: size for (each, name), size in self._sizes.items() if each is kind}
            hidden = {name for each, name in self._removed if each is kind}
        for stored in self._store.names(kind):
            if stored.name not in saved and stored.name not in hidden:
                yield stored
        yield from (Stored(name, size) for name, size in saved.items())

    def remove(self, kind: Kind, name: str) -> None:
        with self._lock:
            self._saved.pop((kind, name), None)
            self._sizes.pop((kind, name), None)
            self._removed.add((kind, name))

    def create(self) -> None:
        """Nothing is made."""

    def close(self) -> None:
        self._store.close()

    def _has_elsewhere(self, kind: Kind, name: str, size: int) -> bool:
        if kind is not Kind.DATA or self._elsewhere is None:
            return False
        try:
            return self._elsewhere.size(kind, name) == size
        except Missing:
            return False

    def _demand(self, kind: Kind, name: str) -> None:
        with self._lock:
            if (kind, name) in self._removed:
                raise Missing("repository.missing", f"load {told(kind, name)}", "it would have been removed")
