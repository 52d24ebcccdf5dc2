"""The API's doors, served by one event loop: a unix socket, TCP for people, the wire for machines with certificates."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ncia.api.doors import CERTIFICATE, Door
from ncia.core.estate import Address

GRACE_SECONDS = 2
HEAD_BYTES_MAX = 64 * 1024


class _Server(uvicorn.Server):
    """A server that leaves signals to us: two of them run in one loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def unix_socket(path: Path) -> socket.socket:
    """A listening socket at ``path``, for the platform's own user only; a dead predecessor's file is replaced."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(128)
    return listener


def tcp_socket(address: Address) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address.host, address.port))
    listener.listen(128)
    return listener


@dataclass(frozen=True)
class Opening:
    """A listening socket, which door it is, and its TLS; at the wire a certificate is asked for and handed on.
    ``application``: what is served there, where it is not the whole API."""

    door: str
    listener: socket.socket
    tls: ssl.SSLContext | None = None
    application: Any = None


class _Certified(HttpToolsProtocol):
    """Tells the application whose certificate the connection was made with; takes no endless head of a request."""

    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))  # not asserted: uvloop's is none by inheritance
        self.app_state = {**self.app_state, CERTIFICATE: transport.get_extra_info("peercert")}

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self.send_400_response(f"the head of a request has at most {HEAD_BYTES_MAX} bytes")

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()


async def serve(application: Any, openings: Sequence[Opening]) -> None:
    """Serve every door until SIGTERM or SIGINT."""
    servers = [_server(Door(each.application or application, each.door), each.tls) for each in openings]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(s.serve(sockets=[each.listener]) for s, each in zip(servers, openings, strict=True)))


def _server(application: Any, tls: ssl.SSLContext | None) -> _Server:
    return _Server(
        uvicorn.Config(
            application,
            http=_Certified,
            ssl_context_factory=None if tls is None else lambda config, default: tls,
            log_config=None,
            access_log=False,
            lifespan="off",
            proxy_headers=False,  # nobody stands before these doors who could say for whom they ask
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=30,
        )
    )
