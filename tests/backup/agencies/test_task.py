"""Agencies' repositories over time: made once, filled when due, and what is gone from them is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from backup.agencies.plan import (
    CANCELLED_SECONDS,
    FIRST_AFTER_SECONDS,
    LOOK_AGAIN_SECONDS,
    LOOK_SECONDS,
    MAKE_AFTER_SECONDS,
    MAKE_RETRY_SECONDS,
    RETRY_SECONDS_MIN,
    over,
)
from backup.agencies.ports import Asked
from backup.agencies.telling import repositories
from backup.repository.escrow import open_escrow, recover, stored
from backup.repository.ports import Kind
from backup.repository.repository import create
from backup.repository.restore.restoring import Restoring
from backup.repository.save.walk import Way
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries_repositories import (
    RepositoryLooked,
    RepositoryMade,
    SnapshotFailed,
    SnapshotForgotten,
    SnapshotKept,
)
from ncia.lab.secrets import openssh_private
from tests.backup.agencies.able import Able
from tests.backup.agencies.world import EAST, INTERVAL, KIM, TAX, TREASURY, WEST, World
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.fakes.jobs import MemorySteps
from tests.fakes.repository import FakeStore


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    found = World(tmp_path)
    yield found
    found.close()


def test_rows_come_first_after_a_start(world: World) -> None:
    assert world.tick(MAKE_AFTER_SECONDS - 60) == []
    (job,) = world.tick(61)
    assert (job.order.verb, job.state) == ("make-repository", "succeeded")


def test_one_centre_makes_the_repository_at_both_and_the_two_are_twins_in_escrow(world: World) -> None:
    world.made()
    east, west = world.opened(EAST), world.opened(WEST)
    assert (east.config, east.key) == (west.config, west.key)
    made = [body for body in world.told() if isinstance(body, RepositoryMade)]
    assert [(body.site, body.repository, body.escrowed_for) for body in made] == [
        (site, east.config.id, ("kim", "lee")) for site in (EAST, WEST)
    ]
    for site in (EAST, WEST):
        ((_, escrow),) = stored(world.stores[site])
        assert recover(world.stores[site], open_escrow(escrow, openssh_private(KIM))).key == east.key
    assert world.tick() == []


def test_the_other_centre_makes_none_while_the_system_is_active_at_its_home(tmp_path: Path) -> None:
    world = World(tmp_path, WEST)
    assert (world.tick(MAKE_AFTER_SECONDS), world.tick(MAKE_RETRY_SECONDS)) == ([], [])
    world.close()


def test_somebody_asks_where_nothing_is_made_and_another_centre_makes_it(world: World) -> None:
    """Of two systems of an agency the more essential one says which centre."""
    tax = world.estate.systems[SystemId("tax")]
    first = replace(tax, id=SystemId("act"), datasets=(), home=WEST)
    world.estate = replace(world.estate, systems={each.id: each for each in (tax, first)})
    world.task.parts = replace(world.task.parts, estate=world.estate)
    assert world.tick(MAKE_AFTER_SECONDS) == []
    with pytest.raises(Refusal, match="is not made yet"):
        world.task.ask(TAX, "kim")


def test_one_that_is_there_is_taken_and_not_made_anew(world: World) -> None:
    before = create(world.stores[EAST], PASSWORD, HOLDER, NOW, CHEAP)
    world.made()
    assert world.fact(EAST).made.repository == world.fact(WEST).made.repository == before.config.id


def test_one_that_could_not_be_made_is_tried_again(world: World) -> None:
    hidden = world.stores.pop(EAST)
    (failed,) = world.tick(MAKE_AFTER_SECONDS)
    assert (failed.state, [body.dataset for body in world.told()]) == ("failed", [TAX])  # an incident of its documents
    world.stores[EAST] = hidden
    assert world.tick(1) == []
    (job,) = world.tick(MAKE_RETRY_SECONDS)
    assert (job.state, world.fact(EAST).made.repository) == ("succeeded", world.fact(WEST).made.repository)


def test_documents_are_kept_at_both_sites_and_each_snapshot_is_expected(world: World) -> None:
    world.kept()
    assert world.snapshots(EAST) == world.snapshots(WEST)  # read once, written to both
    for site in (EAST, WEST):
        (expected,) = world.fact(site).expected
        (snapshot,) = world.opened(site).snapshots()
        kept = expected.kept
        assert (kept.snapshot, kept.tree, kept.files) == (snapshot.id, snapshot.tree.hex(), 1)
        assert (kept.losses, kept.reason[:7], snapshot.hostname) == (0, "due at ", "tax")
        target = world.folder / site
        with Restoring(world.opened(site)) as restoring:
            restoring.run(snapshot, target, Way(whole=True))
        (document,) = (path for path in target.rglob("*") if path.is_file())
        assert document.read_bytes() == b"a citizen's return"


def test_the_next_one_is_due_an_interval_later_and_fetches_only_what_is_new(world: World) -> None:
    world.kept()
    world.documents[EAST].put("2026/b", b"another", 2000.0)
    world.documents[EAST].calls.clear()
    assert world.tick(INTERVAL - 60) == []
    (job,) = world.tick(61)
    assert (job.state, [name for verb, name in world.documents[EAST].calls if verb == "get"]) == (
        "succeeded",
        ["2026/b"],
    )
    assert [len(world.fact(site).expected) for site in (EAST, WEST)] == [2, 2]


def test_the_centre_where_a_system_is_not_active_keeps_nothing(world: World) -> None:
    world.made()
    world.active = {SystemId("tax"): WEST}
    assert world.tick(FIRST_AFTER_SECONDS) == []
    with pytest.raises(Refusal, match="active at the other site"):
        world.task.ask(TAX, "kim")


def test_somebody_asks_for_it_now_and_is_named_in_the_reason(world: World) -> None:
    making = world.jobs.wait(world.task.ask(TAX, "kim").id, 60)
    assert (making.order.verb, making.state) == ("make-repository", "succeeded")
    job = world.task.ask(TAX, "kim")
    assert world.jobs.wait(job.id, 60).state == "succeeded"
    assert [each.kept.reason for each in world.fact(EAST).expected] == ["kim asked for it"]
    assert (world.task.keeps(TAX), world.task.keeps("tax/rows"), world.task.keeps("no/such")) == (True, False, False)


def test_a_backup_that_was_cancelled_while_it_waited_is_due_again_before_its_interval_is_over(world: World) -> None:
    world.made()
    world.jobs.close()
    world.jobs.freeze()
    world.clock.moment += timedelta(seconds=FIRST_AFTER_SECONDS)
    world.task.tick(world.clock.now())
    (job,) = world.jobs.open()
    assert world.jobs.cancel(job.id, "kim").state == "cancelled"
    assert world.tick(CANCELLED_SECONDS / 3) == []
    (job,) = world.tick(CANCELLED_SECONDS)
    assert (job.order.verb, job.state) == ("snapshot", "succeeded")
    assert INTERVAL > 4 / 3 * CANCELLED_SECONDS


def test_a_place_that_fails_does_not_keep_the_other_from_its_copy_and_is_tried_again_later(world: World) -> None:
    world.made()
    hidden, world.stores[WEST] = world.stores[WEST], FakeStore()
    (job,) = world.tick(FIRST_AFTER_SECONDS)
    assert (job.state, "west" in job.sentence) == ("failed", True)
    assert (len(world.fact(EAST).expected), len(world.fact(WEST).expected)) == (1, 0)
    (failed,) = (body for body in world.told() if isinstance(body, SnapshotFailed))
    assert (failed.site, "there is none at this place" in failed.error) == (WEST, True)
    world.stores[WEST] = hidden
    assert world.tick(RETRY_SECONDS_MIN - 60) == []
    (job,) = world.tick(61)
    assert (job.state, world.states.snapshot().snapshot_failures) == ("succeeded", {})


def test_a_silent_source_is_a_failure_at_both(world: World) -> None:
    world.made()
    world.documents[EAST].silent = True
    (job,) = world.tick(FIRST_AFTER_SECONDS)
    assert (job.state, "does not answer" in job.sentence) == ("failed", True)
    assert set(world.states.snapshot().snapshot_failures) == {(TAX, EAST), (TAX, WEST)}


def test_what_cannot_be_kept_makes_a_partial_snapshot_that_is_expected_and_does_not_count(world: World) -> None:
    world.made()
    world.documents[EAST].held["good"] = (b"kept", 1.0)
    world.documents[EAST].held["bad\\name"] = (b"not", 1.0)
    (job,) = world.tick(FIRST_AFTER_SECONDS)
    assert (job.state, "partial" in job.sentence) == ("failed", True)
    (expected,) = world.fact(EAST).expected
    assert (expected.whole, expected.kept.files, "bad\\name" in expected.kept.lost[0]) == (False, 1, True)
    assert world.fact(EAST).newest_whole(TAX) is None


def test_an_attempt_that_was_killed_before_it_was_written_down_leaves_no_second_snapshot(world: World) -> None:
    """The next attempt finds the first one's snapshot by its tag; what it lacks nobody knows, so it is partial."""
    world.made()
    world.documents[EAST].put("a", b"a", 1.0)
    job = world.task.ask(TAX, "kim")
    world.jobs.wait(job.id, 60)
    before = world.snapshots(EAST)
    again = replace(world.jobs.get(job.id), state="running", fence=2)
    world.jobs._known[job.id] = again
    with pytest.raises(NciaError, match="what it lacks is unknown"):
        world.works["snapshot"](again, MemorySteps(again, {}))
    assert world.snapshots(EAST) == before
    assert len(world.fact(EAST).expected) == 1


