"""Points of rows on their way into an agency's repository: kept as snapshots, journalled, and seldom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.agencies.clearing import PRUNE
from backup.agencies.plan import CANCELLED_SECONDS
from backup.agencies.points_plan import FIRST_AFTER_SECONDS, KEEP_POINT, KEEP_PROGRAM, late
from backup.agencies.reading import CHECK
from backup.telling import listing
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.estate.repository import POINTS_INTERVAL_SECONDS
from ncia.core.journal.entries import ControllerStarted, PointDeleted
from ncia.core.journal.entries_repositories import SnapshotFailed, SnapshotForgotten, SnapshotHolds
from ncia.core.work.jobs import Limits
from tests.backup.agencies.points_world import BASE, EAST, PROGRAM, ROWS, WEST, PointsWorld, files_below, tar_of
from tests.backup.agencies.test_locking import held
from tests.fakes.jobs import order
from tests.fakes.repository import FakeStore


@pytest.fixture
def world(tmp_path: Path) -> Iterator[PointsWorld]:
    found = PointsWorld(tmp_path).with_repositories()
    yield found
    found.close()


def tick(world: PointsWorld, seconds: float = 0.0) -> list[str]:
    """The calendar's call so much later; answers what became of what it ordered."""
    world.clock.moment += timedelta(seconds=seconds)
    before = {job.id for job in world.jobs.list()}
    world.jobs.close()
    world.jobs.freeze()
    world.points.tick(world.clock.now())
    world.jobs.start(world.works, Limits())
    return [world.jobs.wait(job.id, 60).state for job in world.jobs.list() if job.id not in before]


def test_the_newest_proven_point_is_one_snapshot_at_both_sites_file_by_file(world: PointsWorld) -> None:
    world.lay("point-1")
    point = world.lay("point-2")
    world.lay("point-3", proven=False)
    job = world.keep()
    assert (job.state, world.at("point-2"), world.at("point-1")) == ("succeeded", [EAST, WEST], [])
    assert world.snapshots(EAST) == world.snapshots(WEST)
    (snapshot,) = world.snapshots(WEST)
    for site in (EAST, WEST):
        (held,) = world.opened(site).snapshots()
        assert (held.hostname, set(held.tags)) == ("tax", {ROWS, "point-2", job.id})
        folder = world.restored(site, snapshot)
        assert files_below(folder) == files_below(world.root / point.path)
        assert (folder / "data" / "pg_notify").is_dir()
        assert folder.name == "tax~rows"
    (first, second) = (body for body in world.told() if isinstance(body, SnapshotHolds))
    assert {first.site, second.site} == {EAST, WEST}
    assert (first.subject, first.store_site, first.sha256) == ("point-2", WEST, point.manifest_sha256)
    assert world.fact(EAST).newest_whole(ROWS) is not None  # expected there, and looked for
    assert world.staged() == []


def test_points_of_two_days_share_the_files_that_did_not_change(world: PointsWorld) -> None:
    big = {**BASE, "base/1/2619": bytes(range(256)) * 4096}
    world.lay("point-1", big)
    world.keep()
    before = sum(map(len, world.stores[WEST].held.values()))
    world.lay("point-2", {**big, "global/pg_control": b"d" * 8192})
    world.keep()
    assert (len(world.snapshots(WEST)), world.at("point-2")) == (2, [EAST, WEST])
    assert sum(map(len, world.stores[WEST].held.values())) - before < 20_000


def test_it_is_kept_a_while_after_the_start_and_then_once_a_day(world: PointsWorld) -> None:
    rotation = replace(world.agency.repository.check, interval_seconds=30 * 86_400.0)  # it would have waited longer
    agency = replace(world.agency, repository=replace(world.agency.repository, check=rotation))
    world.estate.agencies[agency.id] = agency  # type: ignore[index]
    world.lay("point-1")
    assert tick(world, FIRST_AFTER_SECONDS - 60) == []
    assert tick(world, 61) == ["succeeded"]
    assert tick(world, POINTS_INTERVAL_SECONDS + 1) == []  # the same point is kept once
    world.lay("point-2")
    assert tick(world) == ["succeeded"]
    world.lay("point-3")
    assert tick(world, POINTS_INTERVAL_SECONDS - 60) == []
    assert tick(world, 61) == ["succeeded"]
    assert [each.kept.reason[:7] for each in world.fact(WEST).expected] == ["due at "] * 3


