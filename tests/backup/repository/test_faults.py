"""Each fault is what it says, and a store that is asked again gets over those that can be got over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.stores.retry import Retrying, Unanswered
from tests.backup.repository.faults import Call, Fault, FaultyStore, Killed, SkewedClock
from tests.backup.repository.stores.places import id_of
from tests.fakes.repository import FakeStore

FIRST, SECOND = b"the first pack", b"the second pack"
ONE, TWO = id_of(FIRST), id_of(SECOND)
BOTH = {(Kind.DATA, ONE): FIRST, (Kind.DATA, TWO): SECOND}


def asking(store: FaultyStore) -> Retrying:
    return Retrying(store, pause=lambda _: None)


def work(store: Retrying | FaultyStore) -> None:
    store.create()
    store.save(Kind.DATA, ONE, FIRST)
    store.save(Kind.DATA, TWO, SECOND)
    assert store.load(Kind.DATA, ONE) == FIRST
    assert sorted(each.name for each in store.names(Kind.DATA)) == sorted((ONE, TWO))


CALLS = 5


def test_without_a_fault_every_call_is_counted() -> None:
    store = FaultyStore(FakeStore())
    work(store)
    assert store.calls == [
        Call("create"),
        Call("save", Kind.DATA, ONE),
        Call("save", Kind.DATA, TWO),
        Call("load", Kind.DATA, ONE),
        Call("names", Kind.DATA),
    ]
    assert len(store.calls) == CALLS


@pytest.mark.parametrize("at", range(1, CALLS + 1))
@pytest.mark.parametrize("fault", [Fault.BUSY, Fault.TRUNCATED, Fault.LOST, Fault.LATE])
def test_what_gets_no_answer_at_any_call_is_asked_again_and_done_once(fault: Fault, at: int) -> None:
    below = FakeStore()
    store = FaultyStore(below, fault, at)
    work(asking(store))
    store.arrive()
    assert below.held == BOTH
    assert len(store.calls) == CALLS + 1


@pytest.mark.parametrize("at", range(1, CALLS + 1))
@pytest.mark.parametrize("fault", [Fault.KILLED_BEFORE, Fault.KILLED_AFTER])
def test_whoever_is_killed_at_any_call_does_nothing_more_and_the_next_one_ends_the_work(fault: Fault, at: int) -> None:
    below = FakeStore()
    store = FaultyStore(below, fault, at)
    with pytest.raises(Killed):
        work(asking(store))
    saved = at - 2 if fault is Fault.KILLED_BEFORE else at - 1
    assert len(below.held) == min(2, max(0, saved))
    with pytest.raises(Killed):
        store.load(Kind.DATA, ONE)
    work(asking(FaultyStore(below)))
    assert below.held == BOTH


def test_a_process_that_is_to_die_for_real_is_ended_by_who_made_the_store() -> None:
    class Ended(BaseException):
        pass

    def die() -> None:
        raise Ended

    with pytest.raises(Ended):
        FaultyStore(FakeStore(), Fault.KILLED_BEFORE, 1, die).create()


def test_a_full_disk_stays_full_until_room_is_made_and_is_read_meanwhile() -> None:
    store = FaultyStore(FakeStore(), Fault.FULL, 2)
    store.save(Kind.DATA, ONE, FIRST)
    for _ in range(2):
        with pytest.raises(StoreFault) as full:
            asking(store).save(Kind.DATA, TWO, SECOND)
        assert full.value.code == "repository.full"
    assert store.load(Kind.DATA, ONE) == FIRST
    store.heal()
    store.save(Kind.DATA, TWO, SECOND)


def test_a_disk_that_fails_is_told_at_once_and_nothing_is_kept() -> None:
    store = FaultyStore(FakeStore(), Fault.IO_ERROR, 1)
    with pytest.raises(StoreFault, match="Input/output error"):
        asking(store).save(Kind.DATA, ONE, FIRST)
    assert [call.verb for call in store.calls] == ["save"]
    with pytest.raises(Missing):
        store.load(Kind.DATA, ONE)


def test_half_a_file_under_its_name_is_found_by_who_asks_again() -> None:
    store = FaultyStore(FakeStore(), Fault.HALF, 1)
    with pytest.raises(StoreFault) as found:
        asking(store).save(Kind.DATA, ONE, FIRST)
    assert found.value.code == "repository.other-content"
    assert store.load(Kind.DATA, ONE) == FIRST[: len(FIRST) // 2]


def test_what_is_late_is_done_after_the_calls_that_overtook_it() -> None:
    store = FaultyStore(FakeStore(), Fault.LATE, 1, late_by=2)
    asking(store).save(Kind.LOCKS, ONE, b"a lock")
    store.remove(Kind.LOCKS, ONE)
    assert [each.name for each in store.names(Kind.LOCKS)] == [ONE]  # the first save came after the removal


def test_a_removal_that_is_late_takes_what_was_saved_meanwhile() -> None:
    below = FakeStore()
    below.save(Kind.DATA, ONE, FIRST)
    store = FaultyStore(below, Fault.LATE, 1, late_by=2)
    asking(store).remove(Kind.DATA, ONE)
    store.save(Kind.DATA, ONE, FIRST)
    assert list(store.names(Kind.DATA)) == []


@pytest.mark.parametrize(
    "change", [lambda store: store.save(Kind.DATA, TWO, SECOND), lambda store: store.remove(Kind.DATA, ONE)]
)
def test_a_store_that_keeps_nothing_answers_as_if_it_did(change: Callable[[FaultyStore], None]) -> None:
    below = FakeStore()
    below.save(Kind.DATA, ONE, FIRST)
    change(FaultyStore(below, Fault.KEEPS_NOTHING, 1))
    assert below.held == {(Kind.DATA, ONE): FIRST}


def test_a_clock_is_off_in_its_time_of_day_only() -> None:
    class Still:
        def now(self) -> datetime:
            return datetime(2026, 11, 26, tzinfo=UTC)

        def boottime_ns(self) -> int:
            return 7

    clock = SkewedClock(Still())
    clock.seconds = 86_400.0
    assert (clock.now(), clock.boottime_ns()) == (datetime(2026, 11, 27, tzinfo=UTC), 7)


def test_an_answer_that_never_comes_is_told_as_such() -> None:
    class Silent(FakeStore):
        def size(self, kind: Kind, name: str) -> int:
            raise Unanswered("repository.unreachable", "look", "the store does not answer")

    with pytest.raises(Unanswered):
        asking(FaultyStore(Silent())).size(Kind.DATA, ONE)
