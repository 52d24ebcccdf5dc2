from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.errors import NciaError
from ncia.lab.relay.frames import HEADER, PAYLOAD_BYTES_MAX, Decoder, Frame, Kind

FRAMES = st.builds(
    Frame, st.sampled_from(list(Kind)), st.integers(min_value=0, max_value=2**32 - 1), st.binary(max_size=300)
)


@given(st.lists(FRAMES, max_size=8), st.integers(min_value=1, max_value=64))
def test_frames_survive_being_cut_into_pieces_of_any_size(frames, size):
    wire = b"".join(frame.encode() for frame in frames)
    decoder = Decoder()
    told = [frame for start in range(0, len(wire), size) for frame in decoder.feed(wire[start : start + size])]
    assert told == frames


@pytest.mark.parametrize(
    "wire",
    [HEADER.pack(Kind.DATA, 1, PAYLOAD_BYTES_MAX + 1), HEADER.pack(max(Kind) + 1, 1, 0)],
    ids=["too long", "no such kind"],
)
def test_bytes_that_no_end_of_ours_sends_are_refused(wire):
    with pytest.raises(NciaError) as raised:
        list(Decoder().feed(wire))
    assert raised.value.code == "relay.bad-frame"