def test_one_that_meets_a_lock_is_no_failure_and_comes_again_in_a_minute(world: PointsWorld) -> None:
    world.lay("point-1")
    with held(world, EAST):
        assert tick(world, FIRST_AFTER_SECONDS + 1) == ["failed"]
    assert (world.at("point-1"), [body for body in world.told() if isinstance(body, SnapshotFailed)]) == ([WEST], [])
    assert tick(world, 50) == []
    assert (tick(world, 11), world.at("point-1")) == (["succeeded"], [EAST, WEST])


def test_the_estate_says_how_often(tmp_path: Path) -> None:
    world = PointsWorld(tmp_path).with_repositories()
    agency = replace(world.agency, repository=replace(world.agency.repository, points_interval_seconds=60.0))
    world.estate.agencies[agency.id] = agency  # type: ignore[index]
    world.lay("point-1")
    assert tick(world, FIRST_AFTER_SECONDS + 1) == ["succeeded"]
    world.lay("point-2")
    assert tick(world, 61) == ["succeeded"]
    world.close()


def test_one_at_a_time_and_none_while_a_place_is_read_or_pruned(world: PointsWorld) -> None:
    world.lay("point-1")
    world.jobs.close()
    world.jobs.freeze()
    world.jobs.enqueue(order("check", "agency", CHECK, lane=CHECK))
    world.points.tick(world.clock.now() + timedelta(seconds=FIRST_AFTER_SECONDS + 1))
    assert [job.order.verb for job in world.jobs.open()] == [CHECK]


def test_one_that_was_cancelled_while_it_waited_is_due_again_a_while_later(world: PointsWorld) -> None:
    captured = world.capture(tar_of(("./etc/app.yaml", b"listen: 1\n")))
    world.jobs.close()
    world.jobs.freeze()
    world.clock.moment += timedelta(seconds=FIRST_AFTER_SECONDS + 1)
    world.points.tick(world.clock.now())
    (job,) = world.jobs.open()
    assert (job.order.verb, world.jobs.cancel(job.id, "kim").state) == (KEEP_PROGRAM, "cancelled")
    assert tick(world, CANCELLED_SECONDS / 2) == []
    assert tick(world, CANCELLED_SECONDS / 2) == ["succeeded"]
    assert world.at(captured.path, PROGRAM) == [EAST, WEST]
    assert tick(world, CANCELLED_SECONDS) == []


def ordered(world: PointsWorld, *ticks: Callable[[datetime], None]) -> list[str]:
    """The verbs that are open after both calendars were asked in that order."""
    world.jobs.close()
    world.jobs.freeze()
    for each in ticks:
        each(world.clock.now())
    return [job.order.verb for job in world.jobs.open()]


def test_no_place_is_read_or_pruned_beside_a_points_copy_however_long_it_has_waited(world: PointsWorld) -> None:
    """Both executors would be taken, and the backups of rows miss their time."""
    world.lay("point-1")
    world.jobs.close()
    world.jobs.freeze()
    world.points.keep(ROWS, "kim")
    world.clock.moment += timedelta(days=40)
    assert ordered(world, world.task.tick, world.task.tick) == [KEEP_POINT]


def test_of_a_points_copy_and_a_places_reading_the_one_that_waits_longer_goes_first(world: PointsWorld) -> None:
    world.lay("point-1")
    world.clock.moment += timedelta(days=40)
    assert ordered(world, world.task.tick, world.points.tick) == [KEEP_POINT]
    world.jobs.start(world.works, Limits())
    assert [world.jobs.wait(job.id, 60).state for job in world.jobs.list()] == ["succeeded"]
    world.lay("point-2")
    world.clock.moment += timedelta(seconds=POINTS_INTERVAL_SECONDS + 60)
    assert ordered(world, world.points.tick) == []
    assert ordered(world, world.points.tick, world.task.tick) in ([CHECK], [PRUNE])


def test_the_centre_whose_store_does_not_have_it_keeps_nothing(tmp_path: Path) -> None:
    world = PointsWorld(tmp_path, site=EAST)
    world.with_repositories()
    world.points.parts = replace(world.points.parts, site=EAST)
    world.lay("point-1")
    assert tick(world, FIRST_AFTER_SECONDS + 1) == []
    with pytest.raises(Refusal, match="no proven point or program of it in its store"):
        world.points.keep(ROWS, "kim")
    world.close()


