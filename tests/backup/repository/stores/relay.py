"""Between a client and a real server: a connection that is cut at a byte, an HTTP server whose answers go astray."""

from __future__ import annotations

import hashlib
import http.client
import socket
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ncia.core.estate.model import Address
from tests.ports import free_port

SLOW_DOWN = (
    b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)


class Relay:
    """Carries TCP to ``target``. Armed by :meth:`cut_after`, it lets so many bytes more pass on their way there, then
    cuts that connection, once."""

    def __init__(self, target: Address) -> None:
        self._target = target
        self._lock = threading.Lock()
        self._left: int | None = None
        self._deaf = False
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", free_port()))
        self.address = Address(*self._listener.getsockname())
        self._open: set[socket.socket] = {self._listener}
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_after(self, sent_bytes: int) -> None:
        """… with what the server says in answer to them."""
        with self._lock:
            self._left, self._deaf = sent_bytes, False

    def deafen_after(self, sent_bytes: int) -> None:
        """All that is sent arrives; after so many bytes of it the next word of the server cuts, and is lost."""
        with self._lock:
            self._left, self._deaf = sent_bytes, True

    def spare(self) -> None:
        with self._lock:
            self._left = None

    def close(self) -> None:
        with self._lock:
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection((self._target.host, self._target.port))
                with self._lock:
                    self._open |= {near, far}
                for source, sink, there in ((near, far, True), (far, near, False)):
                    threading.Thread(target=self._carry, args=(source, sink, there), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, there: bool) -> None:
        with suppress(OSError):
            while piece := source.recv(16_384):
                passing, cut = self._passing(len(piece), there)
                sink.sendall(piece[:passing])
                if cut:
                    break
        for each in (source, sink):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _passing(self, size: int, there: bool) -> tuple[int, bool]:
        with self._lock:
            if self._left is None:
                return size, False
            if self._deaf:
                if there:
                    self._left = max(0, self._left - size)
                    return size, False
                cut = self._left == 0
                passing = 0 if cut else size
            else:
                passing = min(size, self._left) if there else size
                self._left -= passing if there else 0
                cut = self._left == 0
            if cut:
                self._left, self.cuts = None, self.cuts + 1
            return passing, cut


class Astray(StrEnum):
    SLOW_DOWN = "503 SlowDown, and nothing is done"
    LOST = "it is done, and the answer does not come"
    CUT = "half of the body is passed on, then the connection ends on both sides"
    NOTHING = "200 with the right ETag, and nothing is done"
    FALSE = "the answer's body is cut short"


class Wayward:
    """Carries HTTP to ``target``. What is in ``plan`` happens to the next requests with that method, in turn."""

    def __init__(self, target: Address) -> None:
        self.plan: dict[str, deque[Astray]] = {}
        self.seen: list[str] = []
        wayward = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.carry
                raise AttributeError(name)

            def carry(self) -> None:
                wayward.carry(self, target)

            def log_message(self, format: str, *args: object) -> None:
                """Tests are told by what they assert."""

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self.address = Address("127.0.0.1", self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def carry(self, asked: BaseHTTPRequestHandler, target: Address) -> None:
        planned = self.plan.get(asked.command)
        astray = planned.popleft() if planned else None
        self.seen.append(f"{asked.command} {astray.name if astray else ''}".strip())
        body = asked.rfile.read(int(asked.headers.get("Content-Length") or 0))
        if astray is Astray.SLOW_DOWN:
            self._answer(asked, 503, [("Content-Type", "application/xml")], SLOW_DOWN)
        elif astray is Astray.NOTHING:
            tag = hashlib.md5(body, usedforsecurity=False).hexdigest()
            self._answer(asked, 200, [("ETag", f'"{tag}"')], b"")
        elif astray is Astray.CUT:
            self._pass_on(asked, target, body[: len(body) // 2]).close()
            asked.close_connection = True
        else:
            with self._pass_on(asked, target, body) as link:
                told = http.client.HTTPResponse(link, method=asked.command)
                told.begin()
                content = told.read()
            if astray is Astray.LOST:
                asked.close_connection = True
                return
            headers = [(k, v) for k, v in told.getheaders() if k.lower() not in ("connection", "transfer-encoding")]
            length = told.getheader("Content-Length") or str(len(content))
            headers = [(k, v) for k, v in headers if k.lower() != "content-length"] + [("Content-Length", length)]
            if astray is Astray.FALSE:
                content, asked.close_connection = content[: len(content) // 2], True
            self._answer(asked, told.status, headers, content)

    @staticmethod
    def _pass_on(asked: BaseHTTPRequestHandler, target: Address, body: bytes) -> socket.socket:
        link = socket.create_connection((target.host, target.port))
        kept = [f"{k}: {v}\r\n" for k, v in asked.headers.items() if k.lower() not in ("expect", "connection")]
        head = f"{asked.command} {asked.path} HTTP/1.1\r\n{''.join(kept)}Connection: close\r\n\r\n"
        link.sendall(head.encode("latin-1") + body)
        return link

    @staticmethod
    def _answer(asked: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        asked.send_response_only(status)
        if not any(k.lower() == "content-length" for k, _ in headers):
            headers = [*headers, ("Content-Length", str(len(body)))]
        for name, value in headers:
            asked.send_header(name, value)
        asked.end_headers()
        asked.wfile.write(body)


@contextmanager
def relayed(target: Address) -> Iterator[Relay]:
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()


@contextmanager
def wayward(target: Address) -> Iterator[Wayward]:
    found = Wayward(target)
    try:
        yield found
    finally:
        found.close()
