"""HTTP/1.1, as much of it as the hosted systems and the citizens' side need: small bodies, keep-alive, hard bounds.

``listen`` serves a handler; ``send`` makes one request on a connection of its own, ``Connection`` many on one, and
``Reads`` those that may be repeated on any that is kept. They tell apart what an honest caller must: :class:`NotSent`
(the other side cannot have acted) and :class:`NoAnswer` (nobody knows).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.estate.model import Address
from ncia.lab.logs import AccessLog

HEAD_BYTES_MAX = 16 * 1024
BODY_BYTES_MAX = 256 * 1024
CONNECTIONS_MAX = 256
IDLE_SECONDS_MAX = 30.0
IDLE_MAX = 4  # connections that are kept to one address for the next read
BACKLOG = 128


class NotSent(Unreachable):
    """No connection: the request did not leave, the other side cannot have acted."""


class NoAnswer(Unreachable):
    """The request left and no whole answer came: the outcome is unknown."""


@dataclass(frozen=True)
class Request:
    """``path`` is without its query; header names are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    target: str = ""
    peer: str = ""  # the caller's address

    def json(self) -> dict[str, Any]:
        """The body as an object; raises :class:`ValueError` where it is none."""
        told = json.loads(self.body)
        if not isinstance(told, dict):
            raise ValueError("a JSON object is needed")
        return told


