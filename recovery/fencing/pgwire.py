"""As much of PostgreSQL's protocol as the gate needs: the first packets of a client, the server's greeting, an error.

Source: PostgreSQL 18 documentation, "Message Formats" and "Message Flow". Pure: bytes in, bytes out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum

STARTUP_BYTES_MAX = 10_000  # PostgreSQL's own limit (MAX_STARTUP_PACKET_LENGTH)
GREETING_MESSAGE_BYTES_MAX = 1_000_000
CANCEL_CODE = 80877102
SSL_CODE = 80877103
GSS_CODE = 80877104
NOT_HERE = b"N"  # the answer to a wish for TLS or GSS encryption: behind the gate is loopback or the site's own network
CANNOT_CONNECT_NOW = "57P03"
TOO_MANY_CONNECTIONS = "53300"


class First(Enum):
    """What a client's first bytes are."""

    INCOMPLETE = "incomplete"
    ENCRYPTION = "encryption"  # SSLRequest or GSSENCRequest: answer ``NOT_HERE`` and look at what follows
    CANCEL = "cancel"
    STARTUP = "startup"
    BAD = "bad"


@dataclass(frozen=True)
class Opening:
    kind: First
    length: int  # of the packet, in bytes


def opening(data: bytes) -> Opening:
    """The kind and length of the packet at the start of ``data``."""
    if len(data) < 8:
        return Opening(First.INCOMPLETE, 0)
    length, code = struct.unpack_from("!II", data)
    if not 8 <= length <= STARTUP_BYTES_MAX:
        return Opening(First.BAD, 0)
    if len(data) < length:
        return Opening(First.INCOMPLETE, 0)
    if code in (SSL_CODE, GSS_CODE):
        return Opening(First.ENCRYPTION if length == 8 else First.BAD, length)
    if code == CANCEL_CODE:
        return Opening(First.CANCEL, length)
    return Opening(First.STARTUP if code >> 16 == 3 else First.BAD, length)


def error_response(code: str, message: str) -> bytes:
    """A FATAL ErrorResponse."""
    fields = (b"SFATAL", b"VFATAL", b"C" + code.encode(), b"M" + message.encode())
    body = b"".join(field + b"\0" for field in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


def parameter_status(name: str, value: str) -> bytes:
    body = name.encode() + b"\0" + value.encode() + b"\0"
    return b"S" + struct.pack("!I", len(body) + 4) + body


class Greeting:
    """The server's messages up to its first ReadyForQuery, before which ``extra`` is put."""

    def __init__(self, extra: bytes) -> None:
        self._extra = extra
        self._held = b""
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """What may go on to the client now; raises ``ValueError`` on what is no message of PostgreSQL's."""
        if self.done:
            return data
        self._held += data
        ready = bytearray()
        while len(self._held) >= 5:
            kind = self._held[:1]
            if kind == b"Z":
                ready += self._extra + self._held
                self._held = b""
                self.done = True
                break
            (length,) = struct.unpack_from("!I", self._held, 1)
            if not 4 <= length <= GREETING_MESSAGE_BYTES_MAX:
                raise ValueError(f"a message {kind!r} of {length} bytes in the greeting")
            if len(self._held) < 1 + length:
                break
            ready += self._held[: 1 + length]
            self._held = self._held[1 + length :]
        return bytes(ready)
