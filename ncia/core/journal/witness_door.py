"""The witness' door: HTTP over TLS, few requests, small and bounded; whoever dials shows a centre's certificate.

``POST /add-checkpoint`` is tlog-witness' own; ``GET /heads/<site>`` tells what was cosigned last. ``POST /keep`` also
keeps entries, which ``GET /kept/<site>`` gives back, one JSON object a line.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

import structlog

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.journal.kept import Keeper, read_keep
from ncia.core.journal.witness import Conflict, Witness, read_ask

AT_ONCE = 8
STRANGERS_AT_ONCE = 128  # who have shown no certificate yet
HANDSHAKE_SECONDS = 2.0
HEAD_BYTES = 16 * 1024
BODY_BYTES_MAX = 8 * 1024 * 1024  # a plan of a whole site, with its approvals
REQUEST_SECONDS = 5.0
TEXT, SIZE = "text/plain; charset=utf-8", "text/x.tlog.size"
HEADS, KEPT = "/heads/", "/kept/"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Answer:
    status: HTTPStatus
    text: str
    kind: str = TEXT


Route = Callable[[str, str], Answer]  # (what follows the path, the body)


def routes(witness: Witness, keeper: Keeper) -> dict[tuple[str, str], Route]:
    """What is answered, by method and path; a path that ends in ``/`` takes a last word."""

    def add_checkpoint(rest: str, body: str) -> Answer:
        return Answer(HTTPStatus.OK, witness.add(read_ask(body)).line())

    def head(rest: str, body: str) -> Answer:
        found = witness.head(SiteId(rest))
        return Answer(HTTPStatus.OK, found.note()) if found else Answer(HTTPStatus.NOT_FOUND, "nothing was cosigned\n")

    def keep(rest: str, body: str) -> Answer:
        return Answer(HTTPStatus.OK, keeper.keep(read_keep(body)).line())

    def kept(rest: str, body: str) -> Answer:
        known = witness.head(SiteId(rest)) is not None  # no name of a request reaches the file system before
        return Answer(HTTPStatus.OK, "".join(f"{each}\n" for each in keeper.kept(SiteId(rest))) if known else "")

    return {
        ("POST", "/add-checkpoint"): add_checkpoint,
        ("POST", "/keep"): keep,
        ("GET", HEADS): head,
        ("GET", KEPT): kept,
    }


def answer(route: Route, rest: str, body: str) -> Answer:
    """What the route answers; errors as tlog-witness tells them."""
    try:
        return route(rest, body)
    except Conflict as conflict:
        return Answer(HTTPStatus.CONFLICT, f"{conflict.size}\n", SIZE)
    except Refusal as refusal:
        forged = refusal.code == "witness.forged-head"
        return Answer(HTTPStatus.FORBIDDEN if forged else HTTPStatus.UNPROCESSABLE_ENTITY, f"{refusal.why}\n")
    except NciaError as error:
        return Answer(HTTPStatus.BAD_REQUEST, f"{error.why}\n")


def open_door(
    address: tuple[str, int], tls: ssl.SSLContext, callers: Collection[str], witness: Witness, keeper: Keeper
) -> socketserver.BaseServer:
    """Serve ``witness`` and ``keeper`` in a thread of their own, to whoever shows a certificate that ``tls`` takes,
    of a name in ``callers`` (``serve.<centre>.ncia``)."""
    server = _Tcp(address, _handler(routes(witness, keeper)), tls, frozenset(callers))
    threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()
    return server


class _Tcp(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self,
        address: tuple[str, int],
        handler: type[BaseHTTPRequestHandler],
        tls: ssl.SSLContext,
        callers: frozenset[str],
    ) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        self._strangers = threading.BoundedSemaphore(STRANGERS_AT_ONCE)
        self._tls = tls
        self._callers = callers
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._strangers.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._strangers.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In a thread of its own, the handshake too. Whoever has not shown a caller's certificate yet takes a place
        among many strangers, and none of the few that callers have."""
        try:
            known = self._shaken(request, client_address)
        finally:
            self._strangers.release()
        if known is None:
            return
        if not self._places.acquire(blocking=False):
            self.shutdown_request(known)
            return
        try:
            super().process_request_thread(known, client_address)
        finally:
            self._places.release()

    def _shaken(self, request: Any, client_address: Any) -> ssl.SSLSocket | None:
        """The connection of a caller; anybody else is told so, or hung up on."""
        request.settimeout(HANDSHAKE_SECONDS)
        try:
            known = self._tls.wrap_socket(request, server_side=True)
        except OSError as error:
            _log.info("witness.no-handshake", client=client_address[0], why=str(error))
            self.shutdown_request(request)
            return None
        names = _names(known.getpeercert())
        if names & self._callers:
            return known
        told = f"the witness is for the centres' controllers; this is {', '.join(sorted(names)) or 'nobody'}\n"
        with contextlib.suppress(OSError):
            known.recv(HEAD_BYTES)  # what was asked: an answer over unread bytes would be lost in a reset
            known.sendall(f"HTTP/1.0 403 Forbidden\r\ncontent-type: {TEXT}\r\n\r\n{told}".encode())
        self.shutdown_request(known)
        return None


def _names(certificate: Any) -> frozenset[str]:
    """Whom a verified certificate is for (``getpeercert``'s answer)."""
    return frozenset(name for kind, name in (certificate or {}).get("subjectAltName", ()) if kind == "DNS")


def _handler(known: dict[tuple[str, str], Route]) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        timeout = REQUEST_SECONDS

        def setup(self) -> None:
            super().setup()
            self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def log_message(self, format: str, *args: Any) -> None:
            _log.debug("witness.request", line=format % args)

        def _serve(self, method: str) -> None:
            place, _, word = self.path.rpartition("/")
            route, rest = known.get((method, self.path)), ""
            if route is None:
                route, rest = known.get((method, f"{place}/")), word
            try:
                body = self._body()
            except ValueError as error:
                return self._send(Answer(HTTPStatus.BAD_REQUEST, f"{error}\n"))
            if route is None:
                return self._send(Answer(HTTPStatus.NOT_FOUND, f"no {method} {self.path} here\n"))
            return self._send(answer(route, rest, body))

        def _body(self) -> str:
            length = int(self.headers.get("content-length", 0))
            if not 0 <= length <= BODY_BYTES_MAX:
                raise ValueError(f"a body has at most {BODY_BYTES_MAX} bytes")
            return self.rfile.read(length).decode("utf-8")

        def _send(self, told: Answer) -> None:
            body = told.text.encode()
            self.send_response(told.status)
            self.send_header("content-type", told.kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Door
