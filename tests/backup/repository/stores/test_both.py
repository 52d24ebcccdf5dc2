"""A store of two: what one place does not keep stops nobody, and what counts on it is not written there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from backup.repository.care.checking import Checked, Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.format.keys import Holder, add_key, remove_key
from backup.repository.locks import Lock
from backup.repository.ports import Kind, Missing, Stored, StoreFault
from backup.repository.repository import Repository, open_repository
from backup.repository.save.saving import Request, Saved, save
from backup.repository.stores.both import Both, Side, Wait
from backup.repository.stores.retry import Unanswered
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.faults import Fault, FaultyStore
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

CLOCK = SystemClock()
NAME = "ab" * 32
SEALED = (Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS)


class Silent:
    """``store``, which says nothing from the ``at``-th save on, until :meth:`come_back`: then it does what it was
    asked."""

    def __init__(self, store: FakeStore, at: int) -> None:
        self.store = store
        self._at = at
        self._saves = 0
        self._back = threading.Event()
        self.waiting = threading.Semaphore(0)
        self.woken = threading.Semaphore(0)

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        self._saves += 1
        silent = self._saves >= self._at and not self._back.is_set()
        if silent:
            self.waiting.release()
            self._back.wait()
        self.store.save(kind, name, data)
        if silent:
            self.woken.release()

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        return self.store.load(kind, name, offset, length)

    def size(self, kind: Kind, name: str) -> int:
        return self.store.size(kind, name)

    def names(self, kind: Kind) -> Iterator[Stored]:
        return self.store.names(kind)

    def remove(self, kind: Kind, name: str) -> None:
        self.store.remove(kind, name)

    def create(self) -> None:
        self.store.create()

    def close(self) -> None:
        self._back.set()

    def wait(self, side: Side, future: Future[object], seconds: float) -> object:
        """Of this one's answers: until it is silent."""
        while side.store is self and not future.done():
            if self.waiting.acquire(timeout=0.01):
                self.waiting.release()
                raise TimeoutError
        return future.result(seconds)

    def come_back(self) -> None:
        self._back.set()


class World:
    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        self.change(1)
        self.one = new()
        self.two = twin_of(self.one)

    def change(self, seed: int) -> None:
        (self.source / f"file{seed}").write_bytes(noise(seed, 5000))

    def backup(self, first: object, second: object, wait: Wait | None = None) -> tuple[Saved, Both]:
        both = Both((Side(first, "here"), Side(second, "there")), 60.0, wait)
        repository = Repository(both, self.one.key, self.one.config)
        return save(repository, Request((str(self.source),), HOLDER, workers=1), CLOCK), both

    def check(self, repository: Repository) -> Checked:
        return Checking(open_repository(repository.store, PASSWORD), Share()).run()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def sealed(repository: Repository) -> dict[tuple[Kind, str], bytes]:
    return {key: content for key, content in repository.store.held.items() if key[0] in SEALED}


def test_a_backup_is_the_same_at_both_places(world: World) -> None:
    for seed in (2, 3):
        world.change(seed)
        _, both = world.backup(world.one.store, world.two.store)
        assert [side.fault for side in both.sides] == ["", ""]
    assert sealed(world.one) == sealed(world.two)
    assert [each.name for each in both.names(Kind.LOCKS)] == []
    assert world.check(world.two).holds
    assert world.check(world.two).snapshots == 2


class Down(FakeStore):
    """Nobody answers there."""

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        raise Unanswered("repository.unreachable", f"load {kind}", "nobody answers")

    def names(self, kind: Kind) -> Iterator[Stored]:
        raise Unanswered("repository.unreachable", f"list {kind}", "nobody answers")

    def size(self, kind: Kind, name: str) -> int:
        raise Unanswered("repository.unreachable", f"look at {kind}", "nobody answers")

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        raise Unanswered("repository.unreachable", f"save {kind}", "nobody answers")


PASSWORDS = {"here": lambda: PASSWORD, "there": lambda: PASSWORD}


@pytest.mark.parametrize("down", [0, 1])
def test_a_place_that_is_down_from_the_beginning_is_given_up_whichever_it_is(world: World, down: int) -> None:
    stores: list[FakeStore] = [world.one.store, world.two.store]
    stores[down] = Down()
    both = Both((Side(stores[0], "here"), Side(stores[1], "there")))
    repository = both.opened(PASSWORDS)
    saved = save(repository, Request((str(world.source),), HOLDER), CLOCK)
    assert [bool(side.fault) for side in both.sides] == [down == 0, down == 1]
    assert [both.has(side, Kind.SNAPSHOTS, saved.snapshot.id) for side in both.sides] == [down == 1, down == 0]
    left = (world.one, world.two)[not down]
    assert world.check(left).holds
    assert [each.id for each in reopened(left).snapshots()] == [saved.snapshot.id]


def test_a_place_that_says_nothing_from_the_beginning_is_given_up(world: World) -> None:
    def wait(side: Side, future: Future[object], seconds: float) -> object:
        if side.where == "here":
            raise TimeoutError
        return future.result(seconds)

    both = Both((Side(world.one.store, "here"), Side(world.two.store, "there")), 7.0, wait)
    both.opened(PASSWORDS)
    assert both.sides[0].fault == "open the repository at here: no answer for 7 s"