def test_asked_for_what_is_kept_already_it_says_so(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    with pytest.raises(Refusal, match="point-1 is kept at each place already"):
        world.points.keep(ROWS, "kim")
    assert world.points.keep(None, "kim") == ()
    with pytest.raises(NciaError, match="not in the estate"):
        world.points.keep("no/such", "kim")


def test_a_place_that_fails_does_not_keep_the_other_from_its_copy_and_is_tried_again_after_a_pause(
    world: PointsWorld,
) -> None:
    world.lay("point-1")
    hidden, world.stores[EAST] = world.stores[EAST], FakeStore()
    job = world.keep()
    assert (job.state, "east: " in job.sentence, world.at("point-1")) == ("failed", True, [WEST])
    world.stores[EAST] = hidden
    assert tick(world, FIRST_AFTER_SECONDS) == ["succeeded"]
    assert (world.at("point-1"), world.states.snapshot().snapshot_failures) == ([EAST, WEST], {})


def test_what_is_an_interval_late_is_told_and_nothing_before(world: PointsWorld) -> None:
    world.journal.append(ControllerStarted(release="1", estate_hash=""), by="test")
    world.lay("point-1")
    began, usual = world.clock.now(), FIRST_AFTER_SECONDS + POINTS_INTERVAL_SECONDS
    assert late(world.estate, world.states.snapshot(), began + timedelta(seconds=usual - 60)) == ()
    ((dataset, why),) = late(world.estate, world.states.snapshot(), began + timedelta(seconds=usual + 60))
    assert (dataset, why[:67]) == (ROWS, "point-1 is at 0 of 2 places of its agency's repository, due 2026-01")
    world.keep()
    assert late(world.estate, world.states.snapshot(), began + timedelta(seconds=usual + 60)) == ()


def test_what_is_forgotten_holds_nothing_any_more(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    (name,) = world.snapshots(WEST)
    gone = SnapshotForgotten(agency="agency", dataset=ROWS, site=WEST, snapshot=name, reason="newer ones are kept")
    world.journal.append(gone, by="test")
    assert (world.at("point-1"), world.fact(WEST).holds) == ([EAST], {})


def test_each_point_is_listed_with_the_places_that_have_it_as_a_snapshot(world: PointsWorld) -> None:
    world.lay("point-1")
    world.keep()
    world.lay("point-2")
    told = listing(world.estate, world.states.snapshot(), (), world.clock.now())["points"]
    assert {each["point"]: [place["site"] for place in each["snapshots"]] for each in told} == {
        "point-1": [EAST, WEST],
        "point-2": [],
    }


def test_an_attempt_that_was_killed_before_it_was_written_down_leaves_no_second_snapshot(world: PointsWorld) -> None:
    """What the first attempt's snapshot lacks nobody knows: it is no copy, and the next job makes one."""
    world.lay("point-1")
    world.jobs.close()
    world.jobs.freeze()
    (job,) = world.points.keep(ROWS, "kim")
    dead = replace(job, state="running", fence=1)
    world.works[dead.order.verb](dead, _Killed(dead))  # type: ignore[arg-type]
    world.jobs._known[job.id] = replace(job, state="running", fence=1)
    world.jobs.start(world.works, Limits())
    ended = world.jobs.wait(job.id, 60)
    assert (ended.state, len(world.snapshots(WEST)), world.at("point-1")) == ("failed", 1, [])
    assert world.keep().state == "succeeded"
    assert (world.at("point-1"), world.staged()) == ([EAST, WEST], [])


def test_what_crashed_jobs_staged_is_gone_with_the_next(world: PointsWorld) -> None:
    left = world.folder / "points" / "land~rows"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"x")
    (left.parent / "land~rows.lock").touch()
    world.lay("point-1")
    world.keep()
    assert world.staged() == []


def test_the_points_of_a_system_whose_store_let_go_of_them_stay_in_the_repository(world: PointsWorld) -> None:
    point = world.lay("point-1")
    world.keep()
    deleted = PointDeleted(point="point-1", dataset=ROWS, store_site=WEST, path=point.path, reason="newer ones")
    world.journal.append(deleted, by="test")
    assert world.at("point-1") == [EAST, WEST]


def test_a_silent_store_is_a_failure_at_both(world: PointsWorld) -> None:
    world.lay("point-1")
    world.remote.silent.add("west-files")
    job = world.keep()
    assert (job.state, "it is silent" in job.sentence) == ("failed", True)
    failed = {body.site for body in world.told() if isinstance(body, SnapshotFailed)}
    assert (failed, world.snapshots(WEST), world.staged()) == ({EAST, WEST}, [], [])


class _Killed:
    """Steps of an attempt that is killed between the snapshot and its entry."""

    def __init__(self, job: object) -> None:
        self.job = job

    def do(self, name: str, act):  # type: ignore[no-untyped-def]
        return act()

    def clean(self, name: str, act):  # type: ignore[no-untyped-def]
        return None
