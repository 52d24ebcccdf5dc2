from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recovery.fencing.pgwire import (
    CANCEL_CODE,
    GSS_CODE,
    SSL_CODE,
    First,
    Greeting,
    Opening,
    error_response,
    opening,
    parameter_status,
)

READY = b"Z" + struct.pack("!I", 5) + b"I"


def packet(code: int, body: bytes = b"") -> bytes:
    return struct.pack("!II", 8 + len(body), code) + body


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Opening(First.INCOMPLETE, 0)),
        (packet(196608, b"user\0a\0\0")[:-1], Opening(First.INCOMPLETE, 0)),
        (packet(196608, b"user\0a\0\0"), Opening(First.STARTUP, 16)),
        (packet(196610, b"user\0a\0\0"), Opening(First.STARTUP, 16)),
        (packet(SSL_CODE) + b"more", Opening(First.ENCRYPTION, 8)),
        (packet(GSS_CODE), Opening(First.ENCRYPTION, 8)),
        (packet(CANCEL_CODE, b"12345678"), Opening(First.CANCEL, 16)),
        (packet(131072, b"old"), Opening(First.BAD, 11)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", Opening(First.BAD, 0)),
        (b"GET / HTTP/1.1", Opening(First.BAD, 0)),
    ],
)
def test_a_client_s_first_packet_is_told_by_kind_and_length(data: bytes, expected: Opening) -> None:
    assert opening(data) == expected


@given(
    st.lists(st.tuples(st.sampled_from(b"RSKNv"), st.binary(max_size=40)), max_size=8),
    st.binary(max_size=60),
    st.integers(1, 50),
)
def test_the_parameter_comes_right_before_the_first_ready_however_the_bytes_are_cut(
    messages: list[tuple[int, bytes]], after: bytes, size: int
) -> None:
    head = b"".join(bytes([kind]) + struct.pack("!I", 4 + len(body)) + body for kind, body in messages)
    extra = parameter_status("ncia_epoch", "3")
    greeting = Greeting(extra)
    sent = head + READY + after
    got = b"".join(greeting.feed(sent[start : start + size]) for start in range(0, len(sent), size))
    assert got == head + extra + READY + after
    assert greeting.done


def test_a_greeting_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="greeting"):
        Greeting(b"").feed(b"HTTP/1.1 200 OK")


def test_an_error_without_a_ready_passes_as_it_is() -> None:
    error = error_response("57P03", "not now")
    assert Greeting(b"extra").feed(error) == error
