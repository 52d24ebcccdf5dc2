"""What would remove much at once waits for a person; the retention officer lets so many go, once, with a reason."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.agencies.plan import over
from backup.agencies.ports import Engine
from backup.agencies.task import AgencyTask
from backup.agencies.telling import repositories
from backup.repository.ports import Kind
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.estate.repository import Keep, Rotation
from ncia.core.journal.entries_care import ForgetAllowed, ForgetHeld
from ncia.core.journal.entries_repositories import RepositoryLooked, SnapshotForgotten
from tests.backup.agencies.world import EAST, INTERVAL, LOOK_SECONDS, TAX, TREASURY, WEST, World, estate_of

SELDOM = 1e9
COUNT = 9


def strict(world: World, keep: Keep) -> None:
    """Somebody has written another rule into the estate."""
    repository = world.agency.repository
    assert repository is not None
    changed = replace(world.agency, repository=replace(repository, keep=keep))
    world.estate = replace(world.estate, agencies={TREASURY: changed})
    world.task.parts = replace(world.task.parts, estate=world.estate)
    world.agency = changed


def seeded(tmp_path: Path, count: int) -> World:
    """So many snapshots an hour apart, all of which the rules keep."""
    base = estate_of()
    changed = {"keep": Keep(100), "check": Rotation(SELDOM, 2), "prune_interval_seconds": SELDOM}
    repository = replace(base.agencies[TREASURY].repository, **changed)
    agency = replace(base.agencies[TREASURY], repository=repository)
    found = World(tmp_path, estate=replace(base, agencies={TREASURY: agency}))
    found.kept()
    for number in range(1, count):
        found.documents[EAST].put("2026/a", b"%d" % number, 1000.0 + number)
        found.tick(INTERVAL)
    return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Nine of them, until the rule says one: a mistyped one looks so."""
    found = seeded(tmp_path, COUNT)
    strict(found, Keep(1))
    yield found
    found.close()


def look_again(world: World, seconds: float = LOOK_SECONDS + 1) -> None:
    """The calendar's look alone: no backup is due."""
    world.clock.moment += timedelta(seconds=seconds)
    world.jobs.close()
    world.jobs.freeze()
    world.task.tick(world.clock.now())


def held(world: World) -> list[ForgetHeld]:
    return [entry.body for entry in world.journal.entries(EAST) if isinstance(entry.body, ForgetHeld)]


def forgotten(world: World) -> list[SnapshotForgotten]:
    return [body for body in world.told() if isinstance(body, SnapshotForgotten)]


def test_a_forgetting_that_would_remove_much_is_written_down_once_and_nothing_goes(world: World) -> None:
    for _ in range(3):
        look_again(world)
    (found,) = held(world)
    assert (found.would_go, found.of, len(found.named)) == (COUNT - 1, COUNT, COUNT - 1)
    assert found.why == f"{COUNT - 1} of {COUNT} of {TREASURY} ({TAX}) would go at once"
    assert found.named[0].endswith("newer ones take its places: last 1")
    assert (forgotten(world), len(world.snapshots(EAST))) == ([], COUNT)
    (place, _) = repositories(world.estate, world.states.snapshot(), world.clock.now())["repositories"]
    assert (place["held"]["would_go"], place["held"]["why"]) == (found.would_go, found.why)


def test_it_is_told_again_a_day_later_when_there_is_more_of_it(world: World) -> None:
    look_again(world)
    since = world.fact(EAST).held.since
    strict(world, Keep(2))
    look_again(world)
    assert len(held(world)) == 1
    look_again(world, 86_401)
    assert [each.would_go for each in held(world)] == [COUNT - 1, COUNT - 2]
    assert world.fact(EAST).held.since == since


def test_a_rule_that_was_mended_ends_it_and_nothing_is_forgotten(world: World) -> None:
    look_again(world)
    strict(world, Keep(100))
    look_again(world)
    assert (held(world)[-1].would_go, world.fact(EAST).held, forgotten(world)) == (0, None, [])


