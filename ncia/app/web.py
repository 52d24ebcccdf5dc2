"""The API's doors, a unix socket and TCP, and what else listens, served by one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from ncia.api.doors import TCP, UNIX, Door
from ncia.core.estate import Address

GRACE_SECONDS = 2


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


async def serve(
    application: Any, unix: socket.socket, tcp: socket.socket, others: Sequence[tuple[Any, socket.socket]] = ()
) -> None:
    """Serve both doors, and ``others`` (an application and its socket each), until SIGTERM or SIGINT."""
    doors = [(Door(application, UNIX), unix), (Door(application, TCP), tcp), *others]
    servers = [(_server(each), listener) for each, listener in doors]
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server, _ in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    await asyncio.gather(*(server.serve(sockets=[listener]) for server, listener in servers))


def _server(application: Any) -> _Server:
    return _Server(
        uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
            timeout_keep_alive=30,
        )
    )
