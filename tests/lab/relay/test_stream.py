from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
import uvloop

from ncia.lab.relay.stream import READ_BYTES, READS_AT_ONCE, RESET_ON_CLOSE, Stream

LOOPS = pytest.mark.parametrize("run", [uvloop.run, asyncio.run], ids=["uvloop", "asyncio"])


class Owner:
    def __init__(self) -> None:
        self.bytes = 0
        self.over = asyncio.Event()
        self.error: OSError | None = None

    def received(self, data: bytes) -> None:
        self.bytes += len(data)

    def ended(self) -> None:
        self.over.set()

    def lost(self, error: OSError) -> None:
        self.error = error
        self.over.set()

    def drained(self) -> None:
        """Nothing is written here."""


@LOOPS
@pytest.mark.parametrize("size", [0, 1, READ_BYTES, READ_BYTES * READS_AT_ONCE + 1])
def test_a_reset_is_heard_also_when_it_comes_with_the_last_bytes(run: Callable[..., None], size: int) -> None:
    """The loop sees both at once and tells of them once."""
    assert struct.unpack("ii", RESET_ON_CLOSE) == (1, 0)

    async def scene() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            far = socket.socket()
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * size + 4096)
            far.connect(listener.getsockname())
            near, _ = listener.accept()
            near.setblocking(False)
            owner = Owner()
            far.setblocking(False)
            sent = far.send(bytes(size)) if size else 0
            far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            far.close()
            Stream(near, owner)
            async with asyncio.timeout(10):
                await owner.over.wait()
            assert isinstance(owner.error, ConnectionResetError)
            assert owner.bytes <= sent

    run(scene())