@dataclass(frozen=True)
class Answer:
    """Header names are in lower case where the answer was received."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(cls, status: int, told: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Answer:
        body = json.dumps(told, ensure_ascii=False).encode()
        return cls(status, {"Content-Type": "application/json", **(headers or {})}, body)

    def json(self) -> dict[str, Any]:
        """The body as an object; empty where it is none (a broken answer says nothing)."""
        try:
            told = json.loads(self.body)
        except ValueError:
            return {}
        return told if isinstance(told, dict) else {}


Handler = Callable[[Request], Awaitable[Answer]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Broken(Exception):
    """What came is not HTTP as we speak it; ``status`` is the answer."""

    def __init__(self, status: int) -> None:
        self.status = status


async def listen(handler: Handler, address: Address, access: AccessLog | None = None) -> asyncio.Server:
    """Serve ``handler`` at ``address``; at most ``CONNECTIONS_MAX`` connections, those above are closed at once.
    Each answer is a line of ``access``."""
    open_connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_connections
        if open_connections >= CONNECTIONS_MAX:
            writer.transport.abort()
            return
        open_connections += 1
        try:
            await _serve_connection(handler, reader, writer, access)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the caller went away: there is nobody left to tell
        finally:
            open_connections -= 1
            writer.close()

    return await asyncio.start_server(serve, address.host, address.port, limit=HEAD_BYTES_MAX, backlog=BACKLOG)


async def _serve_connection(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, access: AccessLog | None
) -> None:
    keep = True
    peer = str((writer.get_extra_info("peername") or ("-",))[0])
    while keep:
        try:
            async with asyncio.timeout(IDLE_SECONDS_MAX):
                request = await _read_request(reader, peer)
        except _Broken as broken:
            _write_answer(writer, Answer.of(broken.status, {"error": HTTPStatus(broken.status).phrase}), keep=False)
            return
        if request is None:
            return
        keep = request.headers.get("connection", "").lower() != "close"
        answer = await _answer(handler, request)
        _write_answer(writer, answer, keep)
        if access is not None:
            line = f"{request.method} {request.target or request.path} HTTP/1.1"
            access.answered(peer, line, request.headers, answer.status, len(answer.body))
        await writer.drain()


async def _answer(handler: Handler, request: Request) -> Answer:
    """One broad catch, where a fault of ours becomes an answer instead of a silent close."""
    try:
        return await handler(request)
    except NciaError as error:
        return Answer.of(500, {"error": str(error)})
    except Exception:
        structlog.get_logger("http").exception("request failed", method=request.method, path=request.path)
        return Answer.of(500, {"error": "internal error"})


async def send(
    address: Address,
    request: Request,
    *,
    connect_seconds: float,
    seconds: float,
) -> Answer:
    """One request on a new connection, answered whole within ``seconds`` of connecting.

    Raises :class:`NotSent` and :class:`NoAnswer`.
    """
    what = f"{request.method} {request.path} at {address}"
    try:
        async with asyncio.timeout(min(connect_seconds, seconds)):
            reader, writer = await asyncio.open_connection(address.host, address.port, limit=HEAD_BYTES_MAX)
    except (OSError, TimeoutError) as error:
        raise NotSent("http.not-sent", what, str(error) or "no connection in time") from error
    try:
        async with asyncio.timeout(seconds):
            writer.write(_request_bytes(address, request))
            return await _read_answer(reader)
    except (OSError, EOFError, TimeoutError, ValueError, _Broken) as error:
        raise NoAnswer("http.no-answer", what, str(error) or "no answer in time") from error
    finally:
        writer.transport.abort() if sys.exc_info()[0] else writer.close()


class Connection:
    """Requests one after the other on one kept connection. A request is never sent twice: where the connection has
    died meanwhile this one fails, and the next one opens another."""

    def __init__(self, address: Address, *, connect_seconds: float, seconds: float) -> None:
        self._address = address
        self._connect_seconds = connect_seconds
        self._seconds = seconds
        self._streams: Streams | None = None

    async def ask(self, request: Request) -> Answer:
        """The whole answer; raises :class:`NotSent` and :class:`NoAnswer`."""
        what = f"{request.method} {request.path} at {self._address}"
        reader, writer = self._streams or await self._open(what)
        self._streams = None
        try:
            async with asyncio.timeout(self._seconds):
                writer.write(_request_bytes(self._address, request, "keep-alive"))
                answer = await _read_answer(reader)
        except (OSError, EOFError, TimeoutError, ValueError, _Broken) as error:
            raise NoAnswer("http.no-answer", what, str(error) or "no answer in time") from error
        else:
            if answer.headers.get("connection", "").lower() != "close":
                self._streams = (reader, writer)
            return answer
        finally:
            if self._streams is None:
                writer.transport.abort()

    async def _open(self, what: str) -> Streams:
        try:
            async with asyncio.timeout(self._connect_seconds):
                return await asyncio.open_connection(self._address.host, self._address.port, limit=HEAD_BYTES_MAX)
        except (OSError, TimeoutError) as error:
            raise NotSent("http.not-sent", what, str(error) or "no connection in time") from error


class Reads:
    """Requests that may be sent twice, over connections that are kept by address: one that waits idle has cost its
    handshake, and an entry of the citizens is read every second. Where a kept one has died meanwhile the request is
    sent once more, on a new one and within the same time; one that is silent is not asked again."""

    def __init__(self) -> None:
        self._idle: dict[Address, list[Streams]] = {}

    async def send(self, address: Address, request: Request, *, connect_seconds: float, seconds: float) -> Answer:
        """As :func:`send`."""
        what, end = f"{request.method} {request.path} at {address}", asyncio.get_running_loop().time() + seconds
        kept = self._take(address)
        if kept is not None:
            try:
                return await self._over(kept, address, request, end)
            except TimeoutError as error:
                raise NoAnswer("http.no-answer", what, "no answer in time") from error
            except (OSError, EOFError, ValueError, _Broken):
                pass  # it had died while nobody looked
        try:
            async with asyncio.timeout(connect_seconds), asyncio.timeout_at(end):
                fresh = await asyncio.open_connection(address.host, address.port, limit=HEAD_BYTES_MAX)
        except (OSError, TimeoutError) as error:
            raise NotSent("http.not-sent", what, str(error) or "no connection in time") from error
        try:
            return await self._over(fresh, address, request, end)
        except (OSError, EOFError, TimeoutError, ValueError, _Broken) as error:
            raise NoAnswer("http.no-answer", what, str(error) or "no answer in time") from error

    def _take(self, address: Address) -> Streams | None:
        """The connection that was used last and is open still; what is not is closed."""
        idle = self._idle.get(address, [])
        while idle:
            reader, writer = idle.pop()
            if not reader.at_eof() and not writer.is_closing():
                return reader, writer
            writer.transport.abort()
        return None

    async def _over(self, streams: Streams, address: Address, request: Request, end: float) -> Answer:
        reader, writer = streams
        keep = False
        try:
            async with asyncio.timeout_at(end):
                writer.write(_request_bytes(address, request, "keep-alive"))
                answer = await _read_answer(reader)
            keep = answer.headers.get("connection", "").lower() != "close"
            return answer
        finally:
            idle = self._idle.setdefault(address, [])
            if keep and len(idle) < IDLE_MAX:
                idle.append(streams)
            else:  # also where whoever asked gave up: the answer would be taken for another question's
                writer.transport.abort()


def _request_bytes(address: Address, request: Request, connection: str = "close") -> bytes:
    lines = [f"{request.method} {request.target or request.path} HTTP/1.1", f"host: {address}"]
    lines.append(f"connection: {connection}")
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines.append(f"content-length: {len(request.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + request.body


async def _read_request(reader: asyncio.StreamReader, peer: str) -> Request | None:
    """The next request; ``None`` where the caller has closed between requests."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError:
        raise _Broken(431) from None
    first, headers = _parse_head(head)
    if len(first) != 3 or not first[2].startswith("HTTP/1."):
        raise _Broken(400)
    split = urlsplit(first[1])
    body = await _read_body(reader, headers)
    return Request(first[0], split.path, dict(parse_qsl(split.query)), headers, body, first[1], peer)


async def _read_answer(reader: asyncio.StreamReader) -> Answer:
    try:
        first, headers = _parse_head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.LimitOverrunError:
        raise _Broken(502) from None
    if len(first) < 2 or not first[0].startswith("HTTP/1.") or "content-length" not in headers:
        raise _Broken(502)
    return Answer(int(first[1]), headers, await _read_body(reader, headers))


def _parse_head(head: bytes) -> tuple[list[str], dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    return lines[0].split(" ", 2), headers


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "transfer-encoding" in headers:
        raise _Broken(501)
    told = headers.get("content-length", "0")
    if not told.isascii() or not told.isdigit():
        raise _Broken(400)
    if int(told) > BODY_BYTES_MAX:
        raise _Broken(413)
    return await reader.readexactly(int(told)) if int(told) else b""


def _write_answer(writer: asyncio.StreamWriter, answer: Answer, keep: bool) -> None:
    lines = [f"HTTP/1.1 {answer.status} {_phrase(answer.status)}"]
    lines += [f"{name}: {value}" for name, value in answer.headers.items()]
    lines += [f"Content-Length: {len(answer.body)}", f"Connection: {'keep-alive' if keep else 'close'}"]
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + answer.body)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
