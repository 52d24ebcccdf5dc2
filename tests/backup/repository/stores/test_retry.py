"""How often and how long a store is asked again, and what is not asked again."""

from __future__ import annotations

import threading

import pytest

from backup.repository.ports import Kind, StoreFault
from backup.repository.stores.retry import (
    NOT_KEPT_TIMES_MAX,
    PAUSE_SECONDS,
    PAUSE_SECONDS_MAX,
    NotKept,
    Retrying,
    Unanswered,
    pauses,
)
from ncia.core.base.errors import Unreachable
from tests.backup.repository.stores.places import id_of
from tests.fakes.repository import FakeStore

NAME = id_of(b"x")


class Failing(FakeStore):
    """Fails ``times`` times in the same way, then works."""

    def __init__(self, times: int, fault: type[StoreFault] = Unanswered) -> None:
        super().__init__()
        self.asked = 0
        self._times = times
        self._fault = fault

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        self.asked += 1
        if self.asked <= self._times:
            raise self._fault("repository.test", "save", f"no {self.asked}")
        super().save(kind, name, data)


def test_pauses_double_up_to_a_bound_and_end_with_patience() -> None:
    found = pauses(120.0)
    assert found[:3] == (PAUSE_SECONDS, 2 * PAUSE_SECONDS, 4 * PAUSE_SECONDS)
    assert max(found) == PAUSE_SECONDS_MAX
    assert sum(found) == 120.0
    assert pauses(0) == ()


def test_who_waits_is_told_of_each_attempt_and_pauses_are_never_the_same_for_all() -> None:
    heard: list[tuple[str, float]] = []
    waited: list[float] = []
    store = Retrying(Failing(3), hear=lambda fault, pause: heard.append((fault.why, pause)), pause=waited.append)
    store.save(Kind.DATA, NAME, b"x")
    assert heard == [("no 1", 0.25), ("no 2", 0.5), ("no 3", 1.0)]
    for each, (_, pause) in zip(waited, heard, strict=True):
        assert 0.5 * pause <= each <= pause


def test_patience_ends_and_the_last_fault_is_told() -> None:
    store = Failing(1000)
    with pytest.raises(Unreachable) as told:
        Retrying(store, 10.0, pause=lambda _: None).save(Kind.DATA, NAME, b"x")
    assert store.asked == len(pauses(10.0)) + 1
    assert told.value.why == f"no {store.asked}"


def test_what_was_not_kept_is_tried_a_few_times_only() -> None:
    store = Failing(1000, NotKept)
    with pytest.raises(NotKept):
        Retrying(store, pause=lambda _: None).save(Kind.DATA, NAME, b"x")
    assert store.asked == NOT_KEPT_TIMES_MAX
    Retrying(Failing(NOT_KEPT_TIMES_MAX - 1, NotKept), pause=lambda _: None).save(Kind.DATA, NAME, b"x")


def test_a_refusal_is_not_asked_again() -> None:
    store = Failing(1000, StoreFault)
    with pytest.raises(StoreFault):
        Retrying(store, pause=lambda _: None).save(Kind.DATA, NAME, b"x")
    assert store.asked == 1


def test_without_patience_it_is_asked_once() -> None:
    store = Failing(1)
    with pytest.raises(Unanswered):
        Retrying(store, 0).save(Kind.DATA, NAME, b"x")
    assert store.asked == 1


def test_who_is_hurried_asks_once_and_waits_for_nothing() -> None:
    failing = Failing(1)
    store = Retrying(failing, 3600.0)
    store.hurry()
    with pytest.raises(Unanswered):
        store.save(Kind.DATA, NAME, b"x")
    store.save(Kind.DATA, NAME, b"x")  # a call that gets its answer is done all the same
    assert failing.asked == 2


def test_whoever_waits_is_let_go_when_the_store_is_closed() -> None:
    waits = threading.Event()
    faults: list[StoreFault] = []
    store = Retrying(Failing(1000), 3600.0, hear=lambda *_: waits.set())

    def save() -> None:
        with pytest.raises(Unanswered) as told:
            store.save(Kind.DATA, NAME, b"x")
        faults.append(told.value)

    saving = threading.Thread(target=save)
    saving.start()
    assert waits.wait(60)
    store.close()
    saving.join(60)
    assert len(faults) == 1
