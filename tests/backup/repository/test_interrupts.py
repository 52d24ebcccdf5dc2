"""Ctrl-C at every call to the store: the lock is given back, nothing proven is lost, and the next run ends the work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.care.pruning import Wish, prune
from backup.repository.care.removal import alone
from backup.repository.care.repairing import Repairing
from backup.repository.locks import Lock
from backup.repository.ports import Kind, Stored
from backup.repository.repository import Repository, open_repository
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

CLOCK = SystemClock()
NOW_ALL = Wish(timedelta(0), 0.0)


class Interrupted(FakeStore):
    """``held`` as it is; Ctrl-C comes at the ``at``-th call that the thread of the command makes."""

    def __init__(self, held: dict[tuple[Kind, str], bytes], at: int) -> None:
        super().__init__()
        self.held = dict(held)
        self.at, self.calls = at, 0
        self._main = threading.current_thread()

    def _counted(self) -> None:
        if threading.current_thread() is self._main:
            self.calls += 1
            if self.calls == self.at:
                raise KeyboardInterrupt

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        self._counted()
        super().save(kind, name, data)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._counted()
        return super().load(kind, name, offset, length)

    def size(self, kind: Kind, name: str) -> int:
        self._counted()
        return super().size(kind, name)

    def names(self, kind: Kind) -> Iterator[Stored]:
        self._counted()
        return super().names(kind)

    def remove(self, kind: Kind, name: str) -> None:
        self._counted()
        super().remove(kind, name)


Verb = Callable[[Repository, "World"], object]


class World:
    """A repository with a snapshot and much that nobody needs, and its twin."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "source"
        self.source.mkdir()
        repository = new()
        for seed in range(2):
            for number in range(2):
                (self.source / f"{number}").write_bytes(noise(seed * 9 + number, 4000))
            made = save(reopened(repository), Request((str(self.source),), HOLDER), CLOCK)
            if seed == 0:
                repository.store.remove(Kind.SNAPSHOTS, made.snapshot.id)
        self.held = dict(repository.store.held)
        twin = twin_of(repository)
        Copying(reopened(repository), twin, lambda: None).run()
        self.twin = twin
        self.snapshots = {name for kind, name in self.held if kind is Kind.SNAPSHOTS}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("interrupts"))


def backup_(repository: Repository, world: World) -> object:
    return save(repository, Request((str(world.source),), HOLDER, parent=False, workers=1), CLOCK)


def prune_(repository: Repository, world: World) -> object:
    with alone(repository, HOLDER, CLOCK) as lock:
        return prune(repository, lock, CLOCK.now(), NOW_ALL)


def check_(repository: Repository, world: World) -> object:
    with Lock(repository, HOLDER, CLOCK):
        return Checking(repository, Share()).run()


def repair_(repository: Repository, world: World) -> object:
    for kind, name in list(repository.store.held):
        if kind is Kind.INDEX:
            del repository.store.held[kind, name]
            break
    with Lock(repository, HOLDER, CLOCK, exclusive=True) as lock:
        return Repairing(repository, world.twin, lock.demand, Share()).run()


def calls_of(world: World, verb: Verb) -> int:
    store = Interrupted(world.held, 0)
    verb(open_repository(store, PASSWORD), world)
    return store.calls


@pytest.mark.parametrize("verb", [backup_, prune_, check_, repair_])
def test_at_any_call_it_ends_with_nothing_lost_and_its_lock_given_back(world: World, verb: Verb) -> None:
    """Every call of the beginning and the end, where locks come and go, and some of those between."""
    calls = calls_of(world, verb)
    for at in sorted({*range(1, 13), *range(12, calls - 6, 5), *range(calls - 6, calls + 1)}):
        store = Interrupted(world.held, at)
        with pytest.raises(KeyboardInterrupt):
            verb(open_repository(store, PASSWORD), world)
        assert [name for kind, name in store.held if kind is Kind.LOCKS] == []
        store.at = 0
        verb(open_repository(store, PASSWORD), world)
        assert Checking(open_repository(store, PASSWORD), Share()).run().faults == []
        assert world.snapshots <= {name for kind, name in store.held if kind is Kind.SNAPSHOTS}