def test_the_officer_sees_what_would_go_and_lets_so_many_go_once_with_name_and_reason(world: World) -> None:
    look_again(world)
    told = world.task.forget(TREASURY, None, "", "han")
    assert (told["would_go"], told["of"], told["forgotten"], len(world.snapshots(EAST))) == (
        COUNT - 1,
        COUNT,
        [],
        COUNT,
    )
    told = world.task.forget(TREASURY, COUNT - 1, "the rule is meant so", "han")
    kept = {each.kept.snapshot for each in world.fact(EAST).expected}
    assert (len(told["forgotten"]), told["why"], {*world.snapshots(EAST)}) == (COUNT - 1, "", kept)
    (allowed,) = (e for e in world.journal.entries(EAST) if isinstance(e.body, ForgetAllowed))
    assert (allowed.by, allowed.body.remove_max, allowed.body.going, allowed.body.reason) == (
        "han",
        COUNT - 1,
        COUNT - 1,
        "the rule is meant so",
    )
    assert {each.reason[:42] for each in forgotten(world)} == {"han let it go (the rule is meant so): newe"}
    assert world.fact(EAST).held is None
    assert world.task.forget(TREASURY, 50, "again", "han")["forgotten"] == []


def test_whoever_is_no_retention_officer_lets_nothing_go_also_at_the_sites_own_door(world: World) -> None:
    for name in ("kim", "", "nobody"):  # an admin; who names nobody; who is not in the estate
        with pytest.raises(Refusal, match="is no retention officer") as refused:
            world.task.forget(TREASURY, 50, "the rule is meant so", name)
        assert refused.value.hint == "one of han"
    assert (forgotten(world), len(world.snapshots(EAST))) == ([], COUNT)


def test_more_than_the_officer_said_is_refused_and_nothing_goes(world: World) -> None:
    with pytest.raises(Refusal, match=f"{COUNT - 1} would go, and 3 may") as refused:
        world.task.forget(TREASURY, 3, "some of it", "han")
    assert refused.value.override == f"--remove-max {COUNT - 1}"
    assert (forgotten(world), len(world.snapshots(EAST))) == ([], COUNT)


def test_nothing_goes_on_an_officers_word_while_something_is_missing(world: World) -> None:
    world.stores[EAST].remove(Kind.SNAPSHOTS, world.snapshots(EAST)[0])
    with pytest.raises(Refusal, match="is not as it was kept"):
        world.task.forget(TREASURY, 50, "whatever", "han")
    assert forgotten(world) == []
    with pytest.raises(NciaError, match="no agency with a repository is called so"):
        world.task.forget("nobody", 1, "whatever", "han")


def test_what_no_second_place_knows_to_be_forgotten_is_removed_at_a_later_look(world: World) -> None:
    world.alone = True
    told = world.task.forget(TREASURY, 50, "the rule is meant so", "han")
    assert (len(told["forgotten"]), told["why"], len(world.snapshots(EAST))) == (
        COUNT - 1,
        "nobody else knows of it",
        COUNT,
    )
    world.alone = False
    for _ in range(3):
        look_again(world)
    assert len(world.snapshots(EAST)) == 1


@pytest.mark.parametrize("jump", [timedelta(days=-400), timedelta(days=400)])
def test_a_clock_that_jumps_makes_nothing_go(world: World, jump: timedelta) -> None:
    """Backwards all is of the future, and takes no place; forwards nothing is over, for spans count from the newest."""
    fact, now = world.fact(EAST), world.clock.now()
    assert over(fact.expected, Keep(100, daily=7), now + jump) == ()
    usual = over(fact.expected, Keep(1, daily=2), now, 100)
    jumped = over(fact.expected, Keep(1, daily=2), now + jump, 100)
    assert jumped == (usual if jump > timedelta(0) else ())


def test_a_crash_between_what_is_written_and_what_is_removed_ends_with_the_removal(world: World) -> None:
    class Dying:
        def __init__(self, engine: Engine) -> None:
            self.engine = engine

        def __getattr__(self, name: str) -> object:
            if name == "forget":
                raise NciaError("repository.failed", "remove a snapshot", "the controller was killed")
            return getattr(self.engine, name)

    whole, world.engine = world.engine, Dying(world.engine)
    assert world.task.forget(TREASURY, 50, "the rule is meant so", "han")["why"] == "the controller was killed"
    assert (len(forgotten(world)), len(world.snapshots(EAST))) == (COUNT - 1, COUNT)
    world.engine = whole
    for _ in range(3):
        look_again(world)
    assert len(world.snapshots(EAST)) == 1


