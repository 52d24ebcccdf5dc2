from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged
from backup.repository.format.bounds import BLOB_BYTES_MAX
from backup.repository.format.packs import Blob, header_span, open_header, pack_bytes, seal_header
from backup.repository.format.seal import OVERHEAD_BYTES, Key, Sealer

SEALER = Sealer(Key.of_bytes(bytes(64)))


@st.composite
def packs(draw: st.DrawFn) -> list[Blob]:
    found: list[Blob] = []
    offset = 0
    for id_, tree, length, plain in draw(
        st.lists(
            st.tuples(
                st.binary(min_size=32, max_size=32),
                st.booleans(),
                st.integers(OVERHEAD_BYTES, 1 << 24),
                st.integers(0, BLOB_BYTES_MAX),
            ),
            min_size=1,
            max_size=20,
        )
    ):
        found.append(Blob(id_, tree, offset, length, plain))
        offset += length
    return found


@given(packs())
def test_a_header_tells_what_is_in_its_pack(blobs: list[Blob]) -> None:
    end = seal_header(blobs, SEALER)
    size = pack_bytes(blobs)
    assert size == sum(blob.length for blob in blobs) + len(end)
    offset, length = header_span(end[-4:], size, "read")
    assert offset == size - len(end)
    assert open_header(end[:length], SEALER, "read") == tuple(blobs)


@pytest.mark.parametrize("told", [0, 1, 68, 10**6, 2**32 - 1])
def test_a_header_of_an_impossible_length_is_damaged(told: int) -> None:
    with pytest.raises(Damaged, match=f"{told} bytes"):
        header_span(told.to_bytes(4, "little"), 5000, "read")


@pytest.mark.parametrize("entries", [b"\x04" + bytes(36), b"\x02" + bytes(39), b"\x00" + bytes(40)])
def test_an_entry_that_is_none_is_damaged(entries: bytes) -> None:
    with pytest.raises(Damaged, match="is none"):
        open_header(SEALER.seal(entries), SEALER, "read")


def test_a_blob_knows_its_plain_length() -> None:
    id_ = os.urandom(32)
    assert Blob(id_, False, 0, 100, 0).plain_bytes == 100 - OVERHEAD_BYTES
    assert Blob(id_, False, 0, 100, 500).plain_bytes == 500
