"""A connected socket that never blocks, plain or TLS: reads when wanted, writes what it can and keeps the rest.

asyncio's own transports cost several times as much for each short connection, and probes are nothing but short
connections; the loop is used for readiness and timers alone.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
from contextlib import suppress
from typing import Protocol

READ_BYTES = 64 * 1024
RECORD_BYTES = 16 * 1024  # TLS gives no more at once (RFC 8446, section 5.1)
READS_AT_ONCE = 16  # then others have their turn
WRITE_BYTES = 64 * 1024
LOW_BYTES, HIGH_BYTES = 32 * 1024, 128 * 1024  # of what is not yet written: drained, full
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Owner(Protocol):
    """Who has a stream hears of it."""

    def received(self, data: bytes) -> None:
        """Some bytes came."""
        ...

    def ended(self) -> None:
        """No more will come; the other direction may go on."""
        ...

    def lost(self, error: OSError) -> None:
        """The connection broke. Never called after :meth:`Stream.close` or :meth:`Stream.reset`."""
        ...

    def drained(self) -> None:
        """What was held up has been written."""
        ...


class Stream:
    def __init__(self, own: socket.socket, owner: Owner) -> None:
        self.socket = own
        self._owner = owner
        self._read_bytes = RECORD_BYTES if isinstance(own, ssl.SSLSocket) else READ_BYTES
        self._loop = asyncio.get_running_loop()
        self._pending = bytearray()
        self._reading = self._writing = self._ended = self._end_wanted = self._close_wanted = self._closed = False
        self.resume()

    @property
    def full(self) -> bool:
        return len(self._pending) > HIGH_BYTES

    def pause(self) -> None:
        """Read no more until :meth:`resume`: the sender's own kernel holds it up."""
        if self._reading:
            self._loop.remove_reader(self.socket)
            self._reading = False

    def resume(self) -> None:
        if not (self._reading or self._ended or self._closed):
            self._loop.add_reader(self.socket, self._readable)
            self._reading = True

    def write(self, data: bytes) -> None:
        if self._closed:
            return
        if not self._pending:
            try:
                # Not more than one piece: TLS wants to be asked again with no less than it was asked before.
                data = data[self.socket.send(data[:WRITE_BYTES]) :]
            except NOT_NOW:
                pass
            except OSError as error:
                self._fail(error)
                return
            if not data:
                return
        self._pending += data
        self._watch_writable()

    def end(self) -> None:
        """Send FIN once everything is written."""
        self._end_wanted = True
        if not self._pending:
            self._shut()

    def close(self) -> None:
        """Close once everything is written."""
        self._close_wanted = True
        if not self._pending:
            self._forget()

    def reset(self) -> None:
        """Close at once, so that the other side gets an RST."""
        if not self._closed:
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            self._forget()

    # --- within --------------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                data = self.socket.recv(self._read_bytes)
            except NOT_NOW:
                return
            except OSError as error:
                self._fail(error)
                return
            if not data:
                self.pause()
                self._ended = True
                self._owner.ended()
                return
            self._owner.received(data)
            if not self._reading:
                return
            if not self._more(len(data)):
                break
        self._look_for_error()

    def _look_for_error(self) -> None:
        """The loop tells of a reset once, also where bytes came just before it; nobody would ask this socket again."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if not error:
            return
        with suppress(OSError):  # what came before it is still there
            while self._reading and (data := self.socket.recv(self._read_bytes)):
                self._owner.received(data)
        if not self._closed:
            self._fail(OSError(error, os.strerror(error)))

    def _more(self, taken_bytes: int) -> bool:
        """Whether to read on at once. What the kernel still holds is told again; what TLS has deciphered is told by
        nobody. To ask it for more than it has costs an exception, which is most of a small read's time."""
        if taken_bytes == self._read_bytes:
            return True
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def _writable(self) -> None:
        try:
            while self._pending:
                with memoryview(self._pending) as view:
                    sent = self.socket.send(view[:WRITE_BYTES])
                del self._pending[:sent]
        except NOT_NOW:
            pass
        except OSError as error:
            self._fail(error)
            return
        if not self._pending:
            self._loop.remove_writer(self.socket)
            self._writing = False
            if self._end_wanted:
                self._shut()
            if self._close_wanted:
                self._forget()
                return
        if len(self._pending) <= LOW_BYTES:
            self._owner.drained()

    def _watch_writable(self) -> None:
        if not self._writing:
            self._loop.add_writer(self.socket, self._writable)
            self._writing = True

    def _shut(self) -> None:
        # A socket that was reset in this very moment cannot be shut down; the next read or write will say so.
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def _fail(self, error: OSError) -> None:
        self._forget()
        self._owner.lost(error)

    def _forget(self) -> None:
        if self._closed:
            return
        self.pause()
        if self._writing:
            self._loop.remove_writer(self.socket)
            self._writing = False
        self._closed = True
        self._pending.clear()
        self.socket.close()
