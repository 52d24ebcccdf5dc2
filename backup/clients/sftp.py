"""SFTP hosts: strict host keys, one kept connection a host, many sessions on it."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.pkey import UnknownKeyType
from paramiko.sftp import CMD_EXTENDED_REPLY, SFTPError

from backup.clients.session import Session, is_silence
from backup.clients.transport import Transport
from ncia.core.base.errors import NciaError, Unreachable

KEEPALIVE_SECONDS = 10
CLIENTS_IDLE_MAX = 8
KEYS_TRIED_MAX = 5  # OpenSSH ends a connection after six refusals
SIGNED_BY = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}  # a kind of host key and its algorithms, where names differ


@dataclass(frozen=True)
class Login:
    """How a host is entered, as dialled from here. ``known_hosts`` are OpenSSH files; ``keys`` are tried in their
    order, after those of the SSH agent where ``agent`` says so. ``name`` is the host for a person."""

    name: str
    host: str
    port: int
    user: str
    keys: tuple[Path, ...]
    known_hosts: tuple[Path, ...]
    agent: bool = False

    @property
    def shown(self) -> str:
        """The host as ``known_hosts`` names it."""
        return f"[{self.host}]:{self.port}" if self.port != 22 else self.host


@dataclass(frozen=True)
class Limits:
    """``silence_seconds``: within one request. ``area`` begins the codes of errors, that who asked may know them."""

    connect_seconds: float
    silence_seconds: float
    area: str


class SftpHost:
    """One connection to one host, opened when needed and again after a failure; many SFTP sessions on it."""

    def __init__(self, login: Login, limits: Limits) -> None:
        self.login = login
        self._limits = limits
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
        except (EOFError, paramiko.SSHException, SFTPError) as error:
            self._drop(transport)
            raise self._silent(what, error) from error
        except OSError as error:
            if not transport.is_active() or is_silence(error):
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
            channel = transport.open_session(timeout=self._limits.silence_seconds)
            channel.settimeout(self._limits.silence_seconds)
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
        login, seconds = self.login, self._limits.connect_seconds
        known, keys = self._known(what), self._keys(what)
        try:
            wire = socket.create_connection((login.host, login.port), timeout=seconds)
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # without it, 20 times fewer requests a second
            transport = Transport(wire)
        except (OSError, paramiko.SSHException) as error:
            raise self._silent(what, error) from error
        try:
            transport.banner_timeout = transport.auth_timeout = transport.handshake_timeout = seconds
            options = transport.get_security_options()
            wanted = [each for kind in known for each in SIGNED_BY.get(kind, (kind,))]
            options.key_types = tuple(each for each in wanted if each in options.key_types)
            transport.start_client(timeout=seconds)
            offered = transport.get_remote_server_key()
            if known.get(offered.get_name()) != offered:
                hint = f"find out who answers there before you change {_files(login.known_hosts)}"
                raise self._fault("other-host", what, f"{login.name} shows another key than known_hosts has", hint)
            self._enter(what, transport, keys)
            transport.set_keepalive(KEEPALIVE_SECONDS)
        except NciaError:
            transport.close()
            raise
        except (OSError, EOFError, paramiko.SSHException) as error:
            transport.close()
            raise self._silent(what, error) from error
        return transport

    def _known(self, what: str) -> dict[str, paramiko.PKey]:
        """The host's keys by kind, as the files have them."""
        login = self.login
        found: dict[str, paramiko.PKey] = {}
        for file in login.known_hosts:
            try:
                for kind, key in (paramiko.HostKeys(str(file)).lookup(login.shown) or {}).items():
                    found.setdefault(kind, key)
            except FileNotFoundError:
                continue  # no host is known by it
            except (OSError, paramiko.SSHException) as error:
                raise self._fault("no-key", what, f"the secrets cannot be used: {error}", str(file)) from error
        if not found:
            why = f"{login.name} ({login.shown}) is not in known_hosts"
            hint = f"put its key into {_files(login.known_hosts)} by a way you trust"
            raise self._fault("unknown-host", what, why, hint)
        return found

    def _keys(self, what: str) -> list[paramiko.PKey]:
        """What can be shown to the host. A key that cannot be used matters only where there is no other."""
        login = self.login
        found: list[paramiko.PKey] = list(paramiko.Agent().get_keys()) if login.agent else []
        faults: list[str] = []
        for file in login.keys:
            try:
                found.append(paramiko.PKey.from_path(file))
            except (OSError, paramiko.SSHException, UnknownKeyType, ValueError, TypeError) as error:
                faults.append(f"{file}: {str(error) or type(error).__name__}")
        if not found:
            why = f"the secrets cannot be used: {'; '.join(faults) or 'there is no key'}"
            raise self._fault("no-key", what, why, _files(login.keys))
        return found[:KEYS_TRIED_MAX]

    def _enter(self, what: str, transport: paramiko.Transport, keys: list[paramiko.PKey]) -> None:
        for key in keys:
            with suppress(paramiko.AuthenticationException):
                transport.auth_publickey(self.login.user, key)
            if transport.is_authenticated():
                return
        why = f"{self.login.name} refuses our key for {self.login.user}"
        raise self._fault("refused", what, why, "authorized keys there")

    def _fault(self, code: str, what: str, why: str, hint: str) -> NciaError:
        return NciaError(f"{self._limits.area}.{code}", what, why, hint)

    def _silent(self, what: str, error: BaseException) -> Unreachable:
        login = self.login
        why = f"{login.name} does not answer: {str(error) or type(error).__name__}"
        return Unreachable(f"{self._limits.area}.unreachable", what, why, f"is {login.host}:{login.port} up?")


def free_bytes(client: Session, place: str) -> int | None:
    """What is left for us on the file system of ``place`` (``statvfs@openssh.com``); None where the host tells not."""
    try:
        kind, message = client.extended("statvfs@openssh.com", place)
        if kind != CMD_EXTENDED_REPLY:
            return None
        block, fragment, _, _, available = struct.unpack(">5Q", message.get_bytes(40))
        return int(available) * int(fragment or block)
    except (OSError, struct.error):
        return None


def _files(paths: tuple[Path, ...]) -> str:
    return " or ".join(str(path) for path in paths) or "a file that is named"
