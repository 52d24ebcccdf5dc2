"""One pack, looked at byte by byte: what is wrong with it, and which of its blobs are what was written."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from backup.repository.faults import Damaged
from backup.repository.format.packs import Blob, header_span, open_header
from backup.repository.repository import Repository
from ncia.core.base.ids import SHORT


class Examined(NamedTuple):
    """``told``: the blobs that its header tells; empty where it cannot be read. ``good``: those of the header or the
    index that open to what bears their id. ``bad``: the others."""

    faults: list[str]
    told: tuple[Blob, ...]
    good: tuple[Blob, ...]
    bad: tuple[Blob, ...]

    @property
    def known(self) -> tuple[Blob, ...]:
        return self.good + self.bad

    @property
    def sound(self) -> bool:
        """Its bytes are those that were written, and they tell themselves what they are."""
        return bool(self.told) and not self.faults


def examine(repository: Repository, pack: bytes, content: memoryview, indexed: Sequence[Blob] | None) -> Examined:
    """``indexed``: what an index says of it, where one does."""
    name = f"pack {pack.hex()[:SHORT]}"
    faults: list[str] = []
    if hashlib.sha256(content).digest() != pack:
        faults.append(f"{name}: its bytes do not have the hash that is its name")
    told: tuple[Blob, ...] = ()
    try:
        told = header_of(repository, pack, content)
        if indexed is not None and sorted(told) != sorted(indexed):
            faults.append(f"{name}: its header tells other blobs than the index does")
    except Damaged as error:
        faults.append(f"{name}: its header: {error.why}")
    good, bad = [], []
    for blob in dict.fromkeys((*(indexed or ()), *told)):
        try:
            repository.verify_blob(blob, content[blob.offset : blob.offset + blob.length])
            good.append(blob)
        except Damaged as error:
            bad.append(blob)
            kind = "tree" if blob.tree else "blob"
            faults.append(f"{name}: {kind} {blob.id.hex()[:SHORT]}: {error.why}")
    return Examined(faults, told, tuple(good), tuple(bad))


def header_of(repository: Repository, pack: bytes, content: memoryview) -> tuple[Blob, ...]:
    """What a pack tells itself; raises :class:`Damaged`."""
    what = f"read the header of pack {pack.hex()[:SHORT]}"
    offset, length = header_span(bytes(content[-4:]), len(content), what)
    return open_header(content[offset : offset + length], repository.sealer, what)
