"""A file tree over SFTP: strict host keys, one kept connection a host, whole files or none.

A document is written beside its place, made durable (``fsync@openssh.com``), and renamed over (``posix-rename``): who
reads sees the old one or the new one. The folder's own entry is made durable by the host, which SFTP cannot ask for.
"""

from __future__ import annotations

import errno
import posixpath
import secrets as entropy
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import paramiko

from backup.clients.session import Session, is_silence
from backup.clients.sftp import Limits, SftpHost, free_bytes
from ncia.core.base.errors import NciaError
from ncia.core.work.documents import DOCUMENT_BYTES_MAX, Folder, Seen, StoreFull, demand_name, fault_of, is_own

LIMITS = Limits(connect_seconds=2.0, silence_seconds=2.0, area="documents")
FOLDERS_KNOWN_MAX = 4096

T = TypeVar("T")


class SftpTree:
    """The tree below ``root`` of the host's file root, as :class:`~ncia.core.work.documents.Documents`."""

    def __init__(self, host: SftpHost, root: str) -> None:
        self._host = host
        self._root = "/" + root.strip("/")
        self._made: set[str] = set()  # folders that were made or seen: not asked for again

    @property
    def where(self) -> str:
        return f"{self._host.login.name}:{self._root}"

    def put(self, name: str, content: bytes, modified_at: float | None = None) -> None:
        what = f"write {name} to {self.where}"
        place = posixpath.join(self._root, demand_name(name))
        folder, base = posixpath.split(place)
        temporary = posixpath.join(folder, f".{base[:80]}.{entropy.token_hex(6)}.new")
        with self._host.session(what) as client:
            try:
                self._make_folder(client, folder)
                try:
                    client.keep(temporary, place, content, modified_at)
                except FileNotFoundError:  # somebody took the folder away since it was seen
                    self._made.clear()
                    self._make_folder(client, folder)
                    client.keep(temporary, place, content, modified_at)
            except OSError as error:
                if is_silence(error):
                    raise
                failure = _failure(client, self._root, what, error)
                with suppress(OSError):
                    client.remove(temporary)
                raise failure from error

    def get(self, name: str) -> bytes | None:
        what = f"read {name} from {self.where}"
        place = posixpath.join(self._root, demand_name(name))

        def read(client: Session) -> bytes | None:
            content = client.content(place, DOCUMENT_BYTES_MAX + 1)
            if len(content) > DOCUMENT_BYTES_MAX:
                why = f"it has more than {DOCUMENT_BYTES_MAX} bytes"
                raise NciaError("documents.too-large", what, why, "keep it in a dataset of its own kind")
            return content

        return self._asked(what, read, None)

    def look(self, folder: str) -> Folder:
        if folder:
            demand_name(folder)
        place = posixpath.join(self._root, folder) if folder else self._root
        what = f"list {folder or '/'} of {self.where}"
        found: list[paramiko.SFTPAttributes] = self._asked(what, lambda client: client.listdir_attr(place), [])
        prefix = f"{folder}/" if folder else ""
        documents: list[Seen] = []
        folders: list[str] = []
        refused: list[str] = []
        for each in found:
            name, mode = prefix + each.filename, (each.st_mode or 0) & 0o170000
            if is_own(each.filename):
                continue
            if fault_of(name) or "/" in each.filename or mode not in (0o100000, 0o040000):
                refused.append(name)  # links too: what they lead to is not ours to say
            elif mode == 0o040000:
                folders.append(name)
            else:
                documents.append(Seen(name, each.st_size or 0, float(each.st_mtime or 0)))
        return Folder(tuple(documents), tuple(sorted(folders)), tuple(sorted(refused)))

    def close(self) -> None:
        self._host.close()

    def _asked(self, what: str, ask: Callable[[Session], T], otherwise: T) -> T:
        """What the host answers; ``otherwise`` where it has no such file or folder."""
        with self._host.session(what) as client:
            try:
                return ask(client)
            except FileNotFoundError:
                return otherwise
            except OSError as error:
                if is_silence(error):
                    raise
                raise _failure(client, self._root, what, error) from error

    def _make_folder(self, client: Session, folder: str) -> None:
        if folder in self._made:
            return
        missing = []
        while folder not in ("", "/") and folder not in self._made:
            try:
                client.stat(folder)
                break
            except FileNotFoundError:
                missing.append(folder)
                folder = posixpath.dirname(folder)
        for each in reversed(missing):
            try:
                client.mkdir(each)
            except OSError:
                client.stat(each)  # another one made it meanwhile; where not, this raises
        if len(self._made) > FOLDERS_KNOWN_MAX:
            self._made.clear()
        self._made.update(missing or [folder])


def _failure(client: Session, root: str, what: str, error: OSError) -> NciaError:
    """The host's refusal in our words. Many servers say "Failure" of a full disk, so its free space is asked for."""
    text = str(error) or type(error).__name__
    if error.errno == errno.EACCES:
        return NciaError("documents.denied", what, f"the host does not allow it: {text}")
    if "space" in text.lower() or "quota" in text.lower() or free_bytes(client, root) == 0:
        return StoreFull("documents.full", what, "the disk there is full", "make room on that host")
    return NciaError("documents.failed", what, f"the host says: {text}")
