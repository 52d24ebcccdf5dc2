"""A recovery point that is brought into the other site's store as well."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path, PurePosixPath

import pytest

from backup import plan
from backup.stores.remote import RemoteStore, StoreSite
from ncia.core.base.ids import HostId
from ncia.core.estate.model import Address, Host
from ncia.core.journal.entries import BackupFinished, PointCopied, PointDeleted
from ncia.core.journal.entry import make_entry
from ncia.core.state import State
from ncia.core.work.jobs import StepFailed
from tests.backup.world import DATASET, EAST, NOW, STORE_HOST, WEST, World

EAST_STORE = Host(HostId("east-store"), EAST, Address("127.0.0.1", 22), "ncia", ("store",))


class Second:
    """The east's store, empty, which can read the west's."""

    def __init__(self, world: World, root: Path) -> None:
        self.root = root
        tools = PurePosixPath(world.cluster.tools)
        west = StoreSite(STORE_HOST, PurePosixPath(world.root), tools)
        self.store = RemoteStore(world.remote, StoreSite(EAST_STORE, PurePosixPath(root), tools), west)
        self._hands = world.performer(self.store)

    def copy(self, point: BackupFinished, job: str, fence: int = 1) -> PointCopied:
        return self._hands.performer.copy(self._hands.steps(job, None, fence), point, EAST)

    def partial(self) -> list[Path]:
        return list(self.root.glob("*/*/.partial-*"))


@pytest.fixture
def second(kept: tuple[World, BackupFinished], tmp_path: Path) -> Second:
    world, _ = kept
    world.remote.cut_at = None
    return Second(world, tmp_path / "east")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_copy_is_the_point_byte_for_byte_and_is_journalled(
    kept: tuple[World, BackupFinished], second: Second
) -> None:
    world, point = kept
    copied = second.copy(point, "copy-1")
    assert files(second.root / point.path) == files(world.root / point.path)
    assert (copied.point, copied.from_site, copied.store_site) == (point.point, WEST, EAST)
    state = world.states.snapshot()
    assert state.holds(DATASET, point.point, EAST)
    assert [each.copied for each in state.copies_of(DATASET, point.point)] == [copied]
    assert second.partial() == []


def test_an_executor_that_takes_over_finds_what_the_dead_one_kept(
    kept: tuple[World, BackupFinished], second: Second
) -> None:
    _, point = kept
    second.store.fetch("backup-dead", point)
    before = files(second.root / point.path)
    second.copy(point, "copy-2", fence=2)
    assert files(second.root / point.path) == before
    assert second.partial() == []


def test_a_copy_that_breaks_off_on_the_way_leaves_nothing(kept: tuple[World, BackupFinished], second: Second) -> None:
    world, point = kept
    world.remote.cut_at = 1_000_000
    with pytest.raises(StepFailed, match="copy tax/rows/"):
        second.copy(point, "copy-3")
    assert not (second.root / point.path).exists()
    assert second.partial() == []


def test_a_point_that_rotted_where_it_lies_is_not_copied(kept: tuple[World, BackupFinished], second: Second) -> None:
    world, point = kept
    rotten = world.root / DATASET / "rotten"
    shutil.copytree(world.root / point.path, rotten, symlinks=True)
    victim = rotten / "data" / "global" / "pg_control"
    content = bytearray(victim.read_bytes())
    content[100] ^= 1
    victim.write_bytes(content)
    told = point.model_copy(update={"path": f"{DATASET}/rotten", "point": "rotten"})
    with pytest.raises(StepFailed, match="pg_control: CRC is incorrect"):
        second.copy(told, "copy-4")
    shutil.rmtree(rotten)
    assert not (second.root / told.path).exists()


def test_without_the_other_sites_store_nothing_is_copied(kept: tuple[World, BackupFinished]) -> None:
    world, point = kept
    hands = world.performer()
    with pytest.raises(StepFailed, match="names no store of the other site"):
        hands.performer.copy(hands.steps("copy-5", None, 1), point, EAST)


def test_a_point_that_names_another_place_than_its_own_is_not_copied(
    kept: tuple[World, BackupFinished], second: Second
) -> None:
    _, point = kept
    for path, name in ((f"{DATASET}/another", point.point), ("../out/x", "x"), (f"{DATASET}/.partial-x", ".partial-x")):
        with pytest.raises(StepFailed, match="as the place of"):
            second.copy(point.model_copy(update={"path": path, "point": name}), f"copy-{path}")
    assert not second.root.exists() or files(second.root) == {}


def test_a_deletion_of_a_copy_that_was_refused_is_carried_out_with_the_next(
    kept: tuple[World, BackupFinished], second: Second
) -> None:
    world, point = kept
    second.copy(point, "copy-6")
    left = second.root / DATASET / "left"
    shutil.copytree(second.root / point.path, left)
    body = copied(9).model_copy(update={"point": "left", "path": f"{DATASET}/left"})
    world.journal.append(body, by="kim")
    gone = PointDeleted(point="left", dataset=DATASET, store_site=EAST, path=body.path, reason="newer copies are here")
    world.journal.append(gone, by="kim")
    second.copy(point, "copy-7")
    assert not left.exists()
    assert (second.root / point.path).exists()


def copied(number: int) -> PointCopied:
    return PointCopied(
        job=f"copy-{number}",
        point=f"point-{number}",
        dataset=DATASET,
        from_site=WEST,
        store_site=EAST,
        path=f"{DATASET}/point-{number}",
        size_bytes=1,
        files=1,
        manifest_sha256="00",
        seconds=1.0,
    )


def test_the_newest_copies_stay_and_a_deleted_copy_leaves_its_point() -> None:
    gone = PointDeleted(
        point="point-1", dataset=DATASET, store_site=EAST, path=f"{DATASET}/point-1", reason="newer copies are here"
    )
    state = State()
    for number, body in enumerate((copied(1), copied(2), copied(3))):
        state.apply(make_entry(EAST, number, NOW + timedelta(minutes=number), "kim", 0, body))
    assert [each.point for each in plan.needless_copies(state.copies[DATASET], EAST)] == ["point-1"]
    assert plan.needless_copies(state.copies[DATASET], WEST) == ()
    state.apply(make_entry(EAST, 3, NOW + timedelta(minutes=4), "kim", 0, gone))
    assert not state.holds(DATASET, "point-1", EAST)
    assert state.holds(DATASET, "point-3", EAST)
