"""One HTTP/1.1 exchange at a time over a connection of its own, under an absolute time-out.

Bare asyncio protocols, because an agent makes hundreds of these a second and a general client costs ten times the CPU.
A kept connection is used again; where it turns out to be stale, a read is sent once more on a fresh one inside the same
time-out. While an exchange is under way, another one on the same :class:`Wire` dials a connection of its own.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from ncia.core.alerts.words import HANGS
from ncia.core.estate.model import Address

BODY_BYTES_MAX = 64 * 1024
HEAD_BYTES_MAX = 16 * 1024


@dataclass(frozen=True)
class Answer:
    """``headers`` have lower-case names; a body is cut at :data:`BODY_BYTES_MAX`."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoAnswer(Exception):
    """``code`` is ``timeout``, ``refused`` or ``broken``; the text is one clause for a person."""

    def __init__(self, code: str, why: str) -> None:
        self.code = code
        super().__init__(why)


Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[tuple[asyncio.BaseTransport, asyncio.BaseProtocol]]]


def tcp(address: Address) -> Dial:
    return lambda factory: asyncio.get_running_loop().create_connection(factory, address.host, address.port)


def tls(address: Address, context: ssl.SSLContext, server_name: str) -> Dial:
    """Over TLS, to whoever proves to be ``server_name``, whatever the address is translated to."""
    return lambda factory: asyncio.get_running_loop().create_connection(
        factory, address.host, address.port, ssl=context, server_hostname=server_name
    )


def unix(path: Path) -> Dial:
    return lambda factory: asyncio.get_running_loop().create_unix_connection(factory, str(path))


class Wire:
    """The way to one HTTP server. ``ask`` ends within ``timeout_seconds`` whatever the server does."""

    def __init__(self, dial: Dial, where: str, timeout_seconds: float) -> None:
        self._dial = dial
        self._where = where
        self._timeout_seconds = timeout_seconds
        self._idle: _Exchange | None = None

    @property
    def connected(self) -> bool:
        """Whether a connection is kept that was open when last heard of."""
        return self._idle is not None and self._idle.usable

    async def ask(self, request: bytes, *, again_when_stale: bool = True) -> Answer:
        """Send and wait for the whole answer; raises :class:`NoAnswer`. ``again_when_stale`` only for what may be
        carried out twice."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_seconds
        kept, self._idle = self._idle, None
        if kept is not None and kept.usable:
            try:
                return await self._over(kept, request, end)
            except NoAnswer as error:
                if error.code != "broken" or kept.heard or not again_when_stale:
                    raise
        return await self._over(await self._open(end), request, end)

    async def close(self) -> None:
        if self._idle is not None:
            self._idle.abort()
            self._idle = None

    async def _open(self, end: float) -> _Exchange:
        try:
            async with asyncio.timeout_at(end):
                _, protocol = await self._dial(_Exchange)
        except TimeoutError:
            raise NoAnswer("timeout", f"no connection to {self._where} in {self._timeout_seconds:g} s") from None
        except OSError as error:
            raise NoAnswer("refused", f"{self._where} refused: {error.strerror or error}") from None
        assert isinstance(protocol, _Exchange)  # noqa: S101 - we made it
        return protocol

    async def _over(self, exchange: _Exchange, request: bytes, end: float) -> Answer:
        loop = asyncio.get_running_loop()
        answered = exchange.start(request, loop)
        timer = loop.call_at(end, exchange.expire)
        try:
            answer = await answered
        except TimeoutError:
            raise NoAnswer("timeout", f"{HANGS} {self._where} in {self._timeout_seconds:g} s") from None
        except ConnectionError as error:
            raise NoAnswer("broken", f"{self._where} broke off: {error}") from None
        except asyncio.CancelledError:
            exchange.abort()
            raise
        finally:
            timer.cancel()
        if exchange.usable and self._idle is None:
            self._idle = exchange
        else:
            exchange.abort()
        return answer


class _Exchange(asyncio.Protocol):
    """One connection: parses just enough HTTP/1.1 (length, chunks, or until closed)."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[Answer] | None = None
        self._buffer = bytearray()
        self._head: tuple[int, dict[str, str], int] | None = None  # status, headers, where the body begins
        self.usable = False
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # not asserted: uvloop's is none by inheritance
        self.usable = True

    def start(self, request: bytes, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Answer]:
        self._answered = loop.create_future()
        self._buffer.clear()
        self._head = None
        self.heard = False
        if self._transport is None or self._transport.is_closing():
            self._fail(ConnectionResetError("closed before the request"))
        else:
            self._transport.write(request)
        return self._answered

    def expire(self) -> None:
        self._fail(TimeoutError())

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._answered is None or self._answered.done():
            self.abort()  # nobody asked: the two sides disagree about where they are
            return
        self.heard = True
        self._buffer += data
        if self._head is None and not self._read_head():
            return
        self._read_body(ended=False)

    def eof_received(self) -> None:
        self.usable = False
        if self._head is not None:
            self._read_body(ended=True)

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        self._fail(ConnectionResetError(str(error) if error else "the other side closed"))

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                self._fail(ConnectionResetError("a head too long for HTTP"))
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        words = lines[0].split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
            self._fail(ConnectionResetError("no HTTP"))
            return False
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        self._head = (int(words[1]), headers, end + 4)
        return True

    def _read_body(self, *, ended: bool) -> None:
        if self._head is None:
            return
        status, headers, start = self._head
        length = headers.get("content-length")
        if status in (204, 304):
            body: bytes | None = b""
        elif "chunked" in headers.get("transfer-encoding", ""):
            try:
                body = _unchunked(self._buffer, start)
            except ValueError:
                self._fail(ConnectionResetError("chunks that are none"))
                return
        elif length is not None and length.isdigit():
            body = (
                bytes(self._buffer[start : start + int(length)]) if len(self._buffer) >= start + int(length) else None
            )
        else:
            body = bytes(self._buffer[start:]) if ended else None
        if body is None and len(self._buffer) - start > BODY_BYTES_MAX:
            body, self.usable = bytes(self._buffer[start : start + BODY_BYTES_MAX]), False
        if body is None:
            return
        if headers.get("connection", "").lower() == "close":
            self.usable = False
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(Answer(status, headers, body))

    def _fail(self, error: Exception) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)
            self.abort()


def _unchunked(buffer: bytearray, at: int) -> bytes | None:
    """The body of a chunked answer; ``None`` while its end has not come."""
    parts: list[bytes] = []
    while True:
        line = buffer.find(b"\r\n", at)
        if line < 0:
            return None
        size = int(bytes(buffer[at:line]).split(b";")[0] or b"0", 16)
        if size == 0:
            return b"".join(parts)
        if len(buffer) < line + 2 + size + 2:
            return None
        parts.append(bytes(buffer[line + 2 : line + 2 + size]))
        at = line + 2 + size + 2


def request(method: str, path: str, host: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> bytes:
    """The bytes of a request, made once per target or report."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: ncia-agent"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body or method != "GET":
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
