"""A centre is lost before repositories are made: the other one makes them where it can, and their twins later."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from backup.agencies.plan import FIRST_AFTER_SECONDS, MAKE_AFTER_SECONDS, MAKE_RETRY_SECONDS
from backup.repository.escrow import open_escrow, recover, stored
from backup.repository.ports import Kind
from backup.repository.repository import create
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries_repositories import RepositoryMade, SnapshotFailed
from ncia.core.work.jobs import Job
from ncia.lab.secrets import openssh_private
from tests.backup.agencies.world import EAST, INTERVAL, KIM, LEE, TAX, TREASURY, WEST, World
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.fakes.repository import FakeStore


class Gone(FakeStore):
    """A place of which nothing is heard."""

    def load(self, *_: object, **__: object) -> bytes:
        raise OSError("no route to host")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The west's controller. The east has burnt before anything was made; people have moved its systems here."""
    found = World(tmp_path, WEST)
    found.stores[EAST] = Gone()
    found.documents[WEST].put("2026/a", b"a citizen's return", 1000.0)
    assert found.tick(MAKE_AFTER_SECONDS) == []  # as long as nobody has moved them, the east is to make it
    found.active = {SystemId("tax"): WEST}
    yield found
    found.close()


def making(world: World, seconds: float) -> Job:
    (job,) = (each for each in world.tick(seconds) if each.order.verb == "make-repository")
    return job


def made(world: World) -> list[RepositoryMade]:
    return [body for body in world.told() if isinstance(body, RepositoryMade)]


def test_the_centre_that_is_left_makes_its_own_place_and_says_which_one_is_lacking(world: World) -> None:
    job = making(world, 1)
    assert (job.state, "not at east" in job.sentence, "no route to host" in job.sentence) == ("failed", True, True)
    assert [body.site for body in made(world)] == [WEST]
    failed = [body for body in world.told() if isinstance(body, SnapshotFailed)]
    assert [(body.site, body.error[:33]) for body in failed] == [(EAST, "its repository is not made there:")]


def test_its_key_is_in_escrow_for_two_people_though_the_other_place_is_lost(world: World) -> None:
    making(world, 1)
    assert made(world)[0].escrowed_for == ("kim", "lee")
    ((_, escrow),) = stored(world.stores[WEST])
    key = world.opened(WEST).key
    for person in (KIM, LEE):  # either of them alone
        assert recover(world.stores[WEST], open_escrow(escrow, openssh_private(person))).key == key


def test_documents_are_kept_there_at_once_and_the_lacking_place_holds_up_none(world: World) -> None:
    making(world, 1)
    world.tick(FIRST_AFTER_SECONDS)
    assert [each.kept.site for each in world.fact(WEST).expected] == [WEST]
    for _ in range(3):
        world.tick(INTERVAL)
    assert len(world.fact(WEST).expected) == 4
    assert (TREASURY, EAST) not in world.states.snapshot().repositories


def test_the_lacking_place_is_tried_again_after_pauses_that_grow(world: World) -> None:
    making(world, 1)
    tries = 0
    for _ in range(24):
        tries += sum(job.order.verb == "make-repository" for job in world.tick(MAKE_RETRY_SECONDS))
    assert tries == 4  # two hours: after 5, 10, 20 and 40 minutes


def test_the_lost_place_becomes_a_twin_once_it_is_back_and_a_mending_brings_what_was_kept_meanwhile(
    world: World,
) -> None:
    making(world, 1)
    world.tick(FIRST_AFTER_SECONDS)
    world.stores[EAST] = FakeStore()  # a new machine
    assert making(world, INTERVAL).state == "succeeded"
    east, west = world.opened(EAST), world.opened(WEST)
    assert (east.config, east.key) == (west.config, west.key)
    for site in (EAST, WEST):
        ((_, escrow),) = stored(world.stores[site])
        assert recover(world.stores[site], open_escrow(escrow, openssh_private(LEE))).key == west.key
    world.clock.moment += timedelta(seconds=1)
    job = world.task.ask(TAX, "kim")
    assert world.jobs.wait(job.id, 60).state == "succeeded"
    assert [len(world.fact(site).expected) for site in (EAST, WEST)] >= [1, 2]
    assert world.states.snapshot().snapshot_failures == {}


def test_a_centre_that_comes_back_makes_none_beside_while_its_systems_are_away(tmp_path: Path) -> None:
    world = World(tmp_path, EAST)
    world.active = {SystemId("tax"): WEST}
    assert world.tick(MAKE_AFTER_SECONDS) == []
    world.close()


def test_what_the_other_centre_made_alone_gets_a_twin_here_and_never_another_one_beside(tmp_path: Path) -> None:
    """The systems are home again before the lost place was made anew: this centre is the one that makes."""
    world = World(tmp_path, EAST)
    alone = create(world.stores[WEST], PASSWORD, HOLDER, NOW, CHEAP)
    body = RepositoryMade(
        job="repository:1",
        agency=TREASURY,
        site=WEST,
        repository=alone.config.id,
        engine="ncia",
        place=WEST,
        escrowed_for=("kim", "lee"),
    )
    world.journal.append(body, by="calendar")
    away, world.stores[WEST] = world.stores[WEST], Gone()
    assert making(world, MAKE_AFTER_SECONDS).state == "failed"
    assert list(world.stores[EAST].names(Kind.CONFIG)) == []  # of what is not heard no twin can be made
    world.stores[WEST] = away
    assert making(world, MAKE_RETRY_SECONDS).state == "succeeded"
    east, west = world.opened(EAST), world.opened(WEST)
    assert (east.config, east.key) == (west.config, west.key)
    world.close()
