"""What no snapshot needs is marked and then removed, at the own site alone, never while something is wrong there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.agencies.clearing import RETRY_SECONDS, waits
from backup.agencies.ports import Engine, Share
from backup.agencies.telling import repositories
from backup.engines.own import OwnEngine
from backup.repository.ports import Kind
from ncia.core.base.errors import NciaError
from ncia.core.estate import Estate
from ncia.core.estate.repository import Rotation
from ncia.core.journal.entries_care import PruneFailed, PruneStarted
from ncia.core.journal.entries_repositories import RepositoryChecked, RepositoryPruned, SnapshotForgotten
from ncia.core.work.jobs import Cancelled, Job
from tests.backup.agencies.able import Able
from tests.backup.agencies.world import EAST, LOOK_SECONDS, TAX, TREASURY, WEST, World, estate_of
from tests.backup.repository.sample import CHEAP
from tests.fakes.jobs import MemorySteps
from tests.fakes.repository import FakeStore

DAY = 86_400.0
WEEK = 7 * DAY
SELDOM = 1000 * DAY


def estate(interval_seconds: float = SELDOM) -> Estate:
    """Documents are kept, and places read, so seldom that nothing else is due."""
    base = estate_of()
    changed = {"interval_seconds": interval_seconds, "check": Rotation(SELDOM, parts=2)}
    repository = replace(base.agencies[TREASURY].repository, **changed)
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


@dataclass
class Aging(World):
    """Also the engine has this world's clock: it marks, and a week later removes."""

    estate: Estate = field(default_factory=estate)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.engine = OwnEngine(lambda url: self.stores[url], self.clock, "0.1.0", cost=CHEAP)

    def filled(self) -> Aging:
        """Five snapshots an hour apart, each of a document that was written anew; one of them is forgotten."""
        self.made()
        source = random.Random(7)
        for number in range(5):
            self.documents[EAST].put("2026/a", source.randbytes(50_000), 1000.0 + number)
            self.jobs.wait(self.task.ask(TAX, "kim").id, 60)
            self.tick(3600)
        self.tick(LOOK_SECONDS)
        assert any(isinstance(body, SnapshotForgotten) for body in self.told())
        return self


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Aging]:
    found = Aging(tmp_path).filled()
    yield found
    found.close()


def pruned(world: World) -> list[RepositoryPruned]:
    return [body for body in world.told() if isinstance(body, RepositoryPruned)]


def prune(world: World, seconds: float) -> Job:
    (job,) = world.tick(seconds)
    assert job.order.verb == "prune-repository"
    return job


def packs(world: World, site: str) -> int:
    return len(list(world.stores[site].names(Kind.DATA)))


def sentence(world: World) -> str:
    places = repositories(world.estate, world.states.snapshot(), world.clock.now())["repositories"]
    return next(str(each["prune"]["unwell"]) for each in places if each["site"] == EAST)


def test_what_no_snapshot_needs_is_marked_and_a_week_later_removed_here_alone(world: Aging) -> None:
    before = packs(world, EAST)
    assert prune(world, WEEK).state == "succeeded"
    (first,) = pruned(world)
    assert (first.marked > 0, first.marked_bytes > 50_000, first.removed, packs(world, EAST)) == (True, True, 0, before)
    assert (first.site, first.agency, first.reason[:7]) == (EAST, TREASURY, "due at ")
    assert world.tick(DAY) == []
    job = prune(world, WEEK)
    second = pruned(world)[-1]
    assert (job.state, second.removed, second.removed_bytes) == ("succeeded", first.marked, first.marked_bytes)
    assert (packs(world, EAST), packs(world, WEST)) == (before - first.marked, before)
    assert world.engine.check(world.place(world.agency, EAST), Share()).holds
    assert world.look().looked.missing == ()
    assert f"{first.marked} removed" in job.sentence


def test_nothing_is_removed_while_a_snapshot_is_missing_and_it_says_so(world: Aging) -> None:
    name = world.fact(EAST).expected[-1].kept.snapshot
    content = world.stores[EAST].held.pop((Kind.SNAPSHOTS, name))
    assert world.tick(WEEK) == []  # it looks before it orders one
    assert f"its prune waits: something is missing or damaged: snapshot {name[:8]}" in sentence(world)
    world.stores[EAST].held[Kind.SNAPSHOTS, name] = content
    world.look()
    assert (sentence(world), prune(world, RETRY_SECONDS).state) == ("", "succeeded")


def test_a_snapshot_that_vanishes_before_the_job_begins_stops_it(world: Aging) -> None:
    world.jobs.close()
    world.jobs.freeze()
    world.clock.moment += timedelta(seconds=WEEK)
    world.task.tick(world.clock.now())
    (job,) = world.jobs.open()
    name = world.fact(EAST).expected[-1].kept.snapshot
    world.stores[EAST].remove(Kind.SNAPSHOTS, name)
    (ended,) = [world.jobs.wait(job.id, 60)] if world.jobs.start(world.works, world.jobs._limits) is None else []
    assert (ended.state, f"snapshot {name[:8]} is not there" in ended.sentence, pruned(world)) == ("failed", True, [])


