"""Commands on the estate's hosts: the port that backup and recovery share. ``ncia.app.ssh`` fills it with SSH."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ncia.core.base.errors import NciaError

if TYPE_CHECKING:
    from ncia.core.estate.model import Host

OUTPUT_BYTES_MAX = 4 * 1024 * 1024
"""What a command may print on either stream; more than that is a file's business."""

STDIN_BYTES_MAX = 1024 * 1024

TAIL_CHARACTERS = 600


@dataclass(frozen=True)
class Outcome:
    """How a command ended. ``exit`` is its status; a command killed by signal n ends as 128 + n."""

    exit: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """What it printed, as text; bytes that are no UTF-8 are shown as such."""
        return self.stdout.decode("utf-8", "backslashreplace")

    def demand(self, code: str, what: str, hint: str = "") -> Outcome:
        """This outcome where it is a success; raises :class:`NciaError` with the end of its stderr where it is not."""
        if self.exit == 0:
            return self
        told = (self.stderr.strip() or self.stdout.strip()).decode("utf-8", "backslashreplace")
        raise NciaError(code, what, f"exit {self.exit}: {told[-TAIL_CHARACTERS:] or 'it printed nothing'}", hint)


class Pipes(Protocol):
    """Runs a command on one host and feeds what it prints to a command on another one."""

    def pipe(
        self, source: Host, read: Sequence[str], target: Host, write: Sequence[str], *, timeout_seconds: float
    ) -> tuple[Outcome, Outcome]:
        """How ``read`` on ``source`` and ``write`` on ``target`` ended; the bytes between them pass in pieces.

        The writer's input ends where the reader's output does, whether that was whole or not: whoever asks compares
        what was written. Both are killed after ``timeout_seconds``. Raises
        :class:`~ncia.core.base.errors.Unreachable` as :meth:`Remote.run` does."""
        ...


class Streams(Protocol):
    """Runs a command on a host that prints, or is fed, more than a message."""

    def read(
        self, host: Host, argv: Sequence[str], take: Callable[[bytes], object], *, timeout_seconds: float
    ) -> Outcome:
        """How ``argv`` ended, after ``take`` had all that it printed, a piece at a time and in order; ``stdout`` of the
        outcome is empty. What ``take`` raises ends the command and is raised. Raises
        :class:`~ncia.core.base.errors.Unreachable` as :meth:`Remote.run` does."""
        ...

    def feed(self, host: Host, argv: Sequence[str], pieces: Iterable[bytes], *, timeout_seconds: float) -> Outcome:
        """How ``argv`` ended, which was fed ``pieces`` and then the end of its input. A command that ends before its
        input says itself why. What ``pieces`` raises ends the command, before the end of its input, and is raised."""
        ...


class Remote(Protocol):
    """Runs commands on hosts. Safe to use from many threads at once."""

    def run(self, host: Host, argv: Sequence[str], *, timeout_seconds: float, stdin: bytes = b"") -> Outcome:
        """Run ``argv`` (no shell in between) on ``host`` with ``stdin`` and answer how it ended.

        The command is killed on the host itself after ``timeout_seconds``, also when we are gone: make it idempotent.
        Secrets travel in ``stdin``, never in ``argv``. Raises :class:`~ncia.core.base.errors.Unreachable` where the
        host did not answer or the command did not end in time: then nothing is known about whether it acted.
        """
        ...