def test_a_look_that_finds_all_is_written_once(world: World) -> None:
    world.kept()
    looked = world.look().looked
    assert looked == RepositoryLooked(agency=TREASURY, site=EAST, expected=1, missing=(), strangers=0, why="")
    world.look()
    assert sum(isinstance(body, RepositoryLooked) for body in world.told()) == 1


def test_a_vanished_snapshot_is_named_and_seen_well_when_it_is_back(world: World) -> None:
    """A hostile `forget` with the agency's own key: restic itself would find nothing wrong."""
    world.kept()
    store = world.stores[EAST]
    (name,) = world.snapshots(EAST)
    content = store.load(Kind.SNAPSHOTS, name)
    store.remove(Kind.SNAPSHOTS, name)
    looked = world.look().looked
    assert looked is not None
    assert (len(looked.missing), f"snapshot {name[:8]} of {TAX}" in looked.missing[0]) == (1, True)
    store.save(Kind.SNAPSHOTS, name, content)
    assert world.look().looked == RepositoryLooked(
        agency=TREASURY, site=EAST, expected=1, missing=(), strangers=0, why=""
    )


def test_a_damaged_snapshot_is_missing(world: World) -> None:
    world.kept()
    (name,) = world.snapshots(EAST)
    key = (Kind.SNAPSHOTS, name)
    content = world.stores[EAST].held[key]
    world.stores[EAST].held[key] = content[:-1] + bytes([content[-1] ^ 1])
    looked = world.look().looked
    assert looked is not None
    assert ("is not there" in looked.missing[0], "hash that is its name" in looked.missing[1]) == (True, True)


