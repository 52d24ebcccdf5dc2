"""SFTP in few round trips: a small document is read in two of them and written in three.

The library's own files wait for each word of the host: an empty read to learn of the end, a close, a setting of times.
Here the requests on one file that need no answer of each other are sent together, and every answer is read. Hosts must
carry out requests on one file in the order of asking (draft-ietf-secsh-filexfer-02, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import paramiko
from paramiko.sftp import (
    CMD_ATTRS,
    CMD_CLOSE,
    CMD_DATA,
    CMD_EXTENDED,
    CMD_FSETSTAT,
    CMD_FSTAT,
    CMD_HANDLE,
    CMD_OPEN,
    CMD_READ,
    CMD_STATUS,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_READ,
    SFTP_FLAG_WRITE,
    SFTPError,
    int64,
)

PIECE_BYTES = 32768  # what every host takes in one request
TOGETHER_MAX = 32  # requests on their way at once: a megabyte

Answer = tuple[int, paramiko.Message]


class Session(paramiko.SFTPClient):
    """SFTP with OpenSSH's extensions, which the library speaks and does not offer. For one thread at a time."""

    def extended(self, *words: object) -> Answer:
        """One extended request and its answer; raises ``OSError`` where the host refuses it."""
        return self._asked(CMD_EXTENDED, *words)

    def content(self, place: str, bytes_max: int) -> bytes:
        """What a file holds, up to ``bytes_max``. Raises ``OSError``, ``FileNotFoundError`` among them."""
        handle = self._opened(place, SFTP_FLAG_READ)
        try:
            read, told = self._together([(CMD_READ, handle, int64(0), PIECE_BYTES), (CMD_FSTAT, handle)])
            size = min(self._size(*told), bytes_max)
            content = bytearray(self._piece(*read))
            while len(content) < size:
                piece = self._piece(*self._together([(CMD_READ, handle, int64(len(content)), PIECE_BYTES)])[0])
                content += piece
                if not piece:
                    break
        finally:
            self._sent(_unheard, CMD_CLOSE, handle)  # nothing was written that it could lose
        return bytes(content[:bytes_max])

    def keep(self, temporary: str, place: str, content: bytes, modified_at: float | None) -> None:
        """A new file ``temporary``, whole and on the host's disk (``fsync@openssh.com``), and only then under its name
        (``posix-rename@openssh.com``). Raises ``OSError`` with the host's first word against it."""
        handle = self._opened(temporary, SFTP_FLAG_CREATE | SFTP_FLAG_EXCL | SFTP_FLAG_WRITE)
        pieces = range(0, len(content), PIECE_BYTES)
        wanted: list[tuple[object, ...]] = [
            (CMD_WRITE, handle, int64(begin), content[begin : begin + PIECE_BYTES]) for begin in pieces
        ]
        if modified_at is not None:
            times = paramiko.SFTPAttributes()
            times.st_atime = times.st_mtime = int(modified_at)
            wanted.append((CMD_FSETSTAT, handle, times))
        wanted.append((CMD_EXTENDED, "fsync@openssh.com", handle))
        try:
            for begin in range(0, len(wanted), TOGETHER_MAX):
                self._demand(wanted[begin : begin + TOGETHER_MAX])
        except OSError:
            self._sent(_unheard, CMD_CLOSE, handle)
            raise
        self._demand([(CMD_CLOSE, handle), (CMD_EXTENDED, "posix-rename@openssh.com", temporary, place)])

    def _demand(self, wanted: Sequence[tuple[object, ...]]) -> None:
        """All of it done; the first refusal, in the order of asking, is raised."""
        for kind, message in self._together(wanted):
            self._judged(kind, message)

    def _together(self, wanted: Sequence[tuple[object, ...]]) -> list[Answer]:
        """Send all, then read every answer, in whatever order they come."""
        heard = _Heard()
        numbers = [self._sent(heard, *each) for each in wanted]
        while any(number not in heard.answers for number in numbers):
            self._read()
        return [heard.answers[number] for number in numbers]

    def _opened(self, place: str, flags: int) -> bytes:
        kind, message = self._asked(CMD_OPEN, place, flags, paramiko.SFTPAttributes())
        if kind != CMD_HANDLE:
            raise SFTPError("Expected handle")
        return message.get_binary()

    def _piece(self, kind: int, message: paramiko.Message) -> bytes:
        if kind == CMD_DATA:
            return message.get_binary()
        with suppress(EOFError):
            self._judged(kind, message)
        return b""

    def _size(self, kind: int, message: paramiko.Message) -> int:
        if kind != CMD_ATTRS:
            self._judged(kind, message)
            raise SFTPError("Expected attributes")
        if not message.get_int() & paramiko.SFTPAttributes.FLAG_SIZE:
            raise SFTPError("Expected a size")
        return int(message.get_int64())

    def _asked(self, *words: object) -> Answer:
        ask: Callable[..., Answer] = _LIBRARY["_request"]
        return ask(self, *words)

    def _sent(self, hearer: object, *words: object) -> int:
        send: Callable[..., int] = _LIBRARY["_async_request"]
        return send(self, hearer, *words)

    def _read(self) -> None:
        read: Callable[..., object] = _LIBRARY["_read_response"]
        read(self)

    def _judged(self, kind: int, message: paramiko.Message) -> None:
        """Nothing where the host says that it has done it; else its word, as an error."""
        if kind != CMD_STATUS:
            raise SFTPError("Expected status")
        judge: Callable[..., None] = _LIBRARY["_convert_status"]
        judge(self, message)


class _Heard:
    """The answers to requests that were sent together, by number."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        self.answers[number] = (kind, message)


_LIBRARY: dict[str, Any] = dict(vars(paramiko.SFTPClient))
_unheard = type(None)  # the library's own word for an answer that nobody waits for
