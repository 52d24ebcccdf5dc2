"""A tiny stand-in for the gate: passes PostgreSQL's protocol through and adds the epoch to the start-up answer."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

NEGOTIATIONS = (80877103, 80877104)  # SSLRequest, GSSENCRequest


class Gate:
    """Listens on a port of its own; ``epoch`` may be changed while it runs, ``cut`` closes every connection."""

    def __init__(self, server_port: int, epoch: int = 1, host: str = "127.0.0.1", port: int = 0) -> None:
        self.epoch = epoch
        self._server_port = server_port
        self._open: list[socket.socket] = []
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError):
            start = self._start_up(client)
            server = socket.create_connection(("127.0.0.1", self._server_port))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open += [client, server]
            server.sendall(start)
            threading.Thread(target=pump, args=(client, server), daemon=True).start()
            self._until_ready(server, client)
            pump(server, client)
        client.close()

    def _start_up(self, client: socket.socket) -> bytes:
        while True:
            head = exactly(client, 8)
            size, code = struct.unpack("!II", head)
            if code not in NEGOTIATIONS:
                return head + exactly(client, size - 8)
            client.sendall(b"N")

    def _until_ready(self, server: socket.socket, client: socket.socket) -> None:
        while True:
            head = exactly(server, 5)
            kind, size = struct.unpack("!cI", head)
            body = exactly(server, size - 4)
            if kind == b"Z":
                told = b"ncia_epoch\0" + str(self.epoch).encode() + b"\0"
                client.sendall(b"S" + struct.pack("!I", len(told) + 4) + told)
            client.sendall(head + body)
            if kind == b"Z":
                return


def exactly(source: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        more = source.recv(size - len(received))
        if not more:
            raise EOFError
        received += more
    return received


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
