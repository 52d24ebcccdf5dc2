"""Pack files: sealed blobs one after the other, then a sealed header that tells them, then the length of that.

``blobs… | sealed header | uint32 length of the sealed header``, little-endian. An entry of the header is a type byte,
the sealed length, for compressed blobs the plain length, and the id: 37 or 41 bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from backup.repository.faults import Damaged
from backup.repository.format.bounds import BLOB_BYTES_MAX, demand_bytes
from backup.repository.format.compression import Squeezer
from backup.repository.format.seal import OVERHEAD_BYTES, Sealer
from ncia.core.base.ids import SHORT

RAW = struct.Struct("<BI32s")
COMPRESSED = struct.Struct("<BII32s")
LENGTH = struct.Struct("<I")
READ_BYTES = 8 << 20  # of one pack that are read in one go
GAP_BYTES = 64 << 10  # of a pack that are read in vain rather than asked for apart
HEADER_BYTES_MAX = 16 << 20  # restic reads no longer one
TREE, PACKED = 1, 2  # the two bits of the type byte


class Blob(NamedTuple):
    """One blob in a pack. ``length`` is sealed; ``plain_length`` is 0 where it is not compressed."""

    id: bytes
    tree: bool
    offset: int
    length: int
    plain_length: int

    @property
    def plain_bytes(self) -> int:
        return self.plain_length or self.length - OVERHEAD_BYTES


def plain_of(blob: Blob, sealed: bytes | memoryview, sealer: Sealer, squeezer: Squeezer) -> bytes | memoryview:
    """The plain bytes of a sealed blob, for a look: they stay as they are until the sealer's next one. Raises
    :class:`Damaged` where they are not what its id says."""
    what = f"read {'tree' if blob.tree else 'blob'} {blob.id.hex()[:SHORT]}"
    plain: bytes | memoryview = sealer.look(sealed, what)
    if blob.plain_length:
        plain = squeezer.expand(plain, blob.plain_length, what)
    if hashlib.sha256(plain).digest() != blob.id:
        raise Damaged(what, "its bytes do not have the hash that is its id")
    return plain


def seal_header(blobs: Sequence[Blob], sealer: Sealer) -> bytes:
    """What follows the last blob, to the end of the file."""
    entries = bytearray()
    for blob in blobs:
        if blob.plain_length:
            entries += COMPRESSED.pack(PACKED | blob.tree, blob.length, blob.plain_length, blob.id)
        else:
            entries += RAW.pack(int(blob.tree), blob.length, blob.id)
    sealed = sealer.seal(bytes(entries))
    return sealed + LENGTH.pack(len(sealed))


def header_bytes(blobs: Iterable[Blob]) -> int:
    """How long :func:`seal_header` is for these blobs."""
    return OVERHEAD_BYTES + LENGTH.size + sum(COMPRESSED.size if blob.plain_length else RAW.size for blob in blobs)


def pack_bytes(blobs: Sequence[Blob]) -> int:
    """How long a pack of these blobs is."""
    return sum(blob.length for blob in blobs) + header_bytes(blobs)


def header_span(tail: bytes, size: int, what: str) -> tuple[int, int]:
    """Offset and length of the sealed header, from the last four bytes of a pack of ``size`` bytes."""
    (length,) = LENGTH.unpack(tail[-LENGTH.size :]) if len(tail) >= LENGTH.size else (0,)
    if not OVERHEAD_BYTES + RAW.size <= length <= min(size - LENGTH.size, HEADER_BYTES_MAX):
        raise Damaged(what, f"its header cannot have {length} bytes")
    return size - LENGTH.size - length, length


def open_header(sealed: bytes | memoryview, sealer: Sealer, what: str) -> tuple[Blob, ...]:
    """The blobs that a header tells, offsets counted up from 0."""
    entries = sealer.open(sealed, what)
    blobs: list[Blob] = []
    at = offset = 0
    while at < len(entries):
        kind = entries[at]
        form = COMPRESSED if kind & PACKED else RAW
        if kind > (TREE | PACKED) or at + form.size > len(entries):
            raise Damaged(what, f"entry {len(blobs)} of its header is none (type {kind})")
        if form is COMPRESSED:
            _, length, plain, id_ = COMPRESSED.unpack_from(entries, at)
        else:
            (_, length, id_), plain = RAW.unpack_from(entries, at), 0
        demand_bytes(max(length, plain), BLOB_BYTES_MAX, what)
        blobs.append(Blob(id_, bool(kind & TREE), offset, length, plain))
        at += form.size
        offset += length
    return tuple(blobs)


def runs_of(blobs: Iterable[Blob]) -> Iterator[list[Blob]]:
    """Blobs of one pack: those that lie side by side, or nearly, in runs of bounded length."""
    run: list[Blob] = []
    end = 0
    for blob in sorted(blobs, key=lambda each: each.offset):
        if run and (blob.offset - end > GAP_BYTES or blob.offset - run[0].offset > READ_BYTES):
            yield run
            run = []
        run.append(blob)
        end = max(end, blob.offset + blob.length)
    if run:
        yield run


def span_of(run: Sequence[Blob]) -> tuple[int, int]:
    """Where what holds a run begins, and its length: an index may tell of blobs that lie in each other."""
    begin = run[0].offset
    return begin, max(blob.offset + blob.length for blob in run) - begin