def test_an_emptied_place_or_another_repository_is_told_and_never_made_anew(world: World) -> None:
    world.kept()
    world.stores[EAST] = FakeStore()
    assert world.look().looked.why == "there is none at this place"
    assert world.tick(MAKE_RETRY_SECONDS) == []
    other = create(world.stores[EAST], PASSWORD, HOLDER, NOW, CHEAP)
    assert f"it is repository {other.config.id[:8]}" in world.look().looked.why


def test_snapshots_that_nobody_wrote_down_are_counted_when_they_stay(world: World) -> None:
    world.kept()
    place = world.place(world.agency, EAST)
    world.engine.backup(place, Asked((str(world.folder / "password"),), "somebody"))
    assert world.look().looked.strangers == 0  # it may be a job's that is being written down
    assert world.look().looked.strangers == 1


def test_a_place_that_does_not_answer_is_told_when_it_happens_twice(world: World) -> None:
    world.kept()
    hidden = world.stores.pop(EAST)

    class Silent(FakeStore):
        def load(self, *_: object, **__: object) -> bytes:
            raise NciaError("repository.failed", "load config", "the host does not answer")

    world.stores[EAST] = Silent()
    assert world.look().looked is None
    assert world.look().looked.why == "the host does not answer"
    world.stores[EAST] = hidden
    assert world.look().looked.why == ""


def test_each_place_is_looked_into_in_its_turn(world: World) -> None:
    world.kept()
    assert world.fact(EAST).looked is None
    world.tick(LOOK_SECONDS)
    assert world.fact(EAST).looked is not None
    assert world.fact(WEST).looked is None  # that is the other centre's to do


def test_all_of_it_is_told(world: World) -> None:
    told = repositories(world.estate, world.states.snapshot(), world.clock.now())
    assert [(each["site"], each["made"]) for each in told["repositories"]] == [(EAST, False), (WEST, False)]
    world.kept()
    world.look()
    told = repositories(world.estate, world.states.snapshot(), world.clock.now())
    assert [(each["site"], each["looked"], each["expected"]) for each in told["repositories"]] == [
        (EAST, True, 1),
        (WEST, False, 1),
    ]
    kept = [body for body in world.told() if isinstance(body, SnapshotKept)]
    assert [(each["dataset"], each["site"], each["snapshot"]) for each in told["snapshots"]] == [
        (TAX, body.site, body.snapshot) for body in kept
    ]


