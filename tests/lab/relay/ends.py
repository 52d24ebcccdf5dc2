"""Two ends of a relay on free ports, with a service behind each: what the relay's tests stand on."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ncia.lab import secrets
from ncia.lab.relay.end import End, EndSettings, Export, Line
from tests.ports import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Pair:
    """``near`` is site a, ``far`` site b; ``door`` at a leads to the service at b, ``dead_door`` to a closed port."""

    near: End
    far: End
    door: tuple[str, int]
    dead_door: tuple[str, int]

    @property
    def link(self):
        return self.near.links["b"]

    async def joined(self) -> None:
        await holds(lambda: self.near.links["b"].usable and self.far.links["a"].usable)


async def holds(condition: Callable[[], bool], seconds_max: float = 10) -> None:
    async with asyncio.timeout(seconds_max):
        while not condition():
            await asyncio.sleep(0.005)


def write_certificates(folder: Path, sites: tuple[str, ...]) -> None:
    """A folder per site, all of one authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    authority = secrets.certificate("test authority", key, None, key)
    for site in sites:
        own = ec.generate_private_key(ec.SECP256R1())
        (folder / site).mkdir(exist_ok=True)
        (folder / site / "authority.pem").write_bytes(authority.public_bytes(Encoding.PEM))
        issued = secrets.certificate(site, own, authority, key)
        (folder / site / "certificate.pem").write_bytes(issued.public_bytes(Encoding.PEM))
        (folder / site / "key.pem").write_text(secrets.pem(own))


@asynccontextmanager
async def pair(folder: Path, serve: Serve) -> AsyncIterator[Pair]:
    write_certificates(folder, ("a", "b"))
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    service = server.sockets[0].getsockname()
    closed = socket.socket()  # bound, never listening: whoever connects is refused
    closed.bind(("127.0.0.1", 0))
    ports = {site: free_port() for site in "ab"}
    door, dead_door = free_port(), free_port()
    near = EndSettings(
        "a",
        f"127.0.0.1:{ports['a']}",
        (Line("b", f"127.0.0.1:{ports['b']}", False),),
        (
            Export("b", f"127.0.0.1:{door}", f"127.0.0.1:{service[1]}"),
            Export("b", f"127.0.0.1:{dead_door}", f"127.0.0.1:{closed.getsockname()[1]}"),
        ),
    )
    far = EndSettings("b", f"127.0.0.1:{ports['b']}", (Line("a", f"127.0.0.1:{ports['a']}", True),), ())
    ends = End(near, folder / "a"), End(far, folder / "b")
    for end in ends:
        await end.start()
    made = Pair(*ends, ("127.0.0.1", door), ("127.0.0.1", dead_door))
    await made.joined()
    try:
        yield made
    finally:
        for end in ends:
            await end.stop()
        server.close()
        closed.close()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()
