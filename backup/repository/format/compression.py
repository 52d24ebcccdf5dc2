"""zstd as the format uses it: for blobs, whose plain length is known, and for the small files, which tell it."""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

from backup.repository.faults import Damaged

LEVEL = 3
COMPRESSED = b"\x02"  # first byte of a compressed file; { and [ begin one that is not
FILE_BYTES_MAX = 1 << 30


@dataclass(frozen=True)
class Squeezer:
    """The two contexts of one thread."""

    compressor: zstandard.ZstdCompressor
    decompressor: zstandard.ZstdDecompressor

    @classmethod
    def new(cls) -> Squeezer:
        return cls(zstandard.ZstdCompressor(level=LEVEL, write_checksum=False), zstandard.ZstdDecompressor())

    def expand(self, packed: bytes | bytearray | memoryview, length: int, what: str) -> bytes:
        """A blob's plain bytes, exactly ``length`` of them. No more than that is ever allocated."""
        try:
            plain = self.decompressor.decompress(packed, max_output_size=length, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise Damaged(what, f"zstd: {error}") from error
        if len(plain) != length:
            raise Damaged(what, f"it unpacks to {len(plain)} bytes instead of {length}")
        return plain


def pack_file(plain: bytes) -> bytes:
    """Index, snapshot and lock files before they are sealed."""
    return COMPRESSED + zstandard.ZstdCompressor(level=LEVEL).compress(plain)


def unpack_file(packed: bytes | bytearray, what: str) -> bytes:
    """The inverse; raises :class:`Damaged`."""
    if packed[:1] in (b"{", b"["):
        return bytes(packed)
    if packed[:1] != COMPRESSED:
        raise Damaged(what, f"it begins with byte {packed[:1].hex() or 'nothing'}, which means nothing")
    reader = zstandard.ZstdDecompressor().stream_reader(memoryview(packed)[1:])
    try:
        plain = reader.read(FILE_BYTES_MAX + 1)
    except zstandard.ZstdError as error:
        raise Damaged(what, f"zstd: {error}") from error
    if len(plain) > FILE_BYTES_MAX:
        raise Damaged(what, f"it unpacks to more than {FILE_BYTES_MAX >> 20} MiB")
    return plain
