"""The line is cut for an hour, at any call: the verb ends in one sentence, and what holds goes on once it is back."""

from __future__ import annotations

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
from backup.repository.ports import Kind, Store, Stored
from backup.repository.repository import open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.retry import PATIENCE_SECONDS, Retrying, Unanswered
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Unreachable
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

CLOCK = SystemClock()
HOUR_SECONDS = 3600.0


class Line:
    """``store`` at the other end of a line that is cut from the ``at``-th call on, for an hour by the pauses of those
    who ask again."""

    def __init__(self, store: Store, at: int) -> None:
        self.store, self.at = store, at
        self.calls, self.waited = 0, 0.0

    def pause(self, seconds: float) -> None:
        self.waited += seconds

    def _over(self, what: str) -> None:
        self.calls += 1
        if self.at and self.calls >= self.at and self.waited < HOUR_SECONDS:
            raise Unanswered("repository.unreachable", what, "no answer for 60 s", "is the line cut?")

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        self._over(f"save {kind}")
        self.store.save(kind, name, data)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        self._over(f"load {kind}")
        return self.store.load(kind, name, offset, length)

    def size(self, kind: Kind, name: str) -> int:
        self._over(f"look at {kind}")
        return self.store.size(kind, name)

    def names(self, kind: Kind) -> Iterator[Stored]:
        self._over(f"list {kind}")
        return self.store.names(kind)

    def remove(self, kind: Kind, name: str) -> None:
        self._over(f"remove {kind}")
        self.store.remove(kind, name)

    def create(self) -> None:
        self._over("make it")

    def close(self) -> None:
        """Nothing is held."""


class World:
    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        self.source.mkdir()
        repository = new()
        for seed in range(2):
            (self.source / "file").write_bytes(noise(seed, 20_000))
            save(reopened(repository), Request((str(self.source),), HOLDER), CLOCK)
        self.twin = twin_of(repository).store
        Copying(reopened(repository), open_repository(self.twin, PASSWORD), lambda: None).run()
        (self.source / "file").write_bytes(noise(7, 20_000))
        self.held = dict(repository.store.held)
        self.targets = 0

    def target(self) -> Path:
        self.targets += 1
        return self.folder / f"target{self.targets}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("wan"))


def backup_(store: Store, world: World) -> None:
    save(open_repository(store, PASSWORD), Request((str(world.source),), HOLDER, workers=1), CLOCK)


def copy_(store: Store, world: World) -> None:
    """From the twin, which has more."""
    repository = open_repository(store, PASSWORD)
    with Lock(repository, HOLDER, CLOCK) as lock:
        assert Copying(open_repository(world.twin, PASSWORD), repository, lock.demand).run().faults == []


def prune_(store: Store, world: World) -> None:
    repository = open_repository(store, PASSWORD)
    with alone(repository, HOLDER, CLOCK) as lock:
        prune(repository, lock, CLOCK.now(), Wish(timedelta(0), 0.0))


def repair_(store: Store, world: World) -> None:
    repository = open_repository(store, PASSWORD)
    with Lock(repository, HOLDER, CLOCK, exclusive=True) as lock:
        assert Repairing(repository, open_repository(world.twin, PASSWORD), lock.demand, Share()).run().lost == []


def restore_(store: Store, world: World) -> None:
    repository = open_repository(store, PASSWORD)
    with Lock(repository, HOLDER, CLOCK):
        repository.load_index()
        with Restoring(repository) as restoring:
            assert not restoring.run(repository.snapshots()[0], world.target(), Way(whole=True)).partial


def lacking(held: dict[tuple[Kind, str], bytes], verb: Callable[..., None]) -> dict[tuple[Kind, str], bytes]:
    """What a copy has to bring, what a prune finds to remove, what a repair finds to mend."""
    if verb in (copy_, repair_):
        over = [key for key in held if key[0] in (Kind.DATA, Kind.INDEX)][::2]
        over += [key for key in held if key[0] is Kind.SNAPSHOTS][:1] if verb is copy_ else []
        return {key: content for key, content in held.items() if key not in over}
    if verb is prune_:
        first = next(key for key in held if key[0] is Kind.SNAPSHOTS)
        return {key: content for key, content in held.items() if key != first}
    return dict(held)


@pytest.mark.parametrize("verb", [backup_, copy_, prune_, repair_, restore_])
def test_a_line_that_is_cut_at_any_call_for_an_hour_costs_that_run_and_nothing_else(
    world: World, verb: Callable[[Store, World], None]
) -> None:
    def store_of(below: FakeStore, at: int) -> tuple[Line, Retrying]:
        line = Line(below, at)
        return line, Retrying(line, PATIENCE_SECONDS, pause=line.pause)

    def fresh() -> FakeStore:
        below = FakeStore()
        below.held = lacking(world.held, verb)
        return below

    counting, asked = store_of(fresh(), 0)
    verb(asked, world)
    calls = counting.calls
    assert calls > 5
    told: set[str] = set()
    for at in sorted({*range(1, 8), *range(8, calls - 4, 4), *range(calls - 4, calls + 1)}):
        below = fresh()
        line, asked = store_of(below, at)
        try:
            verb(asked, world)
            assert at > calls - 3  # what was done is done: only its lock could not be given back
        except Unreachable as error:
            told.add(error.why)
        assert PATIENCE_SECONDS / 2 < line.waited < HOUR_SECONDS
        line.waited = HOUR_SECONDS  # it is back
        for lock in list(below.names(Kind.LOCKS)):  # of a process of this host that is gone
            below.remove(Kind.LOCKS, lock.name)
        verb(asked, world)
        assert Checking(open_repository(below, PASSWORD), Share()).run().faults == []
    assert told == {"no answer for 60 s"}
