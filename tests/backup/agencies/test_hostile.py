"""Whoever has an agency's key plays with one place: the real restic forgets and prunes, and the journal still knows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backup.agencies.ports import Share
from backup.repository.ports import Kind, Store
from backup.repository.stores.folder import FolderStore
from tests.backup.agencies.world import EAST, TAX, WEST, World
from tests.backup.repository.sample import PASSWORD
from tests.restic import Restic, demand_restic


@dataclass
class OnDisk(World):
    """Both places are folders, where restic finds them too."""

    stores: dict[str, Store] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stores.update({site: FolderStore(self.folder / site) for site in (EAST, WEST)})
        super().__post_init__()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = OnDisk(tmp_path).kept()
    yield found
    found.close()


@pytest.fixture
def restic() -> Restic:
    return demand_restic()


def listed(restic: Restic, folder: Path) -> list[str]:
    return [each["id"] for each in json.loads(restic.run(folder, "snapshots", "--json", password=PASSWORD))]


def test_a_hostile_forget_and_prune_is_told_and_all_of_it_comes_back_from_the_other_site(
    world: World, restic: Restic
) -> None:
    place = world.folder / EAST
    (name,) = listed(restic, place)
    restic.run(place, "forget", "--prune", name, password=PASSWORD)
    assert listed(restic, place) == []
    restic.run(place, "check", "--read-data", password=PASSWORD)  # it finds nothing wrong
    looked = world.look().looked
    assert looked is not None
    assert f"snapshot {name[:8]} of {TAX}" in looked.missing[0]
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, listed(restic, place)) == ("succeeded", [name])
    restic.run(place, "check", "--read-data", password=PASSWORD)
    assert world.look().looked.missing == ()


def test_a_snapshot_that_was_rewritten_is_not_the_one_that_was_kept(world: World, restic: Restic) -> None:
    """`restic tag` and `rewrite` make another snapshot and remove the first one."""
    place = world.folder / EAST
    (name,) = listed(restic, place)
    restic.run(place, "tag", "--set", "harmless", name, password=PASSWORD)
    assert len(listed(restic, place)) == 1
    looked = world.look().looked
    assert looked is not None
    assert "is not there" in looked.missing[0]
    world.look()
    assert world.fact(EAST).looked.strangers == 1


def test_bogus_snapshots_of_the_future_take_no_place_from_what_was_kept(world: World, restic: Restic) -> None:
    place = world.folder / EAST
    for day in range(1, 9):
        arguments = ("backup", "--host", "tax", "--time", f"2099-01-0{day} 00:00:00", str(world.folder / "password"))
        restic.run(place, *arguments, password=PASSWORD)
    for _ in range(3):
        world.tick(3600)
    expected = {each.kept.snapshot for each in world.fact(EAST).expected}
    assert expected <= set(listed(restic, place))
    assert (len(expected) > 2, world.look().looked.strangers) == (True, 8)


def test_keys_that_were_removed_come_back_with_the_mending(world: World, restic: Restic) -> None:
    for key in list(world.stores[EAST].names(Kind.KEYS)):
        world.stores[EAST].remove(Kind.KEYS, key.name)
    assert "there is no key file" in world.look().looked.why
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, len(listed(restic, world.folder / EAST))) == ("succeeded", 1)
    assert world.engine.check(world.place(world.agency, EAST), Share()).holds
