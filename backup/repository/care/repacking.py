"""Blobs copied from pack to pack as they are sealed, each opened and hashed on the way; no index is written here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from backup.repository.format.index import Pack
from backup.repository.format.packs import Blob, seal_header
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.save.pipeline import PACK_BLOBS_MAX, PACK_BYTES, OpenPack


class Repacking:
    """For one thread. ``guard`` raises where nothing may be written any more."""

    def __init__(self, repository: Repository, guard: Callable[[], None]) -> None:
        self.bytes = 0
        self._repository = repository
        self._guard = guard
        self._open: dict[bool, OpenPack] = {}
        self._made: list[Pack] = []

    def copy(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        """``blobs`` of ``pack``. Raises :class:`~backup.repository.faults.Damaged`."""
        wanted = sorted(blobs, key=lambda blob: blob.offset)
        begin, end = wanted[0].offset, max(blob.offset + blob.length for blob in wanted)
        whole = end - begin <= 2 * sum(blob.length for blob in wanted)
        span = memoryview(self._repository.store.load(Kind.DATA, pack.hex(), begin, end - begin)) if whole else None
        for blob in wanted:
            if span is None:
                sealed = memoryview(self._repository.store.load(Kind.DATA, pack.hex(), blob.offset, blob.length))
            else:
                sealed = span[blob.offset - begin : blob.offset - begin + blob.length]
            self._repository.verify_blob(blob, sealed)
            self._add(blob, sealed)

    def finish(self) -> list[Pack]:
        """The packs that were made; all are durable, and no index names them yet."""
        for tree in tuple(self._open):
            self._write(self._open.pop(tree))
        return self._made

    def _add(self, blob: Blob, sealed: memoryview) -> None:
        pack = self._open.get(blob.tree)
        if pack is None:
            pack = self._open[blob.tree] = OpenPack(blob.tree)
        with pack.reserve(blob.length) as room:
            room[:] = sealed
        pack.blobs.append(blob._replace(offset=pack.used))
        pack.used += blob.length
        if pack.used >= PACK_BYTES or len(pack.blobs) >= PACK_BLOBS_MAX:
            self._write(self._open.pop(blob.tree))

    def _write(self, pack: OpenPack) -> None:
        header = seal_header(pack.blobs, self._repository.sealer)
        with pack.reserve(len(header)) as end:
            end[:] = header
        with memoryview(pack.room)[: pack.used + len(header)] as whole:
            name = hashlib.sha256(whole).digest()
            self._guard()
            self._repository.keep(Kind.DATA, name.hex(), whole)
            self.bytes += len(whole)
        self._made.append((name, pack.blobs))
