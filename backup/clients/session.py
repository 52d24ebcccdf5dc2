"""SFTP in few round trips: a small document is read in two of them and written in three.

The library's own files wait for each word of the host: an empty read to learn of the end, a close, a setting of times.
Here the requests on one file that need no answer of each other are sent together, and every answer is read. Hosts must
carry out requests on one file in the order of asking (draft-ietf-secsh-filexfer-02, section 3).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
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
    CMD_INIT,
    CMD_MKDIR,
    CMD_NAME,
    CMD_OPEN,
    CMD_OPENDIR,
    CMD_READ,
    CMD_READDIR,
    CMD_RENAME,
    CMD_STATUS,
    CMD_VERSION,
    CMD_WRITE,
    SFTP_FLAG_CREATE,
    SFTP_FLAG_EXCL,
    SFTP_FLAG_READ,
    SFTP_FLAG_WRITE,
    BaseSFTP,
    SFTPError,
    int64,
)

PIECE_BYTES = 32768  # what every host takes in one request
TOGETHER_MAX = 32  # requests on their way at once: a megabyte
PROTOCOL = 3
FSYNC = "fsync@openssh.com"
HARDLINK = "hardlink@openssh.com"
POSIX_RENAME = "posix-rename@openssh.com"

Request = tuple[object, ...]
Answer = tuple[int, paramiko.Message]


class Session(paramiko.SFTPClient):
    """SFTP with OpenSSH's extensions, which the library speaks and does not offer. For one thread at a time."""

    extensions: frozenset[str] = frozenset()  # what the host said of itself when it was greeted
    _links_only = False  # once the host has refused to rename

    def extended(self, *words: object) -> Answer:
        """One extended request and its answer; raises ``OSError`` where the host refuses it."""
        return self._asked(CMD_EXTENDED, *words)

    def content(self, place: str, bytes_max: int) -> bytes:
        """What a file holds, up to ``bytes_max``. Raises ``OSError``, ``FileNotFoundError`` among them."""
        return self.part(place, 0, bytes_max)

    def part(self, place: str, offset: int, bytes_max: int | None) -> bytes:
        """What a file holds from ``offset``, up to ``bytes_max`` of it. Raises as :meth:`content`."""
        handle = self._opened(place, SFTP_FLAG_READ)
        try:
            first = PIECE_BYTES if bytes_max is None else min(PIECE_BYTES, bytes_max)
            read, told = self._together([(CMD_READ, handle, int64(offset), first), (CMD_FSTAT, handle)])
            size = max(0, self._size(*told) - offset)
            size = size if bytes_max is None else min(size, bytes_max)
            content = bytearray(self._piece(*read))
            while len(content) < size and self._read_on(handle, offset, content, size):
                pass
        finally:
            self._sent(_unheard, CMD_CLOSE, handle)  # nothing was written that it could lose
        return bytes(memoryview(content)[:size])

    def _read_on(self, handle: bytes, offset: int, content: bytearray, size: int) -> bool:
        """Some pieces more, asked for together; False where the file ends before ``size``."""
        begins = range(len(content), size, PIECE_BYTES)[:TOGETHER_MAX]
        sizes = [min(PIECE_BYTES, size - begin) for begin in begins]
        asked = [(CMD_READ, handle, int64(offset + begin), wanted) for begin, wanted in zip(begins, sizes, strict=True)]
        for wanted, answer in zip(sizes, self._together(asked), strict=True):
            piece = self._piece(*answer)
            content += piece
            if len(piece) != wanted:  # hosts may give less than was asked for: what follows is asked for again
                return bool(piece)
        return True

    def keep(self, temporary: str, place: str, content: bytes, modified_at: float | None) -> None:
        """A new file ``temporary``, whole and on the host's disk (``fsync@openssh.com``), and only then under its name
        (``posix-rename@openssh.com``). Raises ``OSError`` with the host's first word against it."""

        def last(handle: bytes) -> Iterator[Request]:
            if modified_at is not None:
                times = paramiko.SFTPAttributes()
                times.st_atime = times.st_mtime = int(modified_at)
                yield CMD_FSETSTAT, handle, times
            yield CMD_EXTENDED, FSYNC, handle

        handle = self._written(temporary, content, last, paramiko.SFTPAttributes())
        self._demand([(CMD_CLOSE, handle), (CMD_EXTENDED, POSIX_RENAME, temporary, place)])

    def keep_new(self, temporary: str, place: str, content: memoryview, mode: int) -> None:
        """As :meth:`keep`, under a name that nothing has: the protocol's own rename refuses one that is taken. On the
        host's disk where it can be asked for that (:attr:`extensions`). A host that lets us add and not rename gives
        the file its name by a hard link; ``temporary`` is then another name of it."""

        def last(handle: bytes) -> Iterator[Request]:
            if FSYNC in self.extensions:
                yield CMD_EXTENDED, FSYNC, handle

        attributes = paramiko.SFTPAttributes()
        attributes.st_mode = mode
        handle = self._written(temporary, content, last, attributes)
        linking: Request = (CMD_EXTENDED, HARDLINK, temporary, place)
        if self._links_only:
            self._demand([(CMD_CLOSE, handle), linking])
            return
        try:
            self._demand([(CMD_CLOSE, handle), (CMD_RENAME, temporary, place)])
        except OSError as error:
            if error.errno != errno.EACCES or HARDLINK not in self.extensions:
                raise
            self._demand([linking])
            self._links_only = True

    def sync(self, place: str) -> bool:
        """A file or folder is on the host's disk; False where the host opens none such, or cannot be asked for it.
        Raises ``OSError`` where the disk fails."""
        if FSYNC not in self.extensions:
            return False
        try:
            handle = self._opened(place, SFTP_FLAG_READ)
        except OSError as error:
            if is_silence(error):
                raise
            return False
        try:
            self._demand([(CMD_EXTENDED, FSYNC, handle)])
        finally:
            self._sent(_unheard, CMD_CLOSE, handle)
        return True

    def make_folders(self, places: Sequence[str], mode: int) -> None:
        """Folders that may be there already, asked for together: who wants to know looks afterwards."""
        attributes = paramiko.SFTPAttributes()
        attributes.st_mode = mode
        for begin in range(0, len(places), TOGETHER_MAX):
            self._together([(CMD_MKDIR, place, attributes) for place in places[begin : begin + TOGETHER_MAX]])

    def listings(self, places: Sequence[str]) -> list[list[paramiko.SFTPAttributes]]:
        """What lies in each of some folders, asked for together; one that is not there holds nothing."""
        found: list[list[paramiko.SFTPAttributes]] = [[] for _ in places]
        opened: dict[int, bytes] = {}
        try:
            for number, (kind, message) in enumerate(self._together([(CMD_OPENDIR, place) for place in places])):
                if kind == CMD_HANDLE:
                    opened[number] = message.get_binary()
                    continue
                with suppress(FileNotFoundError):
                    self._judged(kind, message)
            while opened:
                asked = [(CMD_READDIR, handle) for handle in opened.values()]
                for number, (kind, message) in zip(tuple(opened), self._together(asked), strict=True):
                    if kind == CMD_NAME:
                        found[number] += _named(message)
                        continue
                    with suppress(EOFError, FileNotFoundError):  # some hosts open what is not there
                        self._judged(kind, message)
                    self._sent(_unheard, CMD_CLOSE, opened.pop(number))
        finally:
            for handle in opened.values():  # none, unless the host refused something
                self._sent(_unheard, CMD_CLOSE, handle)
        return found

    def _written(
        self,
        place: str,
        content: bytes | memoryview,
        last: Callable[[bytes], Iterator[Request]],
        attributes: paramiko.SFTPAttributes,
    ) -> bytes:
        """The open handle of a new file that holds ``content``, and of which ``last`` was asked after the writes."""
        handle = self._opened(place, SFTP_FLAG_CREATE | SFTP_FLAG_EXCL | SFTP_FLAG_WRITE, attributes)
        begins = range(0, len(content), PIECE_BYTES)
        pieces = ((CMD_WRITE, handle, int64(begin), bytes(content[begin : begin + PIECE_BYTES])) for begin in begins)
        wanted: Iterator[Request] = chain(pieces, last(handle))
        try:
            while together := list(islice(wanted, TOGETHER_MAX)):
                self._demand(together)
        except OSError:
            self._sent(_unheard, CMD_CLOSE, handle)
            raise
        return handle

    def _demand(self, wanted: Sequence[Request]) -> None:
        """All of it done; the first refusal, in the order of asking, is raised."""
        for kind, message in self._together(wanted):
            self._judged(kind, message)

    def _together(self, wanted: Sequence[Request]) -> list[Answer]:
        """Send all, then read every answer, in whatever order they come."""
        heard = _Heard()
        numbers = [self._sent(heard, *each) for each in wanted]
        while any(number not in heard.answers for number in numbers):
            self._read()
        return [heard.answers[number] for number in numbers]

    def _send_version(self) -> int:
        """The library's own drops what the host says that it can do beside the protocol."""
        hello = paramiko.Message()
        hello.add_int(PROTOCOL)
        _LIBRARY["_send_packet"](self, CMD_INIT, hello)
        kind, packet = _LIBRARY["_read_packet"](self)
        if kind != CMD_VERSION:
            raise SFTPError("Incompatible sftp protocol")
        answer = paramiko.Message(packet)
        version = answer.get_int()
        told: set[str] = set()
        while answer.get_remainder():
            told.add(answer.get_text())
            answer.get_binary()  # its version
        self.extensions = frozenset(told)
        return version

    def _opened(self, place: str, flags: int, attributes: paramiko.SFTPAttributes | None = None) -> bytes:
        kind, message = self._asked(CMD_OPEN, place, flags, attributes or paramiko.SFTPAttributes())
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


def is_silence(error: OSError) -> bool:
    """Whether it is the connection that failed, and no word of the host's."""
    return isinstance(error, (TimeoutError, ConnectionError)) or str(error) == "Socket is closed"


def _named(message: paramiko.Message) -> Iterator[paramiko.SFTPAttributes]:
    """The entries of one part of a listing, but for the folder itself and the one above."""
    attributes: Any = paramiko.SFTPAttributes
    for _ in range(message.get_int()):
        name, line = (message.get_binary().decode("utf-8", "replace") for _ in ("name", "as of ls -l"))
        entry: paramiko.SFTPAttributes = attributes._from_msg(message, name, line)
        if name not in (".", ".."):
            yield entry


class _Heard:
    """The answers to requests that were sent together, by number."""

    def __init__(self) -> None:
        self.answers: dict[int, Answer] = {}

    def _async_response(self, kind: int, message: paramiko.Message, number: int) -> None:
        self.answers[number] = (kind, message)


_LIBRARY: dict[str, Any] = {**vars(BaseSFTP), **vars(paramiko.SFTPClient)}
_unheard = type(None)  # the library's own word for an answer that nobody waits for
