"""Places read again part by part: what is due, what the journal says of it, and damage until it is mended."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.agencies.ports import Capabilities, Engine
from backup.agencies.reading import RETRY_SECONDS, turns, unwell
from backup.agencies.telling import repositories
from backup.repository.ports import Kind
from ncia.core.base.clock import from_text
from ncia.core.estate.repository import Rotation
from ncia.core.journal.entries_care import RepositoryMended
from ncia.core.journal.entries_repositories import RepositoryChecked
from ncia.core.work.jobs import Job
from tests.backup.agencies.world import EAST, TAX, TREASURY, WEST, World, estate_of
from tests.fakes.repository import FakeStore

DAY = 86_400.0
PARTS = 3


def estate(parts: int = PARTS):
    """Documents are kept so seldom that nothing else is due while parts are read."""
    base = estate_of()
    repository = replace(
        base.agencies[TREASURY].repository, interval_seconds=1000 * DAY, check=Rotation(DAY, parts=parts)
    )
    return replace(base, agencies={TREASURY: replace(base.agencies[TREASURY], repository=repository)})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path, estate=estate())
    found.documents[EAST].put("2026/big", random.Random(7).randbytes(50_000), 1000.0)
    found.kept()
    yield found
    found.close()


def checked(world: World) -> list[RepositoryChecked]:
    return [body for body in world.told() if isinstance(body, RepositoryChecked)]


def read(world: World, seconds: float = DAY) -> Job:
    (job,) = world.tick(seconds)
    assert job.order.verb == "check-repository"
    return job


def sentence(world: World) -> str:
    (place,) = (each for each in told(world) if each["site"] == EAST)
    return str(place["read"]["unwell"])


def told(world: World) -> list[dict[str, object]]:
    return list(repositories(world.estate, world.states.snapshot(), world.clock.now())["repositories"])


def flip(store: FakeStore) -> str:
    """One bit of the pack that holds the documents, as the largest one; answers its name."""
    _, name = max((key for key in store.held if key[0] is Kind.DATA), key=lambda key: len(store.held[key]))
    content = bytearray(store.held[Kind.DATA, name])
    content[3] ^= 1
    store.held[Kind.DATA, name] = bytes(content)
    return name


def part_of(name: str) -> int:
    return int(name[:8], 16) % PARTS + 1


def until_found(world: World) -> Job:
    for _ in range(PARTS):
        job = read(world)
        if job.state == "failed":
            return job
    raise AssertionError("no part had a fault")


def test_one_part_a_day_is_read_and_all_of_them_are_every_byte_once(world: World) -> None:
    jobs = [read(world) for _ in range(PARTS)]
    assert [job.state for job in jobs] == ["succeeded"] * PARTS
    found = checked(world)
    size = sum(each.size for each in world.stores[EAST].names(Kind.DATA))
    assert [(each.part, each.of, each.bytes_all) for each in found] == [(1, 3, size), (2, 3, size), (3, 3, size)]
    assert sum(each.bytes_read for each in found) == size > 0
    assert {(each.agency, each.site, each.faults) for each in found} == {(TREASURY, EAST, 0)}
    assert from_text(found[0].started_at) <= from_text(found[0].ended_at)
    assert world.tick(DAY / 2) == []
    assert read(world, DAY / 2).order.details["part"] == 1  # and so on, in its turn


def test_a_place_is_told_until_it_was_read_whole_and_when_that_was_too_long_ago(world: World) -> None:
    assert sentence(world) == "never read whole: 0 of 3 parts so far"
    read(world)
    assert sentence(world) == "never read whole: 1 of 3 parts so far"
    read(world)
    read(world)
    fact = world.fact(EAST)
    assert (sentence(world), fact.read_whole_since(PARTS)) == ("", fact.read[1, PARTS].at)
    world.clock.moment += timedelta(days=5)
    assert sentence(world).startswith("not read whole since 2026-")
    assert sentence(world).endswith("that is to be done every 3 d")


def test_all_figures_are_told(world: World) -> None:
    read(world)
    east, west = told(world)
    reading = east["read"]
    assert (reading["parts"], reading["parts_read"], reading["whole_since"], reading["faults"]) == (3, 1, None, 0)
    assert [(each["part"], each["of"], each["job"]) for each in reading["readings"]] == [(1, 3, checked(world)[0].job)]
    assert west["read"]["parts_read"] == 0  # that is the other centre's to read


def test_a_flipped_bit_is_found_told_read_again_each_day_and_does_not_hold_up_the_others(world: World) -> None:
    name = flip(world.stores[EAST])
    job = until_found(world)
    (damaged,) = world.fact(EAST).damaged
    assert (damaged.found.part, damaged.found.faults) == (part_of(name), 2)  # the pack's hash, and the blob's in it
    assert name[:8] in damaged.found.named[0]
    assert name[:8] in job.sentence
    assert sentence(world) == f"2 faults when it was read, the first: {damaged.found.named[0]}"
    since, why = world.fact(EAST).trouble()
    assert (since, name[:8] in why) == (damaged.since, True)
    before = len(checked(world))
    for _ in range(8):
        world.tick(DAY / 2)
    later = [each.part for each in checked(world)[before:]]
    assert (set(later), later.count(part_of(name))) == ({1, 2, 3}, 4)
    assert world.fact(EAST).trouble()[0] == since  # it is one and the same fault


def test_what_a_reading_found_is_mended_from_the_twin_and_seen_to_be_well(world: World) -> None:
    name = flip(world.stores[EAST])
    until_found(world)
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, name[:8] in mended.sentence) == ("succeeded", True)
    newest = checked(world)[-1]
    assert (newest.job, newest.part, newest.faults) == (mended.id, part_of(name), 0)
    assert world.fact(EAST).trouble() is None
    assert world.stores[EAST].held[Kind.DATA, name] == world.stores[WEST].held[Kind.DATA, name]


def test_of_what_a_mending_brought_no_reading_from_before_says_anything(world: World) -> None:
    for _ in range(PARTS):
        read(world)
    (kept,) = world.fact(EAST).expected
    assert world.fact(EAST).proven_of(TAX, PARTS) == (kept,)
    store = world.stores[EAST]
    del store.held[next(key for key in store.held if key[0] is Kind.DATA)]
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    (told,) = care(world)
    assert (told.job, told.things, "brought" in told.named[0]) == (mended.id, 1, True)
    fact = world.fact(EAST)
    assert (fact.read_whole_since(PARTS), fact.proven_of(TAX, PARTS)) == (None, ())
    assert sentence(world).startswith("not read whole since it was mended 2026-")
    assert sentence(world).endswith("Z: 0 of 3 parts so far")
    assert [read(world).order.details["part"] for _ in range(PARTS)] == [1, 2, 3]
    assert (sentence(world), world.fact(EAST).proven_of(TAX, PARTS)) == ("", (kept,))
    world.jobs.wait(world.task.mend(TAX, "kim").id, 60)  # which brings nothing, and so takes nothing back
    assert world.fact(EAST).proven_of(TAX, PARTS) == (kept,)


def care(world: World) -> list[RepositoryMended]:
    entries = world.journal.of_kind(RepositoryMended.KIND)
    return [entry.body for entry in entries if isinstance(entry.body, RepositoryMended)]


def test_what_is_damaged_at_both_sites_stays_told_after_the_mending(world: World) -> None:
    flip(world.stores[EAST])
    flip(world.stores[WEST])
    until_found(world)
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, "lost for good" in mended.sentence) == ("failed", True)
    assert world.fact(EAST).trouble() is not None


def test_a_pack_that_comes_back_by_itself_is_seen_the_next_day(world: World) -> None:
    store = world.stores[EAST]
    _, name = next(key for key in store.held if key[0] is Kind.DATA)
    content = store.held.pop((Kind.DATA, name))
    job = read(world)
    assert (job.state, f"pack {name[:8]} is missing" in job.sentence) == ("failed", True)
    store.held[Kind.DATA, name] = content
    world.tick(DAY)
    world.tick(0)
    assert world.fact(EAST).trouble() is None


def test_nothing_is_read_while_something_else_waits_unless_it_is_a_day_late(world: World) -> None:
    world.jobs.close()
    world.jobs.freeze()
    world.task.mend(TAX, "kim")
    for day, verbs in ((1, ["mend-repository"]), (2, ["check-repository", "mend-repository"])):
        world.task.tick(world.clock.now() + timedelta(days=day, seconds=60))
        assert sorted(job.order.verb for job in world.jobs.open()) == verbs


def test_a_reading_that_could_not_be_carried_out_is_tried_again_within_hours(world: World) -> None:
    hidden = world.stores[EAST]
    world.stores[EAST] = FakeStore()
    job = read(world)
    assert (job.state, "there is none at this place" in job.sentence, checked(world)) == ("failed", True, [])
    assert world.tick(1) == []
    world.stores[EAST] = hidden
    assert read(world, RETRY_SECONDS).state == "succeeded"


def test_another_repository_is_not_taken_for_the_one_that_was_made(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other").made() if (tmp_path / "other").mkdir() is None else None
    assert other is not None
    world.stores[EAST] = other.stores[EAST]
    job = read(world)
    other.close()
    assert (job.state, "another one was made there" in job.sentence, checked(world)) == ("failed", True, [])


def test_an_engine_that_cannot_read_parts_says_so(world: World) -> None:
    class Blunt:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            return getattr(self.engine, name)

        def capabilities(self) -> Capabilities:
            return replace(self.engine.capabilities(), reads_parts=False)

    world.engine = Blunt(world.engine)
    job = read(world)
    assert (job.state, "one part of several" in job.sentence) == ("failed", True)


def test_each_centre_reads_its_own_place_alone(world: World) -> None:
    now = world.clock.now() + timedelta(days=1.5)
    (turn,) = turns(world.estate, world.states.snapshot(), EAST, now)
    assert (turn.site, turn.share.number, turn.urgent) == (EAST, 1, False)
    (turn,) = turns(world.estate, world.states.snapshot(), WEST, now)
    assert (turn.site, turn.share.number) == (WEST, 1)


def test_hours_are_told_as_hours(world: World) -> None:
    for _ in range(PARTS):
        read(world)
    now = world.clock.now() + timedelta(days=9)
    assert unwell(world.fact(EAST), Rotation(3600.0, PARTS), now).endswith("that is to be done every 3 h")
