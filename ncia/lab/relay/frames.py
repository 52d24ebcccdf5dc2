"""What travels between two ends: frames of a kind, a channel number and a payload. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from ncia.core.base.errors import NciaError

HEADER = struct.Struct(">BII")  # kind, channel, length of the payload
COUNT = struct.Struct(">I")
PAYLOAD_BYTES_MAX = 16 * 1024  # what one channel may put between two frames of another


class Kind(IntEnum):
    HELLO = 0  # payload: site id; the first frame each way
    OPEN = 1  # payload: host:port of the service at the receiver's site
    DATA = 2
    CREDIT = 3  # payload: bytes that the receiver has passed on
    END = 4  # no more bytes in this direction (FIN)
    RESET = 5  # the connection is gone (RST)


KINDS = tuple(Kind)  # by number: a look into a tuple is a tenth of what the enumeration asks for


class Frame(NamedTuple):
    kind: Kind
    channel: int
    payload: bytes = b""

    def encode(self) -> bytes:
        return HEADER.pack(self.kind, self.channel, len(self.payload)) + self.payload


class Decoder:
    """Bytes in any pieces to frames in order."""

    def __init__(self) -> None:
        self._held = b""  # less than a frame

    def feed(self, received: bytes) -> Iterator[Frame]:
        """Raises :class:`NciaError` on bytes that no end of ours sends."""
        if self._held:
            received = self._held + received
        start, size = 0, len(received)
        while size - start >= HEADER.size:
            kind, channel, length = HEADER.unpack_from(received, start)
            if length > PAYLOAD_BYTES_MAX or kind >= len(KINDS):
                raise NciaError("relay.bad-frame", "read a frame", f"kind {kind} with {length} bytes")
            after = start + HEADER.size + length
            if size < after:
                break
            yield Frame(KINDS[kind], channel, received[start + HEADER.size : after])
            start = after
        self._held = received[start:]
