"""Who may come in at an SSH host of the lab, and what sshd would write about it.

The platform's own users come in with a key each, and no password is asked for: what production's hosts should be
like. While ``ncia lab attack`` runs the host is set up badly on purpose: it asks for passwords, and one account has a
weak one. Whoever comes in with that can do nothing.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from ncia.lab.logs import SshLog

WEAK_ACCOUNT = "weak_account"  # in the host's folder, while an attack is being tried: {"user": …, "password": …}
TRIES_MAX = 6  # as OpenSSH's MaxAuthTries


@dataclass
class Door(asyncssh.SSHServer):
    """One connection: lets in ``users`` by key alone, and the weak account while there is one."""

    users: Mapping[str, Path]  # each by a key of that file alone
    folder: Path  # the host's, where the weak account is while there is one
    log: SshLog
    _connection: asyncssh.SSHServerConnection | None = None
    _peer: tuple[str, int] = ("", 0)
    _tried: str = ""
    _how: tuple[str, str] = ("", "")
    _failures: int = 0
    _inside: bool = False
    _unknown: set[str] = field(default_factory=set)

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        without_ignores(conn)
        self._peer = tuple(conn.get_extra_info("peername")[:2])

    def begin_auth(self, username: str) -> bool:
        self._tried = username
        if not self._known(username) and username not in self._unknown:
            self._unknown.add(username)
            self.log.invalid_user(username, self._peer)
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        # Another user's name meets no authorized key at all.
        if username not in self.users:
            return False
        authorized = asyncssh.read_authorized_keys(str(self.users[username]))
        if authorized.validate(key, self._peer[0], self._peer[0]) is None:
            return False
        kind = key.get_algorithm().removeprefix("ssh-").upper()
        self._how = ("publickey", f"{kind} {key.get_fingerprint()}")
        return True

    def password_auth_supported(self) -> bool:
        return weak_account(self.folder) is not None

    def validate_password(self, username: str, password: str) -> bool:
        weak = weak_account(self.folder)
        if weak is not None and username == weak[0] and hmac.compare_digest(password.encode(), weak[1].encode()):
            self._how = ("password", "")
            return True
        self.log.failed("password", username, self._known(username), self._peer)
        self._failures += 1
        if self._failures >= TRIES_MAX and self._connection is not None:
            self.log.too_many(username, self._known(username), self._peer)
            self._connection.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many failures")
        return False

    def kbdint_auth_supported(self) -> bool:
        return False

    def auth_completed(self) -> None:
        self._inside = True
        self.log.accepted(self._how[0], self._tried, self._peer, self._how[1])

    def connection_lost(self, exc: Exception | None) -> None:
        self.log.closed(self._tried, self._known(self._tried), self._inside, self._peer)

    def _known(self, username: str) -> bool:
        weak = weak_account(self.folder)
        return username in self.users or (weak is not None and username == weak[0])


def without_ignores(connection: Any) -> None:
    """Send no empty message before each one that says something. The library does, against a weakness of ciphers that
    nobody uses here; sshd does not. It doubles the packets that every reader and the WAN between have to carry."""
    send = connection.send_packet

    def send_packet(kind: int, *words: bytes, **more: Any) -> None:
        if kind != asyncssh.constants.MSG_IGNORE:
            send(kind, *words, **more)

    connection.send_packet = send_packet


def weak_account(folder: Path) -> tuple[str, str] | None:
    """Name and password of the host's weak account; None in normal life."""
    try:
        told = json.loads((folder / WEAK_ACCOUNT).read_text(encoding="utf-8"))
        return str(told["user"]), str(told["password"])
    except (OSError, ValueError, KeyError):
        return None
