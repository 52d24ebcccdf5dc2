"""The controller's mirrors: who pulls when, what is written down, and that it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from backup.replicate.task import (
    BUSY_TURN_SECONDS,
    REST_SHARE,
    TURN_PHASE_SECONDS,
    TURN_SECONDS,
    MirrorTask,
    Parts,
    pause_seconds,
)
from ncia.core.base.ids import DatasetId, HostId, SiteId, SystemId
from ncia.core.estate.model import Address, BucketCopy, Dataset, Promise, Replication, TreeCopy
from ncia.core.journal import Journal
from ncia.core.journal.entries import MirrorChanged
from ncia.core.state import StateStore
from ncia.core.work.documents import MARK, Documents, Mark, time_folder
from tests.backup.world import estate_with
from tests.core.journal.sites import EAST, EPOCH, WEST, SetClock, journal_of, sqlite_url
from tests.fakes.documents import FakeDocuments
from tests.lab_apps.world import eventually

TAX, LETTERS = SystemId("tax"), DatasetId("tax/letters")


@dataclass
class SetStores:
    """A store of its own for each site."""

    stores: dict[SiteId, FakeDocuments] = field(default_factory=dict)
    closed: bool = False

    def of(self, copy: TreeCopy | BucketCopy) -> Documents:
        return self.stores.setdefault(copy.site, FakeDocuments(copy.site))

    def close(self) -> None:
        self.closed = True


class World:
    def __init__(self, folder: Path) -> None:
        estate = estate_with(Address("127.0.0.1", 9))
        system = estate.systems[TAX]
        copies = {site: TreeCopy(site, HostId(f"{site}-files"), "letters") for site in (EAST, WEST)}
        letters = Dataset(
            LETTERS, TAX, "files", Promise(5, 60), Replication.ASYNCHRONOUS, {}, documents=copies, partition="time"
        )
        object.__setattr__(system, "datasets", (*system.datasets, letters))
        self.clock = SetClock()
        self.folder = folder
        self.estate = estate
        self.stores = SetStores()
        self.active = EAST
        self.journal = journal_of(WEST, sqlite_url(folder, "west"), self.clock)
        self.states = StateStore(self.journal)
        self.task = self.begin()

    def begin(self, states: StateStore | None = None, journal: Journal | None = None) -> MirrorTask:
        return MirrorTask(
            Parts(
                estate=self.estate,
                site=WEST,
                journal=journal or self.journal,
                states=states or self.states,
                stores=self.stores,
                clock=self.clock,
                active=lambda: {TAX: self.active},
            )
        )

    @property
    def source(self) -> FakeDocuments:
        return self.stores.stores[EAST]

    @property
    def target(self) -> FakeDocuments:
        return self.stores.stores[WEST]

    def act(self, name: str) -> None:
        self.source.put(f"{time_folder(self.clock.now())}/{name}", name.encode(), self.clock.now().timestamp())
        self.source.put(MARK, Mark(self.clock.now(), 1).to_bytes())

    def turn(self, seconds: float = 1.0) -> None:
        self.clock.moment += timedelta(seconds=seconds)
        self.task.followers[LETTERS].turn()

    def told(self) -> list[tuple[str, str]]:
        entries = self.journal.entries(WEST, 0, 100)
        return [(e.body.state, e.body.sentence) for e in entries if isinstance(e.body, MirrorChanged)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.task.close()
    made.journal.close()


def test_the_receiving_site_pulls_what_is_active_at_the_other_one(world: World) -> None:
    world.act("a")
    world.turn()
    assert world.target.documents() == world.source.documents()
    assert world.told() == [("following", "from east to west")]
    assert world.states.snapshot().mirrors[(LETTERS, WEST)].body.state == "following"


@pytest.mark.parametrize(("spent", "pause"), [(0.1, BUSY_TURN_SECONDS - 0.1), (8.0, 8.0 * REST_SHARE)])
def test_who_is_busy_takes_short_turns_and_who_is_slow_rests_a_share_of_them(spent: float, pause: float) -> None:
    assert pause_seconds(spent, 25, 100.0) == pause


@pytest.mark.parametrize("now", [100.0, 100.6, 100.7, 100.71])
def test_who_has_nothing_to_do_turns_when_a_canary_has_just_been_written(now: float) -> None:
    pause = pause_seconds(0.1, 0, now)
    assert (now + pause) % TURN_SECONDS == pytest.approx(TURN_PHASE_SECONDS)
    assert TURN_SECONDS / 4 <= pause < TURN_SECONDS / 4 + TURN_SECONDS


@pytest.mark.parametrize(("spent", "pause"), [(0.9, 0.9 * REST_SHARE), (8.0, 8.0 * REST_SHARE)])
def test_who_is_slow_does_not_wait_for_the_next_canary(spent: float, pause: float) -> None:
    assert pause_seconds(spent, 0, 100.0) == pytest.approx(pause)


def test_a_turn_tells_how_much_it_brought(world: World) -> None:
    world.act("a")
    world.clock.moment += timedelta(seconds=1)
    assert [world.task.followers[LETTERS].turn() for _ in range(2)] == [1, 0]


def test_what_is_active_here_is_not_pulled_and_nothing_is_said_of_it(world: World) -> None:
    world.act("a")
    world.active = WEST
    world.turn()
    assert (world.target.calls, world.told()) == ([], [])


def test_a_mirror_that_is_no_longer_needed_is_said_to_be_idle(world: World) -> None:
    world.act("a")
    world.turn()
    world.active = WEST
    world.turn()
    world.turn()
    assert [state for state, _ in world.told()] == ["following", "idle"]


def test_a_moments_trouble_is_not_written_down_and_a_lasting_one_is_once_with_its_reason(world: World) -> None:
    world.act("a")
    world.turn()
    world.act("b")
    world.target.keeps = lambda content: b"other"
    world.turn()
    assert [state for state, _ in world.told()] == ["following"]
    for _ in range(5):
        world.turn(seconds=2)
    states = world.told()
    assert [state for state, _ in states] == ["following", "failing"]
    assert states[1][1].endswith("/b to west: the store said that it has it, and holds other bytes")
    world.target.keeps = lambda content: content
    world.turn()
    assert [state for state, _ in world.told()] == ["following", "failing", "following"]


def test_a_silent_source_is_a_failing_mirror(world: World) -> None:
    world.source.silent = True
    for _ in range(3):
        world.turn(seconds=2)
    assert world.told() == [("failing", f"get {MARK}: east does not answer")]


def test_a_controller_that_starts_again_repeats_nothing_that_is_written(world: World) -> None:
    world.act("a")
    world.turn()
    world.task = world.begin()
    world.turn()
    assert [state for state, _ in world.told()] == ["following"]


def test_followers_run_by_themselves_are_started_again_when_one_ends_and_end_when_told(world: World) -> None:
    world.clock.moment = EPOCH
    world.act("a")
    world.task.tick(world.clock.now())
    eventually(lambda: world.target.documents() == world.source.documents())
    thread = next(t for t in threading.enumerate() if t.name == f"mirror {LETTERS}")
    world.task.tick(world.clock.now())
    assert [t for t in threading.enumerate() if t.name == f"mirror {LETTERS}"] == [thread]
    world.task.close()
    thread.join(timeout=10)
    assert (thread.is_alive(), world.stores.closed) == (False, True)
