"""zstd as the format uses it: for blobs, whose plain length is known, and for the small files, which tell it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import zstandard

from backup.repository.faults import Damaged
from backup.repository.format.bounds import BLOB_BYTES_MAX, FILE_BYTES_MAX, MIB, demand_bytes

LEVEL = 3  # of files
COMPRESSED = b"\x02"  # first byte of a compressed file; { and [ begin one that is not
UNTOLD = -1  # of a frame that says nothing of its length
PIECE_BYTES = 1 << 20
SMALL_BYTES = 32 << 10  # of what is no longer, and of trees, the first level makes as little as the third, and sooner


class Compression(StrEnum):
    """How hard it is tried, in restic's words."""

    AUTO = "auto"
    OFF = "off"
    FASTEST = "fastest"
    BETTER = "better"
    MAX = "max"


LEVELS = {  # for what is small or a tree, and for the rest
    Compression.AUTO: (1, LEVEL),
    Compression.FASTEST: (1, 1),
    Compression.BETTER: (LEVEL, 6),
    Compression.MAX: (12, 12),
}


@dataclass(frozen=True)
class Squeezer:
    """The contexts of one thread: for what is small, for what is not, and for the way back. None compresses nothing."""

    small: zstandard.ZstdCompressor | None
    big: zstandard.ZstdCompressor | None
    decompressor: zstandard.ZstdDecompressor

    @classmethod
    def new(cls, compression: Compression = Compression.AUTO) -> Squeezer:
        levels = LEVELS.get(compression, ())
        small, big = [zstandard.ZstdCompressor(level, write_checksum=False) for level in levels] or (None, None)
        return cls(small, big, zstandard.ZstdDecompressor())

    def squeeze(self, plain: bytes | memoryview, tree: bool = False) -> bytes | memoryview:
        """It compressed, or as it is where that is no longer."""
        compressor = self.small if tree or len(plain) <= SMALL_BYTES else self.big
        if compressor is None:
            return plain
        packed = compressor.compress(plain)
        return packed if len(packed) < len(plain) else plain

    def expand(self, packed: bytes | bytearray | memoryview, length: int, what: str) -> bytes:
        """A blob's plain bytes, exactly ``length`` of them. No more than that is ever allocated: a frame that claims
        another length is believed by the library, and not by us."""
        demand_bytes(length, BLOB_BYTES_MAX, what)
        try:
            if (told := zstandard.frame_content_size(packed)) not in (length, UNTOLD):
                raise Damaged(what, f"its frame says that it unpacks to {told} bytes instead of {length}")
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
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := reader.read(PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > FILE_BYTES_MAX:
                raise Damaged(what, f"it unpacks to more than {FILE_BYTES_MAX // MIB} MiB, as none does")
    except zstandard.ZstdError as error:
        raise Damaged(what, f"zstd: {error}") from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