def test_what_is_lost_at_both_places_is_written_off_by_the_officer_and_forgetting_goes_on(world: World) -> None:
    lost, west = world.snapshots(EAST)[0], world.stores[WEST]
    world.stores[EAST].remove(Kind.SNAPSHOTS, lost)
    with pytest.raises(Refusal, match=f"snapshot {lost[:8]} is expected at west, and not missing there"):
        world.task.write_off(TREASURY, "nobody has it", "han")
    west.remove(Kind.SNAPSHOTS, lost)
    sentence = f"snapshot {lost[:8]} of {TAX} is not there"
    told = RepositoryLooked(agency=TREASURY, site=WEST, expected=COUNT, missing=(sentence,), strangers=0, why="")
    world.journal.append(told, by="calendar")  # as the west's controller tells it
    with pytest.raises(Refusal, match="is no retention officer"):
        world.task.write_off(TREASURY, "nobody has it", "kim")
    assert world.task.write_off(TREASURY, "nobody has it", "han")["forgotten"] == [lost]
    (gone,) = forgotten(world)
    assert gone.reason == "han wrote it off (nobody has it): it is lost"
    assert world.look().looked.missing == ()
    assert world.task.write_off(TREASURY, "again", "han")["forgotten"] == []
    assert len(world.task.forget(TREASURY, 50, "the rule is meant so", "han")["forgotten"]) == COUNT - 2


def test_what_is_lost_at_both_places_is_written_off_in_turns_where_it_is_more_than_a_look_names(tmp_path: Path) -> None:
    """Each centre names the first twenty: the east writes those off, then the west all, then the east the rest."""
    world = seeded(tmp_path, 25)
    lost = world.snapshots(EAST)
    for site in (EAST, WEST):
        for name in lost:
            world.stores[site].remove(Kind.SNAPSHOTS, name)
    west = AgencyTask(replace(world.task.parts, site=WEST))
    west.look(world.agency)
    told = world.task.write_off(TREASURY, "both burnt", "han")
    assert (len(told["forgotten"]), told["left"]) == (20, 5)
    with pytest.raises(Refusal, match="which names the first that it misses alone") as refused:
        world.task.write_off(TREASURY, "both burnt", "han")
    assert refused.value.hint == f"ncia backup write-off {TREASURY} (at west), and then here again"
    world.task.look(world.agency)
    told = west.write_off(TREASURY, "both burnt", "han")
    assert (len(told["forgotten"]), told["left"]) == (25, 0)
    told = world.task.write_off(TREASURY, "both burnt", "han")
    assert (len(told["forgotten"]), told["left"]) == (5, 0)
    assert (world.look().looked.missing, world.fact(WEST).expected) == ((), ())
    world.close()


def test_nothing_is_written_off_while_nobody_knows_what_is_at_the_other_place(world: World) -> None:
    world.stores[EAST].remove(Kind.SNAPSHOTS, world.snapshots(EAST)[0])
    told = {"expected": COUNT, "missing": (), "strangers": 0, "why": "there is no repository"}
    world.journal.append(RepositoryLooked(agency=TREASURY, site=WEST, **told), by="calendar")
    with pytest.raises(
        Refusal, match="is expected at west, and what is there nobody knows: there is no repo"
    ) as refused:
        world.task.write_off(TREASURY, "nobody has it", "han")
    assert refused.value.hint.startswith("ncia backup mend SYSTEM/DATASET (at west)")


def test_a_write_off_lets_no_forgetting_go_that_waits_for_the_officer(world: World) -> None:
    look_again(world)
    assert world.fact(EAST).held is not None
    lost = world.snapshots(EAST)[0]
    for site in (EAST, WEST):
        world.stores[site].remove(Kind.SNAPSHOTS, lost)
    AgencyTask(replace(world.task.parts, site=WEST)).look(world.agency)
    assert world.task.write_off(TREASURY, "nobody has it", "han")["forgotten"] == [lost]
    assert world.fact(EAST).held is not None


def test_a_snapshot_that_cannot_be_read_and_is_written_off_holds_up_no_prune_any_more(world: World) -> None:
    damaged = world.snapshots(EAST)[0]
    for site in (EAST, WEST):
        world.stores[site].held[Kind.SNAPSHOTS, damaged] = b"?"
    sentence = f"snapshot {damaged[:8]} of {TAX} is not there"
    told = RepositoryLooked(agency=TREASURY, site=WEST, expected=COUNT, missing=(sentence,), strangers=0, why="")
    world.journal.append(told, by="calendar")
    assert world.task.write_off(TREASURY, "both are damaged", "han")["why"] == ""
    assert damaged not in world.snapshots(EAST)
    assert (world.look().looked.missing, world.engine.snapshots(world.place(world.agency, EAST)).damaged) == ((), ())
