"""The warden's two doors, and how its peer knocks: control on a unix socket, confirmation over TCP.

Few requests, small and bounded: a request is one line, a few headers and a short JSON body, and at most
``AT_ONCE`` are served together.
"""

from __future__ import annotations

import hmac
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import httpx
import structlog

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Address
from recovery.fencing.files import Standing
from recovery.fencing.warden import Confirmation, Warden

AT_ONCE = 8
BODY_BYTES_MAX = 4096
REQUEST_SECONDS = 3.0
PEER_SECONDS = 1.0

Answer = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def control_routes(warden: Warden) -> dict[tuple[str, str], Answer]:
    """What the unix socket answers: for the controller and people of this site."""

    def resume(body: Mapping[str, Any]) -> Mapping[str, Any]:
        warden.resume_confirming()
        return warden.status()

    return {
        ("GET", "/status"): lambda body: warden.status(),
        ("POST", "/refresh"): lambda body: warden.refresh(),
        ("POST", "/stop-confirming"): lambda body: {"last_confirmation_boottime_ns": warden.stop_confirming()},
        ("POST", "/resume-confirming"): resume,
        ("POST", "/fence"): lambda body: warden.fence(str(body.get("reason", ""))[:200]),
        ("POST", "/unfence"): lambda body: warden.unfence(),
    }


def peer_routes(warden: Warden) -> dict[tuple[str, str], Answer]:
    """What the TCP door answers: for the peer's warden only."""

    def confirm(body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = warden.confirm(SiteId(str(body.get("site", ""))))
        systems = {
            system: {"epoch": s.epoch, "site": s.site, "held_by": s.held_by} for system, s in answer.systems.items()
        }
        return {"confirmed": answer.confirmed, "why": answer.why, "systems": systems}

    return {("POST", "/confirm"): confirm}


def open_control(path: Path, warden: Warden) -> socketserver.BaseServer:
    """Serve the warden's control door at ``path`` (mode 0600) in a thread of its own."""
    return open_unix(path, control_routes(warden))


def open_unix(path: Path, routes: Mapping[tuple[str, str], Answer]) -> socketserver.BaseServer:
    """Serve ``routes`` at ``path`` (mode 0600) in a thread of its own, to whoever may enter the folder."""
    path.unlink(missing_ok=True)
    mask = os.umask(0o177)
    try:
        server = _Unix(str(path), _handler(routes, ""))
    finally:
        os.umask(mask)
    return _start(server)


def open_peer(address: Address, token: str, warden: Warden) -> socketserver.BaseServer:
    """Serve the peer's door in a thread of its own; every request must bear ``token``."""
    if not token:
        raise NciaError("fencing.no-token", "open the warden's door", "peer_token is empty", "write secrets/peer_token")
    return _start(_Tcp((address.host, address.port), _handler(peer_routes(warden), token)))


class PeerDoor:
    """The peer's warden, asked over TCP."""

    def __init__(self, address: Address, token: str, *, seconds: float = PEER_SECONDS) -> None:
        headers = {"authorization": f"Bearer {token}"}
        self._http = httpx.Client(trust_env=False, timeout=seconds, headers=headers)
        self._url = f"http://{address}/confirm"

    def confirm(self, asker: SiteId) -> Confirmation:
        try:
            response = self._http.post(self._url, json={"site": asker})
            response.raise_for_status()
            told = response.json()
            systems = {
                SystemId(system): Standing(int(s["epoch"]), SiteId(s["site"]), held_by=str(s.get("held_by", "")))
                for system, s in told.get("systems", {}).items()
            }
            return Confirmation(told["confirmed"] is True, str(told["why"]), systems)
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError) as error:
            why = str(error) or type(error).__name__
            raise Unreachable(
                "fencing.no-peer", "ask the peer's warden", why, "see the link and that warden"
            ) from error


class _Bounded(socketserver.ThreadingMixIn):
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._places = threading.BoundedSemaphore(AT_ONCE)
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)  # type: ignore[attr-defined]
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Unix(_Bounded, socketserver.UnixStreamServer):
    pass


class _Tcp(_Bounded, socketserver.TCPServer):
    allow_reuse_address = True


def _start(server: socketserver.BaseServer) -> socketserver.BaseServer:
    threading.Thread(target=server.serve_forever, args=(0.5,), daemon=True).start()
    return server


def _handler(routes: Mapping[tuple[str, str], Answer], token: str) -> type[BaseHTTPRequestHandler]:
    log = structlog.get_logger()

    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = REQUEST_SECONDS

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def setup(self) -> None:
            super().setup()
            if self.connection.family != socket.AF_UNIX:
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def address_string(self) -> str:
            return "unix" if not self.client_address else str(self.client_address[0])

        def log_message(self, format: str, *args: Any) -> None:
            log.debug("request", line=format % args)

        def _serve(self, method: str) -> None:
            bearer = self.headers.get("authorization", "")
            if token and not hmac.compare_digest(bearer.encode(), f"Bearer {token}".encode()):
                self.close_connection = True
                return self._answer(HTTPStatus.UNAUTHORIZED, {"title": "the bearer token is not the peer's"})
            answer = routes.get((method, self.path))
            if answer is None:
                self.close_connection = True
                return self._answer(HTTPStatus.NOT_FOUND, {"title": f"no {method} {self.path} here"})
            try:
                return self._answer(HTTPStatus.OK, answer(self._body()))
            except NciaError as error:
                return self._answer(HTTPStatus.SERVICE_UNAVAILABLE, error.as_problem())
            except ValueError as error:
                self.close_connection = True
                return self._answer(HTTPStatus.BAD_REQUEST, {"title": f"bad request: {error}"})

        def _body(self) -> Mapping[str, Any]:
            length = int(self.headers.get("content-length", 0))
            if not 0 <= length <= BODY_BYTES_MAX:
                raise ValueError(f"a body has at most {BODY_BYTES_MAX} bytes")
            told = json.loads(self.rfile.read(length) or b"{}")
            if not isinstance(told, dict):
                raise ValueError("the body is not a JSON object")
            return told

        def _answer(self, status: HTTPStatus, told: Mapping[str, Any]) -> None:
            body = json.dumps(told, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Door
