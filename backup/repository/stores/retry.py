"""A store that is asked again: what got no answer until patience ends, what was not kept a few times.

Every call of the port may be repeated: a save finds its own bytes under the name and is content, a removal finds
nothing, and all else changes nothing. So an answer that was lost costs time and no more.
"""

from __future__ import annotations

import secrets as entropy
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from typing import Protocol, TypeVar

from backup.repository.ports import Kind, Store, Stored, StoreFault
from backup.repository.retaining import (
    Capabilities,
    File,
    RetainedStore,
    Retention,
    Undeleted,
    Verdict,
    capabilities_of,
)
from ncia.core.base.errors import Unreachable

PAUSE_SECONDS = 0.25  # the first; each is twice the one before
PAUSE_SECONDS_MAX = 30.0
PATIENCE_SECONDS = 120.0  # of pauses; how long an answer may take is the adapter's
NOT_KEPT_TIMES_MAX = 3

T = TypeVar("T")
Pause = Callable[[float], None]
Hear = Callable[[StoreFault, float], None]


class Unanswered(StoreFault, Unreachable):
    """The store did not answer, or asks for patience: nothing is known about whether it acted, and it may be asked
    again."""


class NotKept(StoreFault):
    """The store said that it took a file, and holds other bytes of that name, or none."""


class Retrying:
    """``store`` as :class:`~backup.repository.ports.Store`. Who waits is told by ``hear`` (the fault, the pause in
    seconds); ``pause`` waits."""

    def __init__(
        self,
        store: Store,
        patience_seconds: float = PATIENCE_SECONDS,
        hear: Hear | None = None,
        pause: Pause | None = None,
    ) -> None:
        self._store = store
        self._pauses = pauses(patience_seconds)
        self._hear = hear
        self._hurried = threading.Event()
        self._pause = pause or self._hurried_or_over

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        self._asked(lambda: self._store.save(kind, name, data))

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._asked(lambda: self._store.load(kind, name, offset, length))

    def size(self, kind: Kind, name: str) -> int:
        return self._asked(lambda: self._store.size(kind, name))

    def names(self, kind: Kind) -> Iterator[Stored]:
        """A listing that broke off begins anew, so it is whole before its first name is told."""
        return iter(self._asked(lambda: tuple(self._store.names(kind))))

    def remove(self, kind: Kind, name: str) -> None:
        self._asked(lambda: self._store.remove(kind, name))

    def create(self) -> None:
        self._asked(self._store.create)

    def capabilities(self) -> Capabilities:
        return self._asked(lambda: capabilities_of(self._store))

    def hurry(self) -> None:
        """Whoever waits for another attempt gets the last fault, and from now on all is asked once."""
        self._hurried.set()

    def close(self) -> None:
        self.hurry()
        self._store.close()

    def _asked(self, ask: Callable[[], T]) -> T:
        not_kept = 0
        for seconds in self._pauses:
            try:
                return ask()
            except Unanswered as fault:
                again: StoreFault = fault
            except NotKept as fault:
                again, not_kept = fault, not_kept + 1
                if not_kept == NOT_KEPT_TIMES_MAX:
                    raise
            if self._hear is not None:
                self._hear(again, seconds)
            self._pause(seconds * (0.5 + entropy.randbelow(501) / 1000))  # many writers do not come back as one
            if self._hurried.is_set():
                raise again
        return ask()

    def _hurried_or_over(self, seconds: float) -> None:
        self._hurried.wait(seconds)


class Attackable(Store, Protocol):
    """What is attacked, and not believed."""

    def prove(self) -> Verdict: ...


class RetryingHost(Retrying):
    """The same of a host whose account may be one that only adds."""

    def __init__(self, store: Attackable, patience_seconds: float = PATIENCE_SECONDS) -> None:
        super().__init__(store, patience_seconds)
        self._host = store

    def prove(self) -> Verdict:
        return self._asked(self._host.prove)


class RetryingRetained(Retrying):
    """The same of a store that retains. An undeletion that is repeated finds back what the first one brought, so what
    this one tells may be less than was done: whether all is there is seen by a listing."""

    def __init__(
        self,
        store: RetainedStore,
        patience_seconds: float = PATIENCE_SECONDS,
        hear: Hear | None = None,
        pause: Pause | None = None,
    ) -> None:
        super().__init__(store, patience_seconds, hear, pause)
        self.below = store

    def retention(self) -> Retention | None:
        return self._asked(self.below.retention)

    def saved_before(self, kind: Kind, moment: datetime) -> Iterator[str]:
        return iter(self._asked(lambda: tuple(self.below.saved_before(kind, moment))))

    def prove(self) -> Verdict:
        return self._asked(self.below.prove)

    def retained_until(self, kind: Kind, name: str) -> datetime | None:
        return self._asked(lambda: self.below.retained_until(kind, name))

    def extend(self, kind: Kind, name: str, until: datetime) -> None:
        self._asked(lambda: self.below.extend(kind, name, until))

    def undelete(self, since: datetime, expected: Collection[File] = ()) -> Undeleted:
        return self._asked(lambda: self.below.undelete(since, expected))


def pauses(patience_seconds: float) -> tuple[float, ...]:
    """Between the attempts: doubled each time up to a bound, ``patience_seconds`` in all."""
    found: list[float] = []
    left, pause = patience_seconds, PAUSE_SECONDS
    while left > 0:
        found.append(min(pause, left))
        left -= found[-1]
        pause = min(2 * pause, PAUSE_SECONDS_MAX)
    return tuple(found)
