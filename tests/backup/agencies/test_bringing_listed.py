"""What a bringing says of the points that the journal lists in its store: gone, whole, or not to be seen."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.journal.entries import BackupFinished, PointCopied
from tests.backup.agencies.points_world import EAST, ROWS, PointsWorld, files_below
from tests.backup.agencies.test_bringing import Taking, burn

ASKED = "is it mounted? Where it burnt: ncia backup bring --burnt"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PointsWorld]:
    found = PointsWorld(tmp_path).with_repositories()
    found.work_with(Taking(found))
    yield found
    found.close()


def test_what_burnt_with_it_counts_no_longer_and_what_came_back_is_the_newest_that_does(world: PointsWorld) -> None:
    """Else recovery would reach for a point that only the journal has."""
    world.lay("point-1")
    world.keep()
    world.lay("point-2")
    world.lay("point-3")
    shutil.rmtree(world.root / ROWS / "point-1")
    shutil.rmtree(world.root / ROWS / "point-3")
    assert world.states.snapshot().newest_proven(ROWS).id == "point-3"
    assert world.bring().state == "succeeded"
    state = world.states.snapshot()
    assert [(each.id, each.proven) for each in state.points[ROWS]] == [
        ("point-1", True),
        ("point-2", True),
        ("point-3", False),
    ]
    assert state.newest_proven(ROWS).id == "point-2"
    assert state.point(ROWS, "point-3").reread.outcome.why == "it is not in the store of west"


def copied(point: BackupFinished, store_site: str) -> PointCopied:
    same = point.model_dump(
        include={"job", "point", "dataset", "path", "size_bytes", "files", "manifest_sha256", "seconds"}
    )
    return PointCopied(**same, from_site=point.store_site, store_site=store_site)


def test_what_burnt_and_has_a_copy_in_the_other_store_counts_all_the_same(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    world.journal.append(copied(world.lay("point-2"), EAST), by="test")
    burn(world)
    assert world.bring(subject="point-1").state == "succeeded"
    assert world.states.snapshot().newest_proven(ROWS).id == "point-2"


def test_of_a_store_that_is_not_mounted_nothing_is_told_gone_and_nothing_is_put_there(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    world.lay("point-2")
    world.root.rename(world.folder / "elsewhere")
    for _ in range(2):  # no folder, and an empty one: a mount point
        job = world.bring(subject="point-1", burnt=False)
        assert (job.state, "is it mounted? Where it burnt: ncia backup bring --burnt" in job.sentence) == (
            "failed",
            True,
        )
        assert world.states.snapshot().newest_proven(ROWS).id == "point-2"
        assert files_below(world.root) == {}
        world.root.mkdir(exist_ok=True)
    world.root.rmdir()
    (world.folder / "elsewhere").rename(world.root)
    assert "nothing was to be brought" in world.bring(subject="point-1", burnt=False).sentence


def test_a_point_that_was_told_gone_and_is_found_whole_counts_again(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    world.lay("point-2")
    world.keep()
    world.root.rename(world.folder / "elsewhere")
    assert world.bring(subject="point-1").state == "succeeded"
    assert world.states.snapshot().newest_proven(ROWS).id == "point-1"
    shutil.rmtree(world.root)
    (world.folder / "elsewhere").rename(world.root)
    assert "nothing was to be brought" in world.bring(subject="point-2").sentence
    assert world.states.snapshot().newest_proven(ROWS).id == "point-2"
