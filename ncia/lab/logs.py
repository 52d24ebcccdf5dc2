"""Logs of the lab's hosts and applications, in the forms of the real programs: OpenSSH's through rsyslog, nginx's.

A log is turned over as logrotate does it: renamed, and begun anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ncia.core.config import SiteSettings

ROTATE_BYTES = 8 * 1024 * 1024
ROTATED_KEPT = 2
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def now() -> datetime:
    return datetime.now(UTC)


def auth_log(settings: SiteSettings, host: str) -> Path:
    return settings.log / "hosts" / host / "auth.log"


def access_log(settings: SiteSettings, service: str) -> Path:
    return settings.log / "access" / f"{service}.log"


class LogFile:
    """Appends whole lines; turned over at ``rotate_bytes``."""

    def __init__(self, path: Path, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open()

    def write(self, line: str) -> None:
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        if self._size + len(data) > self._rotate_bytes:
            self._turn_over()
        os.write(self._handle, data)
        self._size += len(data)

    def close(self) -> None:
        os.close(self._handle)

    def _open(self) -> None:
        self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._handle).st_size

    def _turn_over(self) -> None:
        os.close(self._handle)
        for number in range(ROTATED_KEPT, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            if newer.exists():
                newer.replace(older)
        self._open()


class SshLog:
    """What OpenSSH's sshd would write, with the peer's real address."""

    def __init__(self, file: LogFile, host: str, clock: Callable[[], datetime] = now) -> None:
        self._file = file
        self._host = host
        self._clock = clock

    def invalid_user(self, user: str, peer: tuple[str, int]) -> None:
        self._write(f"Invalid user {quoted(user)} from {peer[0]} port {peer[1]}")

    def failed(self, method: str, user: str, known: bool, peer: tuple[str, int]) -> None:
        who = quoted(user) if known else f"invalid user {quoted(user)}"
        self._write(f"Failed {method} for {who} from {peer[0]} port {peer[1]} ssh2")

    def accepted(self, method: str, user: str, peer: tuple[str, int], key: str = "") -> None:
        told = f": {key}" if key else ""
        self._write(f"Accepted {method} for {quoted(user)} from {peer[0]} port {peer[1]} ssh2{told}")

    def too_many(self, user: str, known: bool, peer: tuple[str, int]) -> None:
        who = f"{'authenticating' if known else 'invalid'} user {quoted(user)}"
        self._write(f"Disconnecting {who} {peer[0]} port {peer[1]}: Too many authentication failures [preauth]")

    def closed(self, user: str, known: bool, authenticated: bool, peer: tuple[str, int]) -> None:
        if authenticated:
            self._write(f"Disconnected from user {quoted(user)} {peer[0]} port {peer[1]}")
        elif user:
            who = f"{'authenticating' if known else 'invalid'} user {quoted(user)}"
            self._write(f"Connection closed by {who} {peer[0]} port {peer[1]} [preauth]")
        else:
            self._write(f"Connection closed by {peer[0]} port {peer[1]}")

    def _write(self, message: str) -> None:
        at = self._clock().astimezone(UTC).isoformat(timespec="microseconds")
        self._file.write(f"{at} {self._host} sshd[{os.getpid()}]: {message}")


class AccessLog:
    """nginx's ``combined`` form. The client is whom one of ``fronts`` names (``X-Forwarded-For``), else the peer."""

    def __init__(
        self, file: LogFile, fronts: frozenset[str] = frozenset(), clock: Callable[[], datetime] = now
    ) -> None:
        self._file = file
        self._fronts = fronts
        self._clock = clock

    def answered(self, peer: str, request: str, headers: Mapping[str, str], status: int, body_bytes: int) -> None:
        client = headers.get("x-forwarded-for", peer) if peer in self._fronts else peer
        at = self._clock().astimezone(UTC)
        time = f"{at.day:02d}/{MONTHS[at.month - 1]}/{at.year}:{at:%H:%M:%S} +0000"
        referrer, agent = (escaped(headers.get(name, "-") or "-") for name in ("referer", "user-agent"))
        line = f'{escaped(client)} - - [{time}] "{escaped(request)}" {status} {body_bytes} "{referrer}" "{agent}"'
        self._file.write(line)


def quoted(user: str) -> str:
    """As sshd's strnvis writes names: nothing of a log line can be forged by a name."""
    return "".join(c if 33 <= ord(c) <= 126 and c != "\\" else "".join(f"\\{b:03o}" for b in c.encode()) for c in user)


def escaped(text: str) -> str:
    """As nginx escapes variables in logs."""
    return "".join(
        c if 32 <= ord(c) <= 126 and c not in '"\\' else "".join(f"\\x{b:02X}" for b in c.encode()) for c in text
    )
