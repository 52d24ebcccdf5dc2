"""The far end as this end sees it: one tunnel, the channels in it in turn, and the faults that the lab lays on it."""

from __future__ import annotations

import asyncio
import errno
import socket
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from ncia.core.base.errors import NciaError
from ncia.lab.relay.channel import Channel
from ncia.lab.relay.faults import Faults, Pace
from ncia.lab.relay.frames import Frame, Kind
from ncia.lab.relay.stream import Stream

CONNECT_SECONDS_MAX = 10.0
FRAMES_AT_ONCE = 16  # joined into one write
IP_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>; spares ephemeral ports
UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)
CONNECTED = (0, errno.EISCONN)


class Wire(Protocol):
    """The tunnel as its link sees it."""

    @property
    def stream(self) -> Stream: ...

    def close(self) -> None:
        """End at once, and tell the link (:meth:`Link.tunnel_lost`)."""
        ...


class Link:
    """Channels live as long as the far end's process does: a held-back link keeps them, a new far end resets them."""

    def __init__(self, site: str, peer: str, source: str, first: int, changed: Callable[[Link], None]) -> None:
        self.site = site
        self.peer = peer
        self.faults = Faults()
        self.channels: dict[int, Channel] = {}
        self.bytes_sent = 0
        self._source = source  # our own address, so that far services see who calls
        self._next_number = first  # one end counts odd, the other even
        self._changed = changed
        self._tunnel: Wire | None = None
        self._line: deque[Channel] = deque()
        self._pace = Pace(0, 0.0)
        self._arrived: deque[tuple[float, Frame]] = deque()
        self._timers: dict[str, asyncio.Handle] = {}
        self._lost_bytes = False

    @property
    def connected(self) -> bool:
        return self._tunnel is not None

    @property
    def usable(self) -> bool:
        """New connections may be accepted: the far end lives and the link carries."""
        return self._tunnel is not None and not self.faults.silent

    # --- the lab's hand ------------------------------------------------------------------------------------------

    def set_faults(self, faults: Faults) -> None:
        self.faults = faults
        self._pace = Pace(faults.bytes_per_second, asyncio.get_running_loop().time())
        if faults.swallow:
            self._lost_bytes = True
            self._arrived.clear()
        if self._tunnel is not None:
            if self._lost_bytes and not faults.silent:
                self.close()  # bytes are missing in its channels: they may never go on
            elif faults.cut and not faults.swallow:
                self._tunnel.stream.pause()
            else:
                self._tunnel.stream.resume()  # also a swallowed one, so that nothing of it waits in our kernel
        self._changed(self)
        self._deliver()
        self._pump_soon()

    # --- the tunnel ----------------------------------------------------------------------------------------------

    def tunnel_up(self, tunnel: Wire) -> bool:
        """Take the tunnel into use; false where the link must stay silent. What an earlier one carried is reset."""
        if self.faults.silent:
            return False
        self.close()
        for channel in list(self.channels.values()):
            channel.reset()
        self.channels.clear()
        self._line.clear()
        self._arrived.clear()
        self._lost_bytes = False
        self._tunnel = tunnel
        self._changed(self)
        return True

    def tunnel_lost(self, tunnel: Wire) -> None:
        if self._tunnel is tunnel:
            print(f"tunnel {self.site}-{self.peer} lost", file=sys.stderr, flush=True)
            self._tunnel = None
            self._changed(self)

    def close(self) -> None:
        """End the tunnel at once, as the end of its process would."""
        if self._tunnel is not None:
            self._tunnel.close()

    def tunnel_drained(self) -> None:
        self._pump_soon()

    def arrived(self, frame: Frame) -> None:
        if self.faults.swallow:
            return
        if not self._arrived and not self.faults.delay_seconds and not self.faults.cut:
            self._dispatch(frame)
            return
        self._arrived.append((asyncio.get_running_loop().time() + self.faults.delay_seconds, frame))
        self._deliver()

    # --- new channels --------------------------------------------------------------------------------------------

    def carry(self, near: socket.socket, target: str) -> None:
        """Carry an accepted connection to ``target`` (host:port) at the far site."""
        number, self._next_number = self._next_number, self._next_number + 2
        channel = self.channels[number] = Channel(number, self)
        channel.open(target)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel.attach(Stream(near, channel))

    def _connect(self, channel: Channel, target: str) -> None:
        host, _, port = target.rpartition(":")
        own = socket.socket()
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        own.bind((self._source, 0))
        address = (host, int(port))
        told = own.connect_ex(address)
        if told in UNDER_WAY:
            told = own.connect_ex(address)  # on loopback the handshake is over by now
        if told in UNDER_WAY:
            self._await_connected(channel, own, address)
        else:
            self._connected(channel, own, told)

    def _await_connected(self, channel: Channel, own: socket.socket, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()

        def finish() -> None:
            timer.cancel()
            loop.remove_writer(own)
            self._connected(channel, own, own.connect_ex(address))

        timer = loop.call_later(CONNECT_SECONDS_MAX, finish)
        loop.add_writer(own, finish)

    def _connected(self, channel: Channel, own: socket.socket, told: int) -> None:
        if told in CONNECTED:
            channel.attach(Stream(own, channel))
        else:
            own.close()
            channel.unreachable()

    # --- channels' side (Carrier) --------------------------------------------------------------------------------

    def ready(self, channel: Channel) -> None:
        if not channel.queued and channel.has_frame:
            channel.queued = True
            self._line.append(channel)
            self._pump_soon()

    def over(self, channel: Channel) -> None:
        self.channels.pop(channel.number, None)

    # --- sending and delivering ----------------------------------------------------------------------------------

    def _pump_soon(self) -> None:
        """Send at the end of this turn of the loop: what became ready in it goes out in one write."""
        if self._line and "pump" not in self._timers:
            self._timers["pump"] = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        """Send one frame of each ready channel in turn while the link carries."""
        self._timers.pop("pump", None)
        tunnel, loop = self._tunnel, asyncio.get_running_loop()
        while self._line and tunnel is not None and tunnel is self._tunnel and not tunnel.stream.full:
            if self.faults.silent:
                return
            wait = self._pace.wait_seconds(loop.time()) if self.faults.bytes_per_second else 0.0
            if wait:
                self._timers["pump"] = loop.call_later(wait, self._pump)
                return
            joined = self._take_frames(1 if self.faults.bytes_per_second else FRAMES_AT_ONCE)
            self.bytes_sent += len(joined)
            self._pace.took(len(joined))
            tunnel.stream.write(joined)

    def _take_frames(self, count: int) -> bytes:
        frames: list[bytes] = []
        while self._line and len(frames) < count:
            channel = self._line.popleft()
            channel.queued = False
            if channel.has_frame:
                frames.append(channel.next_frame())
                if channel.has_frame and not channel.queued:
                    channel.queued = True
                    self._line.append(channel)
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        timer = self._timers.pop("deliver", None)
        if timer is not None:
            timer.cancel()
        while self._arrived and not self.faults.silent:
            due, frame = self._arrived[0]
            wait = due - loop.time()
            if wait > 0:
                self._timers["deliver"] = loop.call_later(wait, self._deliver)
                return
            self._arrived.popleft()
            self._dispatch(frame)

    def _dispatch(self, frame: Frame) -> None:
        known = self.channels.get(frame.channel)
        if frame.kind is Kind.OPEN:
            if known is not None:
                raise NciaError("relay.channel-twice", f"open channel {frame.channel}", "it is open")
            channel = self.channels[frame.channel] = Channel(frame.channel, self)
            self._connect(channel, frame.payload.decode())
        elif known is not None:
            known.arrived(frame)
