"""A translated address: a listening socket that can fall silent without refusing.

A silent address must neither accept nor refuse, as one behind a cut cable: the same socket gets a backlog of nothing,
filled by connections of our own, so the kernel drops each SYN. Speaking again, a client's next SYN is answered. The
socket is never closed in between, so no SYN ever meets a closed port.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

BACKLOG = 512
FILLERS = 2  # one fills the queue, the second proves nothing may pass (see FACTS on listen(0))
ACCEPTED_AT_ONCE = 64


class Doorway:
    def __init__(self, host: str, port: int, source: str, accepted: Callable[[socket.socket], None]) -> None:
        self.address = (host, port)
        self._source = source
        self._accepted = accepted
        self._fillers: list[socket.socket] = []
        self._speaking = False
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.setblocking(False)
        self._listener.bind(self.address)
        self.address = self._listener.getsockname()
        self._listener.listen(0)
        self._fill()

    def speak(self, speaking: bool) -> None:
        """Accept connections, or fall silent; what connected before either is carried."""
        if speaking == self._speaking:
            return
        self._speaking = speaking
        loop = asyncio.get_running_loop()
        if speaking:
            self._listener.listen(BACKLOG)
            loop.add_reader(self._listener, self._accept)
            self._accept()
        else:
            loop.remove_reader(self._listener)
            self._listener.listen(0)
            self._accept()
            self._fill()

    def close(self) -> None:
        if self._speaking:
            asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._drop_fillers()

    def _accept(self) -> None:
        own = {filler.getsockname() for filler in self._fillers}
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                near, address = self._listener.accept()
            except OSError:  # nobody waits, or no descriptor is free: the next wake-up tries again
                break
            if address in own:
                near.close()
                continue
            near.setblocking(False)
            self._accepted(near)
        self._drop_fillers()

    def _fill(self) -> None:
        for _ in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.bind((self._source, 0))
            filler.connect_ex(self.address)
            self._fillers.append(filler)

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
