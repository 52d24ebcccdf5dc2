"""What a mending brings back is written down as kept there, as old as it is, and ages out like all else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backup.agencies.ports import Asked
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries_care import SnapshotMended
from ncia.core.journal.entries_repositories import SnapshotForgotten
from tests.backup.agencies.world import EAST, INTERVAL, LOOK_SECONDS, TAX, WEST, World
from tests.fakes.jobs import MemorySteps
from tests.fakes.repository import FakeStore


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One snapshot is at both sites, a later one at the west alone: the east's place was away."""
    found = World(tmp_path).kept()
    found.documents[EAST].put("2026/b", b"another", 2000.0)
    hidden, found.stores[EAST] = found.stores[EAST], FakeStore()
    (job,) = (each for each in found.tick(INTERVAL) if each.order.verb == "snapshot")
    found.stores[EAST] = hidden
    assert (job.state, len(found.fact(EAST).expected), len(found.fact(WEST).expected)) == ("failed", 1, 2)
    yield found
    found.close()


def mend(world: World) -> list[SnapshotMended]:
    job = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert job.state == "succeeded", job.sentence
    return mended(world)


def mended(world: World) -> list[SnapshotMended]:
    return [entry.body for entry in world.journal.entries(EAST) if isinstance(entry.body, SnapshotMended)]


def test_what_a_mending_brings_is_expected_here_and_as_old_as_it_is_there(world: World) -> None:
    assert (TAX, EAST) in world.states.snapshot().snapshot_failures
    (found,) = mend(world)
    there = world.fact(WEST).expected[-1]
    here = world.fact(EAST).expected[-1]
    assert (here.at, here.kept.snapshot, here.kept.tree) == (there.at, there.kept.snapshot, there.kept.tree)
    assert (found.site, found.source_site, found.reason[:41]) == (
        EAST,
        WEST,
        "mended from west, where it was kept: due ",
    )
    world.look()
    assert (world.look().looked.strangers, world.look().looked.missing) == (0, ())
    assert world.states.snapshot().snapshot_failures == {}
    assert mend(world) == [found]  # once


def test_it_ages_out_with_a_reason_as_all_others_do(world: World) -> None:
    (found,) = mend(world)
    for number in range(4):
        world.documents[EAST].put(f"2026/{number}", b"%d" % number, 3000.0 + number)
        world.tick(INTERVAL)
    gone = [body.snapshot for body in world.told() if isinstance(body, SnapshotForgotten)]
    assert found.snapshot in gone
    assert found.snapshot not in world.snapshots(EAST)


def test_what_was_forgotten_here_and_comes_back_with_a_mending_goes_again(world: World) -> None:
    first = world.fact(EAST).expected[0].kept
    told = {"agency": first.agency, "dataset": first.dataset, "site": EAST, "snapshot": first.snapshot}
    world.journal.append(SnapshotForgotten(**told, reason="han: the agency asked for it"), by="han")
    assert [each.snapshot for each in mend(world)] == [world.fact(WEST).expected[-1].kept.snapshot]
    for _ in range(3):
        world.tick(LOOK_SECONDS + 1)
    assert first.snapshot not in world.snapshots(EAST)
    assert first.snapshot in world.snapshots(WEST)


def test_what_nobody_wrote_down_stays_a_stranger(world: World) -> None:
    place = world.place(world.agency, WEST)
    kept = world.engine.backup(place, Asked((str(world.folder / "password"),), "somebody"))
    assert kept.snapshot not in {each.snapshot for each in mend(world)}
    world.look()
    assert (kept.snapshot in world.snapshots(EAST), world.look().looked.strangers) == (True, 1)


def test_a_mending_that_was_interrupted_before_it_was_written_down_is_written_down_by_the_next_attempt(
    world: World,
) -> None:
    world.jobs.close()
    world.jobs.freeze()
    job = replace(world.jobs.get(world.task.mend(TAX, "kim").id), state="running", fence=1)
    world.jobs._known[job.id] = job
    steps = MemorySteps(job, {})
    healed = steps.do("mend", lambda: {"mended": ["snapshot"], "lost": []})  # what came is recorded, and no more
    assert healed["mended"]
    world.engine.heal(world.place(world.agency, EAST), world.place(world.agency, WEST))
    world.works["mend-repository"](job, steps)
    assert len(mended(world)) == 1


def test_the_repository_of_an_agency_without_documents_is_mended_by_the_name_of_its_rows(world: World) -> None:
    system = world.estate.systems[SystemId("tax")]
    rows = tuple(each for each in system.datasets if not each.documents)
    estate = replace(world.estate, systems={system.id: replace(system, datasets=rows)})
    world.task.parts = replace(world.task.parts, estate=estate)
    job = world.jobs.wait(world.task.mend("tax/rows", "kim").id, 60)
    assert job.state == "succeeded", job.sentence
    assert [each.dataset for each in mended(world)] == [TAX]  # what was kept before comes back, too
    assert not world.task.keeps("tax/rows")
