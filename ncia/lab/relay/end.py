"""The process of one end: listens on its translated addresses, keeps a tunnel per link, obeys the lab's control.

``python -m ncia.lab.relay.end`` in a folder with ``end.json`` (:class:`EndSettings`), ``authority.pem``,
``certificate.pem`` and ``key.pem``.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import ssl
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import uvloop

from ncia.lab.relay import control
from ncia.lab.relay.doorway import Doorway
from ncia.lab.relay.link import Link
from ncia.lab.relay.tunnel import Tunnel, certificate_name, context, handshake

SETTINGS = "end.json"
REDIAL_SECONDS = 0.2
GREETING_SECONDS_MAX = 5.0


@dataclass(frozen=True)
class Export:
    """A service of ``peer`` at ``target``, dialled here at ``listen`` (both host:port)."""

    peer: str
    listen: str
    target: str


@dataclass(frozen=True)
class Line:
    """A link of this end. ``address`` is where the peer's end listens; one side of each link dials."""

    peer: str
    address: str
    dials: bool


@dataclass(frozen=True)
class EndSettings:
    site: str
    address: str  # of this end, host:port
    lines: tuple[Line, ...]
    exports: tuple[Export, ...]

    def write(self, folder: Path) -> None:
        (folder / SETTINGS).write_text(json.dumps(asdict(self), indent=1))

    @staticmethod
    def read(folder: Path) -> EndSettings:
        told = json.loads((folder / SETTINGS).read_text())
        lines = tuple(Line(**line) for line in told["lines"])
        return EndSettings(told["site"], told["address"], lines, tuple(Export(**e) for e in told["exports"]))


class End:
    def __init__(self, settings: EndSettings, folder: Path) -> None:
        self.settings = settings
        self._folder = folder
        self._host, self._port = split(settings.address)
        self.links = {
            line.peer: Link(settings.site, line.peer, self._host, 1 if line.dials else 2, self._link_changed)
            for line in settings.lines
        }
        self._doorways: dict[str, list[Doorway]] = {line.peer: [] for line in settings.lines}
        self._control: asyncio.AbstractServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for export in self.settings.exports:
            self._doorways[export.peer].append(self._open(export))
        listener = socket.create_server((self._host, self._port))
        listener.setblocking(False)
        self._control = await control.serve(self._folder, self.links)
        self._run(self._accept(listener, context(self._folder, serving=True)))
        calling = context(self._folder, serving=False)
        for line in self.settings.lines:
            if line.dials:
                self._run(self._dial(line, calling))

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._control is not None:
            self._control.close()
        for link in self.links.values():
            link.close()
        for doorways in self._doorways.values():
            for doorway in doorways:
                doorway.close()

    def _run(self, life: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(life)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _open(self, export: Export) -> Doorway:
        link = self.links[export.peer]

        def accepted(near: socket.socket) -> None:
            link.carry(near, export.target)

        return Doorway(*split(export.listen), self._host, accepted)

    def _link_changed(self, link: Link) -> None:
        for doorway in self._doorways[link.peer]:
            doorway.speak(link.usable)

    async def _accept(self, listener: socket.socket, serving: ssl.SSLContext) -> None:
        with listener:
            while True:
                plain, _ = await asyncio.get_running_loop().sock_accept(listener)
                self._run(self._greet(plain, serving))

    async def _greet(self, plain: socket.socket, serving: ssl.SSLContext) -> None:
        with suppress(OSError, TimeoutError):  # a stranger, or one that went away: it may call again
            async with asyncio.timeout(GREETING_SECONDS_MAX):
                own = await handshake(plain, serving, None)
            Tunnel(own, self.settings.site, self.links)

    async def _dial(self, line: Line, calling: ssl.SSLContext) -> None:
        """Keep the tunnel of ``line`` up; while the link is silent nobody calls."""
        while True:
            if not self.links[line.peer].faults.silent:
                with suppress(OSError, TimeoutError):  # the far end is not there (yet): that is what the redial is for
                    await self._call(line, calling)
            await asyncio.sleep(REDIAL_SECONDS)

    async def _call(self, line: Line, calling: ssl.SSLContext) -> None:
        """One tunnel, until it is gone."""
        plain = socket.socket()
        try:
            async with asyncio.timeout(GREETING_SECONDS_MAX):
                plain.setblocking(False)
                plain.bind((self._host, 0))
                await asyncio.get_running_loop().sock_connect(plain, split(line.address))
                own = await handshake(plain, calling, certificate_name(line.peer))
        finally:
            plain.close()  # detached by TLS where that came about
        tunnel = Tunnel(own, self.settings.site, self.links, line.peer)
        await tunnel.gone.wait()


def split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


async def run(folder: Path) -> None:
    end = End(EndSettings.read(folder), folder)
    await end.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await end.stop()


if __name__ == "__main__":
    uvloop.run(run(Path.cwd()))
