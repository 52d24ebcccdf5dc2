"""Points read again where they are kept: rot is found, a deletion is not taken for rot."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from backup.ledger import JournalLedger
from backup.perform import Performer
from backup.ports import CopyDamaged
from backup.rehash import REREAD_SECONDS, Parts, RehashTask, due, here, read_at
from backup.work import Protecting
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal.entries import BackupFinished, PointDeleted, PointRehashed
from ncia.core.work.jobs import Limits
from tests.backup.world import DATASET, NOW, WEST, World
from tests.fakes.jobs import FakeJobs

DAY = timedelta(seconds=REREAD_SECONDS)


def task_of(world: World, store: object = None) -> RehashTask:
    """The task, and an executor that carries its jobs out with ``store``."""
    jobs = FakeJobs()
    ledger = JournalLedger(world.journal, world.states, jobs.check)
    performer = Performer(ledger, world.sources, store or world.store, world.clock)  # type: ignore[arg-type]
    jobs.start(Protecting(world.estate, performer).works(), Limits())
    return RehashTask(Parts(world.estate, WEST, world.states, jobs, world.clock))


def taken(world: World) -> BackupFinished:
    return world.performer().back_up(world.charge, NOW, "backup-1")


def rehashed(world: World) -> list[PointRehashed]:
    return [e.body for e in world.journal.entries(WEST) if isinstance(e.body, PointRehashed)]


class Store:
    """Reads nothing; does what it is told to meanwhile."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile = meanwhile

    def reread(self, path: str, manifest_sha256: str) -> None:
        self.meanwhile()


def test_a_whole_copy_is_found_whole_and_a_flipped_byte_ends_its_standing(world: World) -> None:
    point = taken(world)
    world.performer().prove(point, "acts", "proof-1")
    task = task_of(world)
    (told,) = task.read_now(DATASET, "kim")["read"]
    assert (told["matched"], told["point"], told["why"]) == (True, point.point, "")
    assert world.states.snapshot().newest_proven(DATASET) is not None

    victim = next(p for p in (world.root / point.path / "data" / "base").rglob("*") if p.is_file() and p.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    (damaged,) = task.read_now(None, "kim")["read"]
    assert (damaged["matched"], victim.name in damaged["why"]) == (False, True)
    assert world.states.snapshot().newest_proven(DATASET) is None


def test_a_manifest_that_was_exchanged_is_found_by_the_journals_hash(world: World) -> None:
    point = taken(world)
    with (world.root / point.path / "data" / "backup_manifest").open("a") as manifest:
        manifest.write("\n")
    task = task_of(world)
    assert "not the one that was journalled" in task.read_now(DATASET, "kim")["read"][0]["why"]


def test_a_copy_that_vanished_is_damaged_and_one_that_was_deleted_meanwhile_is_not(world: World) -> None:
    point = taken(world)
    task = task_of(world)
    shutil.rmtree(world.root / point.path)
    assert task.read_now(DATASET, "kim")["read"][0]["matched"] is False

    def deleted() -> None:
        gone = PointDeleted(
            point=point.point, dataset=point.dataset, store_site=WEST, path=point.path, reason="superseded"
        )
        world.journal.append(gone, by="calendar")
        raise CopyDamaged("proof.copy-damaged", "read", "its manifest cannot be read")

    before = len(rehashed(world))
    with pytest.raises(Refusal, match="deleted meanwhile"):
        task_of(world, Store(deleted)).read_now(DATASET, "kim")
    assert len(rehashed(world)) == before


def test_a_store_that_cannot_be_reached_says_nothing_about_the_copy(world: World) -> None:
    taken(world)

    def unreachable() -> None:
        raise NciaError("ssh.unreachable", "run", "no route to host")

    with pytest.raises(NciaError, match="no route"):
        task_of(world, Store(unreachable)).read_now(DATASET, "kim")
    assert rehashed(world) == []


def test_the_calendar_reads_what_was_unread_for_a_day_and_nothing_else(world: World) -> None:
    taken(world)
    point = here(world.states.snapshot(), WEST)[DATASET][0]
    assert due({DATASET: (point,)}, point.at + DAY - timedelta(seconds=1)) is None
    assert due({DATASET: (point,)}, point.at + DAY) == point
    task = task_of(world)
    task.tick(point.at)
    task.tick(point.at + DAY)
    for job in task._parts.jobs.open():
        task._parts.jobs.wait(job.id, 30)
    assert [told.point for told in rehashed(world)] == [point.id]
    again = here(world.states.snapshot(), WEST)[DATASET][0]
    assert read_at(again) > read_at(replace(again, reread=None))


def test_a_dataset_that_is_not_kept_here_is_one_clear_error(world: World) -> None:
    task = task_of(world)
    with pytest.raises(Refusal, match="no recovery point of it is kept at this site"):
        task.read_now(DATASET, "kim")
    with pytest.raises(NciaError, match="not in the estate"):
        task.read_now("tax/nothing", "kim")
