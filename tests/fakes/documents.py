"""A store of documents in memory that can be hurt: it may lie, be full, be silent."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable

from ncia.core.base.errors import Unreachable
from ncia.core.work.documents import OWN, Folder, Seen, StoreFull, demand_name, fault_of, is_own


class FakeDocuments:
    """``tells_tags``: whether it lists MD5s, as buckets do. ``keeps`` makes what is kept of what is given: the identity
    for an honest store, None for one that keeps nothing."""

    def __init__(
        self, where: str = "fake", *, tells_tags: bool = False, now: Callable[[], float] = lambda: 0.0
    ) -> None:
        self.where = where
        self.held: dict[str, tuple[bytes, float]] = {}
        self.calls: list[tuple[str, str]] = []
        self.keeps: Callable[[bytes], bytes | None] = lambda content: content
        self.bytes_max = 10**9
        self.silent = False
        self.closed = False
        self._tells_tags = tells_tags
        self._now = now
        self._lock = threading.Lock()

    def put(self, name: str, content: bytes, modified_at: float | None = None) -> None:
        self._call("put", name)
        demand_name(name)
        with self._lock:
            if sum(len(held) for held, _ in self.held.values()) + len(content) > self.bytes_max:
                raise StoreFull("documents.full", f"write {name} to {self.where}", "the disk there is full")
            kept = self.keeps(content)
            if kept is not None:
                self.held[name] = (kept, self._now() if modified_at is None else modified_at)

    def get(self, name: str) -> bytes | None:
        self._call("get", name)
        demand_name(name)
        return self.held[name][0] if name in self.held else None

    def look(self, folder: str) -> Folder:
        self._call("look", folder)
        prefix = f"{folder}/" if folder else ""
        documents, folders, refused = [], set(), []
        with self._lock:
            held = sorted(self.held.items())
        for name, (content, modified_at) in held:
            if not name.startswith(prefix):
                continue
            first, slash, _ = name.removeprefix(prefix).partition("/")
            if slash:
                if not is_own(first):
                    folders.add(prefix + first)
            elif fault_of(name):
                refused.append(name)
            elif not is_own(first):
                tag = hashlib.md5(content, usedforsecurity=False).hexdigest() if self._tells_tags else ""
                documents.append(Seen(name, len(content), modified_at, tag))
        return Folder(tuple(documents), tuple(sorted(folders)), tuple(refused))

    def close(self) -> None:
        self.closed = True

    def documents(self) -> dict[str, bytes]:
        """What it holds that is not the platform's own."""
        return {name: content for name, (content, _) in self.held.items() if not name.startswith(OWN)}

    def _call(self, verb: str, name: str) -> None:
        with self._lock:
            self.calls.append((verb, name))
        if self.silent:
            raise Unreachable("documents.unreachable", f"{verb} {name}", f"{self.where} does not answer")
