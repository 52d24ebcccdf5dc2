"""A store of two stores that hold the same: each file is saved at both at once, and one that fails is given up.

A backup must not wait for ever for a site that was cut off. So each call has a bound at each place; a place that does
not keep a file, or says nothing until then, gets nothing more: what it has is a part of a backup, without the index and
snapshot that would count on it, and a copy brings the rest. What is known is what both have, so that what is written
counts on nothing that one of them lacks. The last place that is left is not given up: its faults are the caller's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoAnswer
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from backup.repository.faults import Damaged
from backup.repository.format.layout import told
from backup.repository.format.settings import config_of
from backup.repository.ports import Kind, Missing, Store, Stored, StoreFault
from backup.repository.repository import Repository, open_repository
from ncia.core.base.errors import NciaError, Refusal

WAIT_SECONDS = 300.0  # of one call at one place: a pack over a slow line, or the patience of a store that asks again
LAST_WORD_SECONDS = 5.0  # of a lock's removal at a place that was given up

T = TypeVar("T")


@dataclass
class Side:
    """One of the places. ``fault``: why it was given up; empty while it was not."""

    store: Store
    where: str
    fault: str = ""


Wait = Callable[[Side, "Future[Any]", float], Any]  # for an answer of a side, so many seconds; else NoAnswer


class Both:
    """``sides`` as one :class:`~backup.repository.ports.Store`. ``wait`` waits for an answer."""

    def __init__(self, sides: Sequence[Side], wait_seconds: float = WAIT_SECONDS, wait: Wait | None = None) -> None:
        self.sides = tuple(sides)
        self._wait_seconds = wait_seconds
        self._wait = wait or (lambda _, future, seconds: future.result(seconds))
        self._lock = threading.Lock()
        self._lingers = False

    def lingers(self) -> bool:
        """Once it gave up waiting: who comes to himself later must not find other bytes in what he was given."""
        return self._lingers

    def opened(self, passwords: Mapping[str, Callable[[], str]]) -> Repository:
        """The repository of both, opened at the first place that answers by the password of that place (by ``where``);
        one that does not is given up. Refuses where the other one is no twin of it."""
        found = self._opened(passwords)
        self.demand_twins(found)
        return Repository(self, found.key, found.config, found.key_name)

    def _opened(self, passwords: Mapping[str, Callable[[], str]]) -> Repository:
        for side in self._live():
            asked = _asked(partial(open_repository, side.store, passwords[side.where]()))
            try:
                opened: Repository = self._answer("open the repository", side, asked)
            except StoreFault as fault:
                self._give_up(side, fault)  # raises it of the last one
            else:
                return opened
        return self._opened(passwords)

    def demand_twins(self, repository: Repository) -> None:
        """Refuses where a side is not the repository that is open. One that says nothing is given up, as ever."""
        for side in self._live():
            what = f"keep a backup at {side.where} as well"
            try:
                sealed = self._answer(what, side, _asked(partial(side.store.load, Kind.CONFIG, "")))
                same = config_of(repository.sealer.open(sealed, what)).id == repository.config.id
            except Missing as error:
                hint = "ncia repo init --twin makes one"
                raise NciaError("repository.none", what, "there is no repository", hint) from error
            except Damaged:
                same = False
            except StoreFault as fault:
                self._give_up(side, fault)
                continue
            if not same:
                hint = "ncia repo init --twin makes one; ncia repo repair --from mends one"
                raise Refusal("repository.no-twin", what, "it is no twin, or its configuration is damaged", hint)

    def apart(self, kind: Kind) -> int:
        """How many files of a kind are not at all places."""
        found = [{each.name for each in names} for names in self._each(f"list {kind}", partial(_names, kind))]
        return len(set().union(*found) - set(found[0]).intersection(*found[1:]))

    def has(self, side: Side, kind: Kind, name: str) -> bool:
        """Also of one that was given up: is it there? What says nothing has not got it."""
        wait_seconds = LAST_WORD_SECONDS if side.fault else self._wait_seconds
        try:
            _asked(partial(side.store.size, kind, name)).result(wait_seconds)
        except (NoAnswer, NciaError):
            return False
        return True

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        content = memoryview(data)  # which whoever is given up may still read when the caller is done with his

        def kept(store: Store) -> None:
            store.save(kind, name, content)
            try:
                size = store.size(kind, name)
            except Missing as error:
                why = "the store took it, and does not have it"
                raise StoreFault("repository.not-kept", f"save {told(kind, name)}", why) from error
            if size != len(content):
                raise StoreFault("repository.not-kept", f"save {told(kind, name)}", f"the store has {size} bytes of it")

        self._each(f"save {told(kind, name)}", kept)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self._either(f"load {told(kind, name)}", lambda store: store.load(kind, name, offset, length))

    def size(self, kind: Kind, name: str) -> int:
        """Of a lock: that it is there no more at one of them is told."""
        what = f"look at {told(kind, name)}"
        if kind is Kind.LOCKS:
            return min(self._each(what, lambda store: store.size(kind, name)))
        return self._either(what, lambda store: store.size(kind, name))

    def names(self, kind: Kind) -> Iterator[Stored]:
        """What both have; of locks what either has."""
        what = f"list {kind}"
        if kind in (Kind.CONFIG, Kind.KEYS):
            return iter(self._either(what, partial(_names, kind)))
        listed = [{each.name: each for each in found} for found in self._each(what, partial(_names, kind))]
        names = set().union(*listed) if kind is Kind.LOCKS else set(listed[0]).intersection(*listed[1:])
        return iter([next(found[name] for found in listed if name in found) for name in sorted(names)])

    def remove(self, kind: Kind, name: str) -> None:
        self._each(f"remove {told(kind, name)}", lambda store: store.remove(kind, name))
        for side in self.sides:
            if side.fault and kind is Kind.LOCKS:  # it may be there again, and a lock that stays holds others up
                with suppress(NoAnswer, NciaError):
                    _asked(partial(side.store.remove, kind, name)).result(LAST_WORD_SECONDS)

    def create(self) -> None:
        self._each("make a repository", lambda store: store.create())

    def close(self) -> None:
        for side in self.sides:
            with suppress(NoAnswer):
                _asked(side.store.close).result(LAST_WORD_SECONDS)

    def _each(self, what: str, ask: Callable[[Store], T]) -> list[T]:
        """The answers of all that were not given up, asked at the same time. Raises :class:`Missing` where one has no
        such file, and the fault of the last one."""
        live = self._live()
        asked = [(side, _asked(partial(ask, side.store))) for side in live]
        answers: list[T] = []
        missing: Missing | None = None
        for side, future in asked:
            try:
                answers.append(self._answer(what, side, future))
            except Missing as error:
                missing = error
            except StoreFault as fault:
                self._give_up(side, fault)
        if missing is not None:
            raise missing
        return answers or self._each(what, ask)  # all that were asked failed, and one is left by somebody else's turn

    def _either(self, what: str, ask: Callable[[Store], T]) -> T:
        """The first one's answer; the next one's where it has no such file or fails."""
        missing: Missing | None = None
        for side in self._live():
            try:
                return self._answer(what, side, _asked(partial(ask, side.store)))
            except Missing as error:
                missing = missing or error
            except StoreFault as fault:
                self._give_up(side, fault)
        if missing is not None:
            raise missing
        return self._either(what, ask)

    def _answer(self, what: str, side: Side, future: Future[T]) -> T:
        try:
            answer: T = self._wait(side, future, self._wait_seconds)
        except NoAnswer as error:
            self._lingers = True
            why = f"no answer for {self._wait_seconds:.0f} s"
            raise StoreFault("repository.unreachable", f"{what} at {side.where}", why, "is it cut off?") from error
        return answer

    def _live(self) -> list[Side]:
        with self._lock:
            return [side for side in self.sides if not side.fault]

    def _give_up(self, side: Side, fault: StoreFault) -> None:
        """Raises the fault instead, where no other place is left."""
        with self._lock:
            if all(other.fault for other in self.sides if other is not side):
                raise fault
            side.fault = side.fault or f"{fault.what}: {fault.why}"


def _names(kind: Kind, store: Store) -> tuple[Stored, ...]:
    return tuple(store.names(kind))


def _asked(ask: Callable[[], T]) -> Future[T]:
    """The answer to come, by a thread that nobody has to wait for, not even at the end of the process."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(ask())
        except BaseException as error:  # raised again by whoever asks for the answer
            future.set_exception(error)

    threading.Thread(target=run, name="one of two stores", daemon=True).start()
    return future
