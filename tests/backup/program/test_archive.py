"""What a host hands over as its program's archive, and is none, or a bomb."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.program.archive import member_hashes, unpack
from tests.backup.agencies.points_world import tar_of

ZEROS = 50_000_000


def sparse() -> bytes:
    """One file of 50 MB, of which not a byte is in the archive."""
    told = tarfile.TarInfo("hole")
    told.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.size": str(ZEROS),
        "GNU.sparse.map": f"{ZEROS},0",
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(told)
    return out.getvalue()


def claiming(size: int) -> bytes:
    """An empty file with another size in its header."""
    told = tarfile.TarInfo("a")
    told.size = size
    return told.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", COMPRESSED)
def test_a_compressed_bomb_is_no_archive(kind: str, tmp_path: Path) -> None:
    bomb = COMPRESSED[kind](tar_of(("a", bytes(1_000_000))))
    with pytest.raises(ValueError, match="it is no archive"):
        member_hashes(bomb)
    with pytest.raises(ValueError, match="it is no archive"):
        unpack(bomb, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("archive", [sparse(), claiming(-1), claiming(-1024)], ids=["sparse", "negative", "for ever"])
def test_one_that_claims_more_bytes_than_it_has_is_refused(archive: bytes, tmp_path: Path) -> None:
    for read in (member_hashes, lambda held: unpack(held, tmp_path)):
        with pytest.raises(ValueError, match=r"claims more bytes than the archive has|it is no archive"):
            read(archive)
    assert list(tmp_path.iterdir()) == []


def test_what_is_packed_plainly_is_read() -> None:
    assert list(member_hashes(tar_of(("./a", b"x"), ("b/c", bytes(100_000))))) == ["a", "b/c"]