def test_each_place_is_opened_by_its_own_password_and_that_of_the_second_is_asked_for_only_when_needed(
    world: World,
) -> None:
    add_key(world.two.store, world.two.key, "its own", HOLDER, CLOCK.now(), CHEAP)
    remove_key(world.two.store, world.two.key_name or next(iter(world.two.store.names(Kind.KEYS))).name, "")
    asked: list[str] = []

    def second() -> str:
        asked.append("there")
        return "its own"

    passwords = {"here": lambda: PASSWORD, "there": second}
    Both((Side(world.one.store, "here"), Side(world.two.store, "there"))).opened(passwords)
    assert asked == []
    Both((Side(Down(), "here"), Side(world.two.store, "there"))).opened(passwords)
    assert asked == ["there"]


def test_where_no_place_answers_it_is_the_last_ones_fault() -> None:
    with pytest.raises(Unanswered, match="nobody answers"):
        Both((Side(Down(), "here"), Side(Down(), "there"))).opened(PASSWORDS)


def test_a_wrong_password_is_no_place_that_is_down(world: World) -> None:
    passwords = {"here": lambda: "guess", "there": lambda: PASSWORD}
    with pytest.raises(NciaError, match="opens none"):
        Both((Side(world.one.store, "here"), Side(world.two.store, "there"))).opened(passwords)


@pytest.mark.parametrize("silent_from", range(1, 6))
def test_a_place_that_stops_answering_in_the_middle_ends_no_backup_and_a_copy_heals_it_when_it_is_back(
    world: World, silent_from: int
) -> None:
    silent = Silent(world.two.store, silent_from)
    saved, both = world.backup(world.one.store, silent, silent.wait)
    assert both.sides[0].fault == ""
    assert "no answer for" in both.sides[1].fault
    assert world.check(world.one).holds
    assert reopened(world.one).snapshots()[0].id == saved.snapshot.id
    silent.come_back()
    while silent.waiting.acquire(blocking=False):  # what it was asked before it was given up, it does now
        silent.woken.acquire()
    assert world.check(world.two).holds
    Copying(reopened(world.one), reopened(world.two), lambda: None).run()
    assert sealed(world.one).items() <= sealed(world.two).items()
    assert world.check(world.two).holds


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.IO_ERROR, Fault.LOST, Fault.KEEPS_NOTHING])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_fault_at_any_call_of_one_place_leaves_a_whole_backup_at_the_other_and_what_holds_here(
    tmp_path: Path, fault: Fault, bad: int
) -> None:
    world = World(sub(tmp_path, "first"))
    stores = [world.one.store, world.two.store]
    counting = FaultyStore(stores[bad])
    stores[bad] = counting
    world.backup(*stores)
    for at in range(1, len(counting.calls) + 1):
        world = World(sub(tmp_path, f"{at}"))
        pair = [world.one, world.two]
        stores = [each.store for each in pair]
        stores[bad] = FaultyStore(stores[bad], fault, at)
        saved, _ = world.backup(*stores)
        assert [each.id for each in reopened(pair[1 - bad]).snapshots()] == [saved.snapshot.id]
        assert world.check(pair[1 - bad]).holds
        assert world.check(pair[bad]).holds


def sub(folder: Path, name: str) -> Path:
    found = folder / name
    found.mkdir()
    return found


def test_what_one_of_them_lacks_is_kept_again_so_that_the_snapshot_is_whole_at_both(world: World) -> None:
    save(reopened(world.one), Request((str(world.source),), HOLDER), CLOCK)
    world.change(2)
    saved, _ = world.backup(world.one.store, world.two.store)
    assert saved.figures.new == 2
    assert world.check(world.one).holds
    assert world.check(world.two).holds
    assert len(reopened(world.two).snapshots()) == 1


def test_a_lock_at_either_place_is_seen_and_ours_stands_at_both(world: World) -> None:
    with Lock(reopened(world.two), Holder("pruner", "elsewhere"), CLOCK, exclusive=True):
        with pytest.raises(Refusal, match="pruner@elsewhere"):
            world.backup(world.one.store, world.two.store)
    both = Both((Side(world.one.store, "here"), Side(world.two.store, "there")))
    lock = Lock(Repository(both, world.one.key, world.one.config), HOLDER, CLOCK)
    with lock:
        for each in (world.one, world.two):
            with pytest.raises(Refusal):
                Lock(reopened(each), HOLDER, CLOCK, exclusive=True).take()
        for stored in list(world.two.store.names(Kind.LOCKS)):
            world.two.store.remove(Kind.LOCKS, stored.name)
        lock.refresh()
        with pytest.raises(Refusal, match="somebody removed its lock"):
            lock.demand()


def test_the_last_place_is_not_given_up_and_its_faults_are_the_callers(world: World) -> None:
    class Broken(FakeStore):
        def save(self, kind: Kind, name: str, data: object) -> None:
            raise StoreFault("repository.full", "save", "the disk is full")

    both = Both((Side(Broken(), "here"), Side(Broken(), "there")))
    with pytest.raises(NciaError, match="the disk is full"):
        both.save(Kind.DATA, NAME, b"1")
    assert sorted(side.fault != "" for side in both.sides) == [False, True]


def test_what_one_does_not_have_is_read_at_the_other() -> None:
    here, there = FakeStore(), FakeStore()
    there.save(Kind.DATA, NAME, b"1234")
    both = Both((Side(here, "here"), Side(there, "there")))
    assert both.load(Kind.DATA, NAME, 1, 2) == b"23"
    assert both.size(Kind.DATA, NAME) == 4
    assert list(both.names(Kind.DATA)) == []
    with pytest.raises(Missing):
        both.load(Kind.INDEX, NAME)