def test_somebody_has_a_place_looked_into_now(world: World) -> None:
    with pytest.raises(Refusal, match="no repository of it is made"):
        world.task.look_now(None)
    world.kept()
    well = {"agency": TREASURY, "site": EAST, "expected": 1, "missing": [], "strangers": 0, "why": ""}
    assert world.task.look_now(None) == world.task.look_now(TAX) == [well]
    with pytest.raises(Refusal, match="no repository of it is made"):
        world.task.look_now("no/such")
    (name,) = world.snapshots(EAST)
    world.stores[EAST].remove(Kind.SNAPSHOTS, name)
    ((missing,),) = (each["missing"] for each in world.task.look_now(TAX))
    assert f"snapshot {name[:8]}" in missing


def test_a_vanished_snapshot_comes_back_from_the_twin_and_is_seen_well_within_a_minute(world: World) -> None:
    world.kept()
    (name,) = world.snapshots(EAST)
    world.stores[EAST].remove(Kind.SNAPSHOTS, name)
    assert world.look().looked.missing
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, "snapshot" in mended.sentence, world.snapshots(EAST)) == ("succeeded", True, [name])
    world.tick(LOOK_AGAIN_SECONDS + 1)
    assert world.fact(EAST).looked.missing == ()
    with pytest.raises(Refusal, match="no repository of it is made"):
        world.task.mend("no/such", "kim")


def test_what_neither_site_has_is_lost_and_the_mending_says_so(world: World) -> None:
    world.kept()
    for site in (EAST, WEST):
        for each in list(world.stores[site].names(Kind.DATA)):
            world.stores[site].remove(Kind.DATA, each.name)
    mended = world.jobs.wait(world.task.mend(TAX, "kim").id, 60)
    assert (mended.state, "lost for good" in mended.sentence) == ("failed", True)
    assert mended.sentence.endswith(f"for the retention officer: ncia backup write-off {TREASURY}")


def five(world: World) -> list[str]:
    """Five snapshots an hour apart, oldest first, and a look at the first four of them. Of one day the newest two are
    kept, and the oldest, for there are no three days yet."""
    world.kept()
    for number in range(1, 5):
        world.documents[EAST].put(f"2026/{number}", b"%d" % number, 1000.0 + number)
        (job,) = world.tick(INTERVAL)
        assert job.state == "succeeded", job.sentence
    return [body.snapshot for body in world.told() if isinstance(body, SnapshotKept) and body.site == EAST]


def test_what_need_not_be_kept_is_forgotten_with_a_reason_at_the_own_site_alone(world: World) -> None:
    names = five(world)
    (gone,) = (body for body in world.told() if isinstance(body, SnapshotForgotten))
    assert (gone.snapshot, gone.site, gone.dataset) == (names[1], EAST, TAX)
    assert gone.reason == "newer ones take its places: last 2, daily 3"
    assert world.look().looked.missing == ()
    assert (world.snapshots(EAST), world.snapshots(WEST)) == (sorted({*names} - {names[1]}), sorted(names))


def test_nothing_is_removed_that_no_second_place_knows_to_be_forgotten(world: World) -> None:
    world.alone = True
    names = five(world)
    assert [body.snapshot for body in world.told() if isinstance(body, SnapshotForgotten)] == [names[1]]
    assert world.snapshots(EAST) == sorted(names)
    world.alone = False
    for _ in range(3):  # what is there, and forgotten, is a stranger, and told after two looks
        world.tick(LOOK_SECONDS)
    assert names[1] not in world.snapshots(EAST)


def test_partial_snapshots_go_when_a_whole_one_follows_and_the_newest_whole_one_never(world: World) -> None:
    world.made()
    world.documents[EAST].held["bad\\name"] = (b"not", 1.0)
    (partial,) = world.tick(FIRST_AFTER_SECONDS - MAKE_AFTER_SECONDS + 1)
    first = world.fact(EAST).expected[0]
    keep = world.agency.repository.keep
    assert (partial.state, over((first,), keep, world.clock.now())) == ("failed", ())
    del world.documents[EAST].held["bad\\name"]
    world.tick(RETRY_SECONDS_MIN)
    found = over(world.fact(EAST).expected, keep, world.clock.now())
    assert [(each, why[:18]) for each, why in found] == [(first, "it is partial, and")]


def test_an_engine_that_does_not_forget_keeps_all(world: World) -> None:
    world.engine = Able(world.engine, forgets=False)
    assert sorted(five(world)) == world.snapshots(EAST)
    assert not any(isinstance(body, SnapshotForgotten) for body in world.told())


def test_an_engine_that_writes_to_one_place_alone_keeps_one_snapshot_at_each(world: World) -> None:
    world.engine = Able(world.engine, writes_both=False)
    world.kept()
    assert world.snapshots(EAST) != world.snapshots(WEST)
    assert [len(world.fact(site).expected) for site in (EAST, WEST)] == [1, 1]
