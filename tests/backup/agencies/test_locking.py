"""A job that meets a lock of somebody else's comes again soon and quietly, and is told when that takes too long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from backup.agencies.clearing import unwell as not_pruned
from backup.agencies.locking import PAUSES_SECONDS
from backup.agencies.telling import repositories
from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from ncia.core.base.clock import SystemClock
from ncia.core.estate import Estate
from ncia.core.estate.repository import Rotation
from ncia.core.journal.entries_care import LockMet
from ncia.core.journal.entries_repositories import RepositoryPruned, SnapshotFailed
from ncia.core.work.jobs import Job
from tests.backup.agencies.world import EAST, INTERVAL, SELDOM, TAX, TREASURY, WEST, World, estate_of

DAY = 86_400.0
HELD = "locked by somebody@elsewhere"


def estate(check_seconds: float = SELDOM, prune_seconds: float = SELDOM, interval_seconds: float = INTERVAL) -> Estate:
    base = estate_of()
    changed = {
        "interval_seconds": interval_seconds,
        "check": Rotation(check_seconds, parts=2),
        "prune_interval_seconds": prune_seconds,
    }
    repository = replace(base.agencies[TREASURY].repository, **changed)
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path, estate=estate()).kept()
    yield found
    found.close()


@contextmanager
def held(world: World, site: str = EAST) -> Iterator[None]:
    """Somebody prunes there, on another machine."""
    lock = Lock(world.opened(site), Holder("somebody", "elsewhere"), SystemClock(), exclusive=True)
    lock.take()
    try:
        yield
    finally:
        lock.release()


def met(world: World) -> list[LockMet]:
    return [entry.body for entry in world.journal.entries(EAST) if isinstance(entry.body, LockMet)]


def failed(world: World) -> list[SnapshotFailed]:
    return [body for body in world.told() if isinstance(body, SnapshotFailed)]


def only(jobs: list[Job], verb: str) -> Job:
    (found,) = (each for each in jobs if each.order.verb == verb)
    return found


def test_a_backup_that_meets_a_prune_is_no_failure_and_comes_again_in_a_minute(world: World) -> None:
    with held(world):
        job = only(world.tick(INTERVAL), "snapshot")
        assert (job.state, HELD in job.sentence) == ("failed", True)
    (found,) = met(world)
    assert (found.verb, found.dataset, found.site, HELD in found.why) == ("snapshot", TAX, EAST, True)
    assert (failed(world), world.states.snapshot().snapshot_failures) == ([], {})
    assert [len(world.fact(site).expected) for site in (EAST, WEST)] == [1, 2]  # the other place has its copy
    assert world.tick(59) == []
    assert only(world.tick(2), "snapshot").state == "succeeded"
    assert [len(world.fact(site).expected) for site in (EAST, WEST)] == [2, 3]
    assert world.tick(INTERVAL - 60) == []  # and then at its usual time


def test_a_backup_that_meets_a_lock_for_longer_than_one_outlives_its_holder_is_a_failure(world: World) -> None:
    with held(world):
        world.tick(INTERVAL)
        for number, pause in enumerate(PAUSES_SECONDS, 2):
            assert failed(world) == []
            only(world.tick(pause + 1), "snapshot")
            assert len(met(world)) == min(number, len(PAUSES_SECONDS))
    (found,) = failed(world)
    assert (found.site, HELD in found.error) == (EAST, True)
    assert sum(PAUSES_SECONDS) > 1800
    assert only(world.tick(INTERVAL), "snapshot").state == "succeeded"


def test_a_reading_that_meets_a_lock_comes_again_in_a_minute_and_is_told_when_it_takes_too_long(tmp_path: Path) -> None:
    world = World(tmp_path, estate=estate(check_seconds=DAY, interval_seconds=SELDOM)).kept()
    with held(world):
        assert only(world.tick(DAY), "check-repository").state == "failed"
        assert (world.tick(50), said(world)) == ([], "")
        for pause in PAUSES_SECONDS[:-1]:
            only(world.tick(pause + 1), "check-repository")
    assert said(world).startswith("its reading meets a lock since 2026-")
    assert HELD in said(world)
    assert only(world.tick(PAUSES_SECONDS[-1] + 1), "check-repository").state == "succeeded"
    assert (said(world), len(met(world))) == ("", len(PAUSES_SECONDS))
    world.close()


def said(world: World) -> str:
    (place, _) = repositories(world.estate, world.states.snapshot(), world.clock.now())["repositories"]
    return str(place["locked"])


def test_a_prune_that_meets_a_lock_comes_again_in_a_minute_and_is_not_told_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path, estate=estate(prune_seconds=DAY, interval_seconds=SELDOM)).kept()
    world.look()
    with held(world):
        assert only(world.tick(DAY), "prune-repository").state == "failed"
    assert not_pruned(world.estate, world.states.snapshot(), world.agency, EAST, world.clock.now()) == ""
    assert only(world.tick(61), "prune-repository").state == "succeeded"
    assert (len(met(world)), any(isinstance(body, RepositoryPruned) for body in world.told())) == (1, True)
    world.close()


def test_whoever_asks_for_a_mending_that_meets_a_lock_is_told_at_once(world: World) -> None:
    with held(world):
        job = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (job.state, HELD in job.sentence, met(world)[0].verb) == ("failed", True, "mend-repository")


def test_two_places_that_are_locked_are_two_entries_and_one_job_that_comes_again(world: World) -> None:
    with held(world), held(world, WEST):
        only(world.tick(INTERVAL), "snapshot")
    assert [each.site for each in met(world)] == [EAST, WEST]
    assert only(world.tick(61), "snapshot").state == "succeeded"
