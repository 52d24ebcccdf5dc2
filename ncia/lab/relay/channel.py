"""One TCP connection carried over a link: the local socket on one side, credit and a queue on the other."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from ncia.lab.relay.frames import COUNT, HEADER, PAYLOAD_BYTES_MAX, Frame, Kind
from ncia.lab.relay.stream import Stream

WINDOW_BYTES = 256 * 1024  # bytes under way per channel and direction
QUEUE_BYTES_MAX = 64 * 1024  # bytes read from the local socket and not yet sent


class Carrier(Protocol):
    """What a channel needs of its link."""

    def ready(self, channel: Channel) -> None:
        """``channel`` has something to send; it will be asked for :meth:`Channel.next_frame` in its turn."""
        ...

    def over(self, channel: Channel) -> None:
        """``channel`` is over on both sides."""
        ...


class Channel:
    """Bytes are never lost while both sockets live: what cannot be sent waits, and the local socket is not read on."""

    def __init__(self, number: int, carrier: Carrier) -> None:
        self.number = number
        self.queued = False  # in the link's line of ready channels
        self._carrier = carrier
        self._local: Stream | None = None
        self._words: deque[Frame] = deque()  # small frames that go before data
        self._outgoing = bytearray()
        self._credit = WINDOW_BYTES
        self._local_ended = self._end_sent = self._far_ended = False
        self._over = False  # nothing more comes from the local socket, nothing more goes to it
        self._reset_last = False  # … and the far side is yet to be told
        self._early: list[bytes] = []  # arrived before the local socket was connected
        self._owed = 0  # bytes passed on and not yet granted again

    def attach(self, local: Stream) -> None:
        """The local socket is connected."""
        self._local = local
        if self._over:
            self._drop()
            return
        for early in self._early:
            self._pass_on(early)
        self._early.clear()
        if self._far_ended:
            local.end()

    # --- the local socket (Owner) --------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        self._outgoing += data
        if len(self._outgoing) > QUEUE_BYTES_MAX and self._local is not None:
            self._local.pause()
        self._carrier.ready(self)

    def ended(self) -> None:
        self._local_ended = True
        self._carrier.ready(self)

    def drained(self) -> None:
        self._grant()

    def lost(self, error: OSError) -> None:
        # What the socket had said before its RST goes first: a kernel, too, lets that be read.
        self._local = None
        if not self._over:
            self._over = self._reset_last = True
            self._carrier.ready(self)

    # --- the link ------------------------------------------------------------------------------------------------

    def open(self, target: str) -> None:
        """Ask the far end to connect us to ``target`` (host:port at its site)."""
        self._say(Kind.OPEN, target.encode())

    def arrived(self, frame: Frame) -> None:
        if frame.kind is Kind.DATA:
            if self._over:
                return
            if self._local is None:
                self._early.append(frame.payload)
            else:
                self._pass_on(frame.payload)
        elif frame.kind is Kind.CREDIT:
            self._credit += COUNT.unpack(frame.payload)[0]
            self._carrier.ready(self)
        elif frame.kind is Kind.END:
            self._far_ended = True
            if self._local is not None:
                self._local.end()
            self._settle()
        elif frame.kind is Kind.RESET:
            self.reset()

    def reset(self) -> None:
        """The far side is gone: the local socket gets an RST, and nothing more is said."""
        self._over = True
        self._reset_last = False
        self._words.clear()
        self._outgoing.clear()
        self._drop()
        self._carrier.over(self)

    def unreachable(self) -> None:
        """The local service did not accept: the far socket is reset, as by the RST of a closed port."""
        if not self._over:
            self._over = self._reset_last = True
            self._early.clear()
            self._carrier.ready(self)

    @property
    def has_frame(self) -> bool:
        if self._words or self._reset_last or (self._outgoing and self._credit > 0):
            return True
        return self._local_ended and not self._end_sent and not self._outgoing and not self._over

    def next_frame(self) -> bytes:
        """The next frame to send, encoded; only where :attr:`has_frame`."""
        if self._words:
            return self._words.popleft().encode()
        if self._outgoing and self._credit > 0:
            return self._next_data()
        if self._reset_last:
            self._reset_last = False
            self._carrier.over(self)
            return Frame(Kind.RESET, self.number).encode()
        self._end_sent = True
        self._settle()
        return Frame(Kind.END, self.number).encode()

    def _next_data(self) -> bytes:
        size = min(len(self._outgoing), self._credit, PAYLOAD_BYTES_MAX)
        encoded = HEADER.pack(Kind.DATA, self.number, size) + self._outgoing[:size]
        del self._outgoing[:size]
        self._credit -= size
        if self._local is not None and len(self._outgoing) <= QUEUE_BYTES_MAX // 2:
            self._local.resume()
        return encoded

    # --- within --------------------------------------------------------------------------------------------------

    def _pass_on(self, data: bytes) -> None:
        if self._local is not None:
            self._owed += len(data)
            self._local.write(data)
            self._grant()

    def _grant(self) -> None:
        # Half a window at a time: a grant per frame would double the number of frames.
        enough = self._owed >= WINDOW_BYTES // 2
        if enough and not self._over and self._local is not None and not self._local.full:
            self._say(Kind.CREDIT, COUNT.pack(self._owed))
            self._owed = 0

    def _say(self, kind: Kind, payload: bytes = b"") -> None:
        self._words.append(Frame(kind, self.number, payload))
        self._carrier.ready(self)

    def _settle(self) -> None:
        """Both directions ended in order: the channel is over."""
        if self._end_sent and self._far_ended and not self._over:
            self._over = True
            if self._local is not None:
                self._local.close()
            self._carrier.over(self)

    def _drop(self) -> None:
        if self._local is not None:
            self._local.reset()
