"""Real local servers that behave as a test tells them to, and a clock that a test owns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from monitors.ports import Standing
from ncia.core.base.ids import SystemId
from ncia.core.estate.model import Address
from tests.ports import free_port

Reply = Callable[[bytes], bytes | None]


def reply(status: int, body: bytes = b"{}", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


@dataclass
class HttpServer:
    """Answers each request by ``answer(request)``; ``None`` is silence. Counts connections and requests."""

    answer: Reply
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    address: Address = field(default_factory=lambda: Address("127.0.0.1", 0))
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (
                        int(line.split(b":")[1])
                        for line in head.split(b"\r\n")
                        if line.lower().startswith(b"content-len")
                    ),
                    0,
                )
                request = head + await reader.readexactly(length)
                self.requests.append(request)
                answer = self.answer(request)
                if answer is not None:
                    writer.write(answer)
        writer.close()

    def hang_up(self) -> None:
        for writer in self.writers:
            writer.close()
        self.writers.clear()


@contextlib.asynccontextmanager
async def http_server(answer: Reply, port: int = 0) -> AsyncIterator[HttpServer]:
    server = HttpServer(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", port)
    server.address = Address(*listening.sockets[0].getsockname()[:2])
    try:
        yield server
    finally:
        listening.close()
        server.hang_up()


def free_address() -> Address:
    """An address at which nobody listens."""
    return Address("127.0.0.1", free_port())


@dataclass
class SetClock:
    moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    boottime: int = 0

    def now(self) -> datetime:
        return self.moment

    def boottime_ns(self) -> int:
        return self.boottime

    def go(self, seconds: float) -> datetime:
        self.moment += timedelta(seconds=seconds)
        return self.moment


@dataclass
class SetRoles:
    standings: dict[str, Standing] = field(default_factory=dict)

    def of(self, system: SystemId) -> Standing | None:
        return self.standings.get(system)
