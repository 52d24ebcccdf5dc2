"""A file tree over SFTP: strict host keys, one kept connection a host, whole files or none.

A document is written beside its place, made durable (``fsync@openssh.com``), and renamed over (``posix-rename``): who
reads sees the old one or the new one. The folder's own entry is made durable by the host, which SFTP cannot ask for.
"""

from __future__ import annotations

import errno
import posixpath
import secrets as entropy
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import paramiko
from paramiko.sftp import CMD_EXTENDED_REPLY, SFTPError

from backup.replicate.stores.session import Session
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.estate.model import Address
from ncia.core.work.documents import DOCUMENT_BYTES_MAX, Folder, Seen, StoreFull, demand_name, fault_of, is_own

CONNECT_SECONDS = 2.0
OPERATION_SECONDS = 2.0  # of silence within one request
KEEPALIVE_SECONDS = 10
CLIENTS_IDLE_MAX = 8
FOLDERS_KNOWN_MAX = 4096

T = TypeVar("T")


@dataclass(frozen=True)
class Login:
    """How a host is entered, as dialled from here. ``known_hosts`` is an OpenSSH file, ``key`` an Ed25519 one."""

    name: str
    address: Address
    user: str
    key: Path
    known_hosts: Path


class SftpHost:
    """One connection to one host, opened when needed and again after a failure; many SFTP sessions on it."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self._lock = threading.Lock()
        self._transport: paramiko.Transport | None = None
        self._idle: list[Session] = []

    @contextmanager
    def session(self, what: str) -> Iterator[Session]:
        """A session of one's own; raises :class:`Unreachable` where the host does not answer, after which the next
        session is on a new connection. Other ``OSError`` are the host's own words on what was asked."""
        transport, client = self._take(what)
        try:
            yield client
        except (TimeoutError, EOFError, paramiko.SSHException, SFTPError, ConnectionError) as error:
            self._drop(transport)
            raise self._silent(what, error) from error
        except OSError as error:
            if not transport.is_active() or str(error) == "Socket is closed":
                self._drop(transport)
                raise self._silent(what, error) from error
            self._put(transport, client)
            raise
        else:
            self._put(transport, client)

    def close(self) -> None:
        with self._lock:
            transport, self._transport, self._idle = self._transport, None, []
        if transport is not None:
            transport.close()

    def _take(self, what: str) -> tuple[paramiko.Transport, Session]:
        with self._lock:
            if self._transport is None or not self._transport.is_active():
                self._transport, self._idle = self._connect(what), []
            transport = self._transport
            if self._idle:
                return transport, self._idle.pop()
        try:
            channel = transport.open_session(timeout=OPERATION_SECONDS)
            channel.settimeout(OPERATION_SECONDS)
            channel.invoke_subsystem("sftp")
            return transport, Session(channel)
        except (OSError, EOFError, paramiko.SSHException) as error:
            self._drop(transport)
            raise self._silent(what, error) from error

    def _put(self, transport: paramiko.Transport, client: Session) -> None:
        with self._lock:
            if transport is self._transport and len(self._idle) < CLIENTS_IDLE_MAX:
                self._idle.append(client)
                return
        with suppress(OSError, EOFError):
            client.close()

    def _drop(self, transport: paramiko.Transport) -> None:
        with self._lock:
            if transport is self._transport:
                self._transport, self._idle = None, []
        transport.close()

    def _connect(self, what: str) -> paramiko.Transport:
        login = self.login
        shown = f"[{login.address.host}]:{login.address.port}" if login.address.port != 22 else login.address.host
        try:
            known = paramiko.HostKeys(str(login.known_hosts)).lookup(shown)
            key = paramiko.Ed25519Key.from_private_key_file(str(login.key))
        except (OSError, paramiko.SSHException) as error:
            raise NciaError("documents.no-key", what, f"the secrets cannot be used: {error}", str(login.key)) from error
        if not known:
            hint = "put its key into secrets/known_hosts by a way you trust"
            raise NciaError("documents.unknown-host", what, f"{login.name} ({shown}) is not in known_hosts", hint)
        try:
            wire = socket.create_connection((login.address.host, login.address.port), timeout=CONNECT_SECONDS)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it, 20 times fewer requests a second
            transport = paramiko.Transport(wire)
        except (OSError, paramiko.SSHException) as error:
            raise self._silent(what, error) from error
        try:
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = CONNECT_SECONDS
            transport.get_security_options().key_types = tuple(known.keys())
            transport.start_client(timeout=CONNECT_SECONDS)
            offered = transport.get_remote_server_key()
            if known.get(offered.get_name()) != offered:
                hint = "find out who answers there before you change secrets/known_hosts"
                why = f"{login.name} shows another key than known_hosts has"
                raise NciaError("documents.other-host", what, why, hint)
            transport.auth_publickey(login.user, key)
            transport.set_keepalive(KEEPALIVE_SECONDS)
        except paramiko.AuthenticationException as error:
            transport.close()
            why = f"{login.name} refuses our key for {login.user}"
            raise NciaError("documents.refused", what, why, "authorized keys there") from error
        except NciaError:
            transport.close()
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            transport.close()
            raise self._silent(what, error) from error
        return transport

    def _silent(self, what: str, error: BaseException) -> Unreachable:
        why = f"{self.login.name} does not answer: {str(error) or type(error).__name__}"
        return Unreachable("documents.unreachable", what, why, f"is {self.login.address} up?")


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
            except TimeoutError:
                raise
            except OSError as error:
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
            except TimeoutError:
                raise
            except OSError as error:
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
    if "space" in text.lower() or "quota" in text.lower() or _free_bytes(client, root) == 0:
        return StoreFull("documents.full", what, "the disk there is full", "make room on that host")
    return NciaError("documents.failed", what, f"the host says: {text}")


def _free_bytes(client: Session, place: str) -> int | None:
    """What is left for us on the file system of ``place`` (``statvfs@openssh.com``); None where the host tells not."""
    try:
        kind, message = client.extended("statvfs@openssh.com", place)
        if kind != CMD_EXTENDED_REPLY:
            return None
        block, fragment, _, _, available = struct.unpack(">5Q", message.get_bytes(40))
        return int(available) * int(fragment or block)
    except (OSError, struct.error):
        return None
