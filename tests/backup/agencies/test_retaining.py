"""Retention that cannot be extended is told with the snapshot that needs it, at that place alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from backup.agencies.perform import AgencyWork
from backup.agencies.plan import FIRST_AFTER_SECONDS
from backup.agencies.retaining import broken, extended
from backup.repository.ports import Kind, Store, StoreFault
from backup.repository.retaining import Capabilities, Mode, Retention, Undeleted, Verdict
from ncia.core.estate.model import Address, BucketCopy
from ncia.core.work.jobs import Job, Limits, StepFailed
from tests.backup.agencies.points_world import ROWS, PointsWorld, estate_with_program
from tests.backup.agencies.world import EAST, TAX, TREASURY, WEST, World, estate_of
from tests.backup.repository.sample import PASSWORD
from tests.fakes.jobs import MemorySteps
from tests.fakes.repository import FakeStore

DAYS = Retention(Mode.COMPLIANCE, 4)


class Refusing(FakeStore):
    """A bucket whose key may save, and not extend."""

    def __init__(self, held: FakeStore) -> None:
        super().__init__()
        self.held = held.held

    def retention(self) -> Retention | None:
        return DAYS

    def saved_before(self, kind: Kind, moment: datetime) -> Iterator[str]:
        raise StoreFault("repository.refused", "extend", "our key has no right to extend")

    def capabilities(self) -> Capabilities:
        return Capabilities(DAYS.mode)

    def prove(self) -> Verdict:
        return Verdict("the bucket", ("shorten", "remove"), ("remove",))

    def retained_until(self, kind: Kind, name: str) -> datetime | None:
        return None

    def extend(self, kind: Kind, name: str, until: datetime) -> None:
        raise StoreFault("repository.refused", "extend", "our key has no right to extend")

    def undelete(self, since: datetime, expected: object = ()) -> Undeleted:
        return Undeleted((), ())


def test_the_snapshot_is_partial_there_and_says_so_and_whole_at_the_other_place(tmp_path: Path) -> None:
    base = estate_of()
    agency = base.agencies[TREASURY]
    assert agency.repository is not None
    places = {**agency.repository.places, EAST: BucketCopy(EAST, Address("127.0.0.1", 9), "agency")}
    agency = replace(agency, repository=replace(agency.repository, places=places))
    world = World(tmp_path, estate=replace(base, agencies={TREASURY: agency})).made()

    def opened(url: str) -> Store:
        return Refusing(world.stores[url]) if url == EAST else world.stores[url]

    world.works = AgencyWork(world.estate, world.site, replace(world.tools, store_of=opened)).works()
    world.jobs.close()
    world.jobs.start(world.works, Limits())
    world.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
    (job,) = world.tick(FIRST_AFTER_SECONDS)
    kept = world.fact(EAST).expected[-1]
    assert (job.state, kept.whole, world.fact(WEST).expected[-1].whole) == ("failed", False, True)
    assert "our key has no right to extend" in kept.kept.lost[0]
    world.close()


def test_a_job_that_is_cancelled_once_the_snapshot_is_there_writes_it_down_all_the_same(tmp_path: Path) -> None:
    """Else nobody knows of it, and nobody will ever forget it. What it holds is written of none that is not kept."""
    base = estate_with_program(estate_of())
    agency = base.agencies[TREASURY]
    places = {**agency.repository.places, EAST: BucketCopy(EAST, Address("127.0.0.1", 9), "agency")}
    agency = replace(agency, repository=replace(agency.repository, places=places))
    world = PointsWorld(tmp_path, estate=replace(base, agencies={TREASURY: agency})).with_repositories()
    world.lay("point-1")
    world.jobs.close()
    world.jobs.freeze()
    (job,) = world.points.keep(ROWS, "kim")
    running = replace(job, state="running", fence=1)
    world.jobs._known[job.id] = running

    def check() -> Job:
        return replace(running, cancelled_by="kim" if any(world.snapshots(site) for site in (EAST, WEST)) else "")

    with pytest.raises(StepFailed, match=r"retention of what it reuses: .*kim has cancelled it"):
        world.works[job.order.verb](running, MemorySteps(running, {}, check))
    kept = {site: [each.kept.snapshot for each in world.fact(site).expected] for site in (EAST, WEST)}
    assert kept == {site: world.snapshots(site) for site in (EAST, WEST)} != {EAST: [], WEST: []}
    assert world.at("point-1") == [WEST]  # the other is partial, and no copy
    world.close()


def test_documents_that_one_place_has_when_the_job_is_cancelled_are_written_down(tmp_path: Path) -> None:
    world = World(tmp_path).made()
    world.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
    world.jobs.close()
    world.jobs.freeze()
    job = world.task.ask(TAX, "kim")
    running = replace(job, state="running", fence=2)  # an earlier attempt may have kept it: one after the other
    world.jobs._known[job.id] = running
    first = next(iter(job.order.details["repositories"]))
    steps = MemorySteps(running, {}, lambda: replace(running, cancelled_by="kim" if world.snapshots(first) else ""))
    steps.recorded["keep at both"] = {"done": None}
    with pytest.raises(StepFailed, match="kim has cancelled it"):
        world.works[job.order.verb](running, steps)
    assert [each.kept.snapshot for each in world.fact(first).expected] == world.snapshots(first) != []
    world.close()


def test_a_place_that_retains_nothing_is_neither_extended_nor_attacked() -> None:
    assert extended(FakeStore(), PASSWORD, datetime.min) is None
    assert (broken(FakeStore()), broken(Refusing(FakeStore()))) == ((), ("remove",))
