"""Hosts that are this machine: commands run as subprocesses, as SSH would run them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence

from ncia.core.base.errors import Unreachable
from ncia.core.estate.model import Host
from ncia.core.work.remote import Outcome

AS_NOBODY: tuple[str, ...] = ("unshare", "--user", "--map-user=65534", "--map-group=65534") if os.geteuid() == 0 else ()
"""PostgreSQL refuses root."""

PIECE_BYTES = 50_000  # odd to everything


class LocalRemote:
    """A :class:`ncia.core.work.remote.Remote`; ``silent`` names hosts that do not answer."""

    def __init__(self) -> None:
        self.silent: set[str] = set()
        self.ran: list[tuple[str, ...]] = []
        self.as_user = AS_NOBODY
        self.cut_at: int | None = None  # a pipe that passes on so many bytes and no more

    def run(self, host: Host, argv: Sequence[str], *, timeout_seconds: float, stdin: bytes = b"") -> Outcome:
        self.ran.append(tuple(argv))
        if host.id in self.silent:
            raise Unreachable("remote.unreachable", f"reach host {host.id} for {argv[0]}", "it is silent")
        try:
            told = subprocess.run([*self.as_user, *argv], input=stdin, capture_output=True, timeout=timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise Unreachable("remote.timed-out", f"run {argv[0]} on {host.id}", str(error)) from error
        return Outcome(told.returncode, told.stdout, told.stderr)

    def pipe(
        self, source: Host, read: Sequence[str], target: Host, write: Sequence[str], *, timeout_seconds: float
    ) -> tuple[Outcome, Outcome]:
        printed = self.run(source, read, timeout_seconds=timeout_seconds)
        return printed, self.run(target, write, timeout_seconds=timeout_seconds, stdin=printed.stdout[: self.cut_at])

    def read(
        self, host: Host, argv: Sequence[str], take: Callable[[bytes], object], *, timeout_seconds: float
    ) -> Outcome:
        told = self.run(host, argv, timeout_seconds=timeout_seconds)
        printed = told.stdout[: self.cut_at]
        for at in range(0, len(printed), PIECE_BYTES):
            take(printed[at : at + PIECE_BYTES])
        return Outcome(told.exit, b"", told.stderr)

    def feed(self, host: Host, argv: Sequence[str], pieces: Iterable[bytes], *, timeout_seconds: float) -> Outcome:
        return self.run(host, argv, timeout_seconds=timeout_seconds, stdin=b"".join(pieces)[: self.cut_at])