def test_nothing_is_removed_while_faults_of_a_reading_stand(world: Aging) -> None:
    fact = world.fact(EAST)
    faulty = RepositoryChecked(
        job="check:1",
        agency=TREASURY,
        site=EAST,
        repository=fact.made.repository,
        part=1,
        of=2,
        bytes_read=1,
        bytes_all=2,
        faults=1,
        named=("pack 8e68c22b is bad",),
        started_at="",
        ended_at="",
    )
    world.journal.append(faulty, by="x")
    assert world.tick(WEEK) == []
    assert sentence(world) == "its prune waits: something is missing or damaged: pack 8e68c22b is bad"
    world.journal.append(faulty.model_copy(update={"faults": 0, "named": ()}), by="x")
    assert prune(world, 1).state == "succeeded"


def test_it_stays_out_of_the_way_of_a_backup_that_is_due_but_not_for_ever(world: Aging, tmp_path: Path) -> None:
    near = estate(interval_seconds=8 * DAY)
    now = world.clock.now() + timedelta(seconds=WEEK)
    args = (near, world.states.snapshot(), near.agencies[TREASURY], EAST)
    assert waits(*args, now) == f"a backup of {TAX} is due, and would find it locked"
    assert waits(*args, now + timedelta(seconds=WEEK / 2)) == ""
    assert waits(*args, now - timedelta(days=1)) == ""  # it is not due


def test_one_that_nobody_carries_out_is_told(world: Aging) -> None:
    world.engine = Able(world.engine, prunes=False)
    job = prune(world, WEEK)
    assert (job.state, "it removes what no snapshot needs" in job.sentence, pruned(world)) == ("failed", True, [])
    assert (sentence(world), world.tick(1)) == ("", [])
    prune(world, WEEK)
    assert sentence(world).startswith("its prune is due since 2026-")


def test_a_place_that_does_not_answer_is_not_pruned(world: Aging) -> None:
    world.stores[EAST] = FakeStore()
    assert world.tick(WEEK) == []
    assert "there is none at this place" in sentence(world)


def begun(world: World) -> list[PruneStarted | PruneFailed]:
    kinds = (PruneStarted, PruneFailed)
    return [entry.body for entry in world.journal.entries(EAST) if isinstance(entry.body, kinds)]


def test_that_it_begins_is_written_down_with_its_reason_before_anything_is_removed(world: Aging) -> None:
    seen: list[int] = []

    class Watching:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            if name == "prune":
                seen.append(len(begun(world)))
            return getattr(self.engine, name)

    world.engine = Watching(world.engine)
    job = prune(world, WEEK)
    (started,) = begun(world)
    assert (seen, started.job, started.reason[:7], pruned(world)[0].job) == ([1], job.id, "due at ", job.id)
    assert world.fact(EAST).pruning is None


def test_one_that_fails_is_written_down_and_told_until_the_next_one_ends_well(world: Aging) -> None:
    class Full:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            if name == "prune":
                raise NciaError("repository.failed", "save an index", "no space left there")
            return getattr(self.engine, name)

    whole, world.engine = world.engine, Full(world.engine)
    assert prune(world, WEEK).state == "failed"
    assert [type(each) for each in begun(world)] == [PruneStarted, PruneFailed]
    assert "(calendar) did not end well: save an index: no space left there" in sentence(world)
    world.engine = whole
    assert prune(world, RETRY_SECONDS).state == "succeeded"
    assert (sentence(world), world.fact(EAST).pruning) == ("", None)


def test_one_that_was_interrupted_and_is_in_no_queue_any_more_is_seen(world: Aging) -> None:
    """A controller that was killed in the middle, and whose queue was lost with it."""
    started = PruneStarted(
        job="prune:lost", agency=TREASURY, site=EAST, repository=world.fact(EAST).made.repository, reason="due"
    )
    world.journal.append(started, by="calendar")
    world.journal.append(started.model_copy(update={"site": WEST}), by="calendar")  # that is the other centre's to see
    world.tick(1)
    (failed,) = (each for each in begun(world) if isinstance(each, PruneFailed))
    assert (failed.job, failed.site, "it was interrupted" in failed.error) == ("prune:lost", EAST, True)
    assert "it was interrupted" in sentence(world)
    world.tick(1)
    assert len(begun(world)) == 3


def test_one_that_a_person_cancelled_tells_so(world: Aging) -> None:
    world.jobs.close()
    world.jobs.freeze()
    world.clock.moment += timedelta(seconds=WEEK)
    world.task.tick(world.clock.now())
    (job,) = world.jobs.open()
    running = replace(job, state="running", fence=1)
    world.jobs._known[job.id] = running

    def check() -> Job:
        return replace(running, cancelled_by="kim" if begun(world) else "")

    with pytest.raises(Cancelled):
        world.works["prune-repository"](running, MemorySteps(running, {}, check))
    assert [type(each) for each in begun(world)] == [PruneStarted, PruneFailed]
    assert (begun(world)[-1].error, pruned(world)) == ("kim has cancelled it", [])
