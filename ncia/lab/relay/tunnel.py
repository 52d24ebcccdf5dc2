"""One connection between two ends: TLS with certificates on both sides below, frames above."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.lab.relay.frames import Decoder, Frame, Kind
from ncia.lab.relay.link import Link
from ncia.lab.relay.stream import Stream


class Tunnel:
    """The first frame each way says whose end it is; it must be what the certificate says."""

    def __init__(self, own: ssl.SSLSocket, site: str, links: Mapping[str, Link], expected: str | None = None) -> None:
        self._links = links
        self._expected = expected
        self._certified = common_name(own)
        self._link: Link | None = None
        self._decoder = Decoder()
        self.gone = asyncio.Event()
        self.stream = Stream(own, self)
        self.stream.write(Frame(Kind.HELLO, 0, site.encode()).encode())

    # --- the stream's side (Owner) -------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        try:
            for frame in self._decoder.feed(data):
                if self._link is not None:
                    self._link.arrived(frame)
                else:
                    self._greet(frame)
        except NciaError as error:
            print(f"tunnel closed: {error}", file=sys.stderr, flush=True)
            self.close()

    def close(self) -> None:
        """End at once."""
        self.stream.reset()
        self._leave()

    def ended(self) -> None:
        self.close()

    def lost(self, error: OSError) -> None:
        self._leave()

    def drained(self) -> None:
        if self._link is not None:
            self._link.tunnel_drained()

    # --- within --------------------------------------------------------------------------------------------------

    def _greet(self, frame: Frame) -> None:
        said = frame.payload.decode(errors="replace")
        link = self._links.get(said)
        if (
            frame.kind is not Kind.HELLO
            or link is None
            or said != self._certified
            or self._expected not in (None, said)
        ):
            raise NciaError(
                "relay.stranger", "greet the far end", f"{said!r} holds a certificate of {self._certified!r}"
            )
        if not link.tunnel_up(self):
            raise NciaError("relay.silent", "greet the far end", f"the link to {said} is cut")
        self._link = link

    def _leave(self) -> None:
        if self._link is not None:
            self._link.tunnel_lost(self)
        self.gone.set()


async def handshake(plain: socket.socket, context: ssl.SSLContext, server_name: str | None) -> ssl.SSLSocket:
    """``plain`` (connected) as TLS: as the server where no ``server_name`` is given. Raises ``OSError``."""
    plain.setblocking(False)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    own = context.wrap_socket(
        plain, server_side=server_name is None, server_hostname=server_name, do_handshake_on_connect=False
    )
    try:
        while True:
            try:
                own.do_handshake()
                return own
            except ssl.SSLWantReadError:
                await ready(own, writing=False)
            except ssl.SSLWantWriteError:
                await ready(own, writing=True)
    except BaseException:
        own.close()
        raise


async def ready(own: socket.socket, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    happened: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    add(own, lambda: None if happened.done() else happened.set_result(None))
    try:
        await happened
    finally:
        remove(own)


def common_name(own: ssl.SSLSocket) -> str:
    subject: Any = (own.getpeercert() or {}).get("subject", ())
    names = [value for part in subject for key, value in part if key == "commonName"]
    return str(names[0]) if names else ""


def certificate_name(site: str) -> str:
    return f"{site}.relay.lab"


def context(folder: Path, *, serving: bool) -> ssl.SSLContext:
    """Both sides show a certificate of the lab's own authority."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if serving else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    if serving:
        made.num_tickets = 0  # nobody resumes: a tunnel lasts
    made.load_verify_locations(folder / "authority.pem")
    made.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    made.verify_mode = ssl.CERT_REQUIRED
    return made
