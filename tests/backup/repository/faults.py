"""A repository's store that fails at one call of one's choice, and a clock that is wrong: for sweeps over every call.

Run once without a fault to learn how many calls there are (:attr:`FaultyStore.calls`), then once for each of them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NoReturn, TypeVar

from backup.repository.format.layout import told
from backup.repository.ports import Kind, Store, Stored, StoreFault
from backup.repository.stores.retry import Unanswered
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError

T = TypeVar("T")


class Fault(StrEnum):
    NONE = "none"
    KILLED_BEFORE = "the process is killed before the call does anything"
    KILLED_AFTER = "the process is killed once the call is done, before it knows"
    FULL = "the disk is full, and stays so until heal()"
    IO_ERROR = "the disk fails once"
    BUSY = "503 SlowDown, once"
    TRUNCATED = "the upload breaks off, and an honest store keeps nothing of it"
    HALF = "the upload breaks off, and a store that is not atomic keeps half of it under the name"
    LOST = "it is done, and the answer is lost"
    LATE = "the answer is lost, and it is done only after a later call: a retry overtakes it"
    KEEPS_NOTHING = "it is answered with 200, and not done"


class Killed(BaseException):
    """The process is no more: nothing catches this but whoever watches over the sweep."""


@dataclass(frozen=True)
class Call:
    verb: str
    kind: Kind | None = None
    name: str = ""


def raise_killed() -> NoReturn:
    raise Killed


class FaultyStore:
    """``store``, with ``fault`` at the ``at``-th call (from 1). ``die`` ends the process; what is asked afterwards is
    asked by nobody. ``late_by``: how many calls overtake one that is :attr:`Fault.LATE`."""

    def __init__(
        self,
        store: Store,
        fault: Fault = Fault.NONE,
        at: int = 0,
        die: Callable[[], NoReturn] = raise_killed,
        late_by: int = 1,
    ) -> None:
        self.store = store
        self.calls: list[Call] = []
        self._fault = fault
        self._at = at
        self._die = die
        self._late_by = late_by
        self._late: list[tuple[int, Callable[[], object]]] = []
        self._dead = self._full = False
        self._lock = threading.Lock()

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        content = bytes(data)  # what is late finds the buffer used again
        half = content[: len(content) // 2]
        call = Call("save", kind, name)
        self._changed(call, lambda: self.store.save(kind, name, content), lambda: self.store.save(kind, name, half))

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._asked(Call("load", kind, name), lambda: self.store.load(kind, name, offset, length))

    def size(self, kind: Kind, name: str) -> int:
        return self._asked(Call("size", kind, name), lambda: self.store.size(kind, name))

    def names(self, kind: Kind) -> Iterator[Stored]:
        return iter(self._asked(Call("names", kind), lambda: tuple(self.store.names(kind))))

    def remove(self, kind: Kind, name: str) -> None:
        self._changed(Call("remove", kind, name), lambda: self.store.remove(kind, name), lambda: None)

    def create(self) -> None:
        self._changed(Call("create"), self.store.create, lambda: None)

    def close(self) -> None:
        """The store below outlives whoever was killed."""

    def heal(self) -> None:
        """Room was made."""
        self._full = False

    def arrive(self) -> None:
        """Whatever is still on its way arrives now."""
        with self._lock:
            late, self._late = self._late, []
        for _, done in late:
            _unheard(done)

    def _asked(self, call: Call, do: Callable[[], T]) -> T:
        """What changes nothing: it is answered, or it is not."""
        fault = self._met(call)
        if fault in (Fault.BUSY, Fault.LOST, Fault.LATE, Fault.TRUNCATED, Fault.HALF):
            raise _unanswered(call)
        answer = do()
        if fault is Fault.KILLED_AFTER:
            self._end()
        return answer

    def _changed(self, call: Call, do: Callable[[], None], half: Callable[[], None]) -> None:
        fault = self._met(call)
        if self._full and call.verb != "remove":
            raise StoreFault("repository.full", _what(call), "the disk is full: No space left on device")
        if fault in (Fault.BUSY, Fault.TRUNCATED):
            raise _unanswered(call)
        if fault is Fault.KEEPS_NOTHING:
            return
        if fault is Fault.LATE:
            with self._lock:
                self._late.append((len(self.calls) + self._late_by, do))
            raise _unanswered(call)
        (half if fault is Fault.HALF else do)()
        if fault in (Fault.LOST, Fault.HALF):
            raise _unanswered(call)
        if fault is Fault.KILLED_AFTER:
            self._end()

    def _met(self, call: Call) -> Fault:
        """The fault of this call, where it comes before anything is done. What is late arrives first, if it is due."""
        if self._dead:
            raise Killed
        with self._lock:
            self.calls.append(call)
            count = len(self.calls)
            due = [done for after, done in self._late if after < count]
            self._late = [each for each in self._late if each[0] >= count]
        for done in due:
            _unheard(done)
        fault = self._fault if count == self._at else Fault.NONE
        if fault is Fault.KILLED_BEFORE:
            self._end()
        if fault is Fault.FULL:
            self._full = True
        if fault is Fault.IO_ERROR:
            raise StoreFault("repository.failed", _what(call), "the file system says: Input/output error")
        return fault

    def _end(self) -> NoReturn:
        self._dead = True
        self._die()


@dataclass
class SkewedClock:
    """``clock``, with its time of day off by ``seconds``; they may change under way. Its boot time is right: what must
    not be fooled uses that."""

    clock: Clock
    seconds: float = field(default=0.0)

    def now(self) -> datetime:
        return self.clock.now() + timedelta(seconds=self.seconds)

    def boottime_ns(self) -> int:
        return self.clock.boottime_ns()


def _what(call: Call) -> str:
    return f"{call.verb} {told(call.kind, call.name)}" if call.kind else call.verb


def _unanswered(call: Call) -> Unanswered:
    return Unanswered("repository.unreachable", _what(call), "the store does not answer: it was told not to")


def _unheard(do: Callable[[], object]) -> None:
    try:
        do()
    except NciaError:
        return
