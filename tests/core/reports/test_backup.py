"""The backup report: each line from an entry and naming it; what nobody has shown is not proven."""

from __future__ import annotations

import json
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.journal.entries import (
    BackupFailed,
    BackupFinished,
    BackupStarted,
    IncidentOpened,
    PointBrought,
    PointCopied,
    PointDeleted,
    PointRehashed,
    ProofFailed,
    ProofFinished,
    RunMissed,
    TableSum,
)
from ncia.core.journal.entries_repositories import RepositoryLooked, SnapshotForgotten, SnapshotHolds
from ncia.core.reports.backup import BackupReport, DatasetDay, agency_of, backup_report, day_of
from ncia.core.reports.backup_places import PointTold
from tests.core.journal.specimens import SPECIMENS
from tests.core.story import NORTH, SOUTH, START, Story, at, sample_estate, text

ESTATE = sample_estate()
HOUR = 3600.0
TODAY = START.date().isoformat()
GOLDEN = Path(__file__).parents[2] / "golden" / "reports" / "backup.json"
TABLE = TableSum(table="acts", rows=7, sum128="0" * 32)


def made(point: str, job: str = "j1", source: str = "north") -> tuple[BackupStarted, BackupFinished]:
    started = BackupStarted(job=job, dataset="tax/rows", source_site=source, store_site="south", due_at=text(0))
    return started, BackupFinished(
        job=job,
        point=point,
        dataset="tax/rows",
        store_site="south",
        path=f"tax/rows/{point}",
        size_bytes=30_000_000,
        files=900,
        start_lsn="0/1",
        stop_lsn="0/2",
        manifest_sha256="ab" * 32,
        seconds=2.0,
        compare_lsn="0/3",
        source=(TABLE,),
    )


def proof(point: str, *, matched: bool = True) -> ProofFinished:
    return ProofFinished(
        job="p",
        point=point,
        dataset="tax/rows",
        matched=matched,
        compare_lsn="0/3",
        source=(TABLE,),
        copy_=(TABLE,),
        differences=() if matched else ("acts: 7 rows in the source, 6 in the copy",),
        restore_seconds=1.5,
        seconds=2.0,
    )


def rehash(point: str, why: str = "") -> PointRehashed:
    return PointRehashed(
        job="r",
        point=point,
        dataset="tax/rows",
        store_site="south",
        matched=not why,
        manifest_sha256="ab" * 32,
        size_bytes=30_000_000,
        files=900,
        seconds=0.5,
        why=why,
    )


def a_day() -> Story:
    """From noon on: a point that is proven and read again, one that failed, one missed, one deleted."""
    story = Story().say(60, SOUTH, *made("point-1")).say(70, SOUTH, proof("point-1"))
    story.say(
        HOUR + 60,
        SOUTH,
        BackupStarted(job="j2", dataset="tax/rows", source_site="north", store_site="south", due_at=text(HOUR)),
    )
    story.say(HOUR + 70, SOUTH, BackupFailed(job="j2", dataset="tax/rows", error="the store is full"))
    story.say(
        2 * HOUR,
        NORTH,
        RunMissed(job="backup:tax/rows", dataset="tax/rows", due_at=text(HOUR + 60), reason="no answer"),
    )
    story.say(2 * HOUR, SOUTH, *made("point-2", "j3")).say(2 * HOUR + 9, SOUTH, proof("point-2"))
    story.say(3 * HOUR, SOUTH, rehash("point-2"))
    gone = PointDeleted(
        point="point-1", dataset="tax/rows", store_site="south", path="x", reason="newer points are proven"
    )
    return story.say(3 * HOUR + 1, SOUTH, gone)


def report(story: Story, now: float = 4 * HOUR, day: str = TODAY, agency: str = "") -> BackupReport:
    asked = day_of(day, SOUTH, ESTATE, at(now))
    began = min((entry.at for entry in story.entries), default=None)
    entries = [entry for entry in story.entries if entry.at <= at(now)]
    return backup_report(asked, agency_of(agency, ESTATE), ESTATE, entries, began, story.state(), at(now))


def rows(told: BackupReport) -> DatasetDay:
    return next(each for each in told.datasets if each.dataset == "tax/rows")


def gaps(told: BackupReport, subject: str = "tax/rows") -> list[str]:
    return [gap.what for gap in told.not_proven if gap.subject == subject]


def test_a_second_copy_is_told_with_its_point_whichever_log_is_read_first() -> None:
    copied = PointCopied(
        job="c",
        point="point-2",
        dataset="tax/rows",
        from_site="south",
        store_site="north",
        path="x",
        size_bytes=30_000_000,
        files=900,
        manifest_sha256="ab" * 32,
        seconds=1.0,
    )
    story = a_day().say(3 * HOUR + 5, NORTH, copied)
    told = report(story)
    story.entries.sort(key=lambda entry: (entry.site, entry.number))
    assert rows(report(story)).points == rows(told).points
    (point,) = [point for point in rows(told).points if point.point == "point-2"]
    assert (point.copied_to, point.copied_entry, point.present) == ("north", "north#1", True)
    gone = PointDeleted(
        point="point-2", dataset="tax/rows", store_site="north", path="x", reason="newer copies are here"
    )
    (point,) = [p for p in rows(report(story.say(3 * HOUR + 6, NORTH, gone))).points if p.point == "point-2"]
    assert (point.copied_to, point.present) == ("", True)


def kept_as(site: str, snapshot: str = "8e68" * 16) -> SnapshotHolds:
    return SnapshotHolds(
        job="k",
        agency="treasury",
        dataset="tax/rows",
        site=site,
        repository="61b2" * 16,
        snapshot=snapshot,
        subject="point-2",
        store_site="south",
        sha256="ab" * 32,
    )


def test_the_places_that_have_a_point_as_a_snapshot_are_told_until_it_is_forgotten_there() -> None:
    """Forgotten in another log than it was kept in, whichever is read first."""
    story = a_day().say(3 * HOUR + 5, SOUTH, kept_as("north"), kept_as("south"))
    (point,) = [point for point in rows(report(story)).points if point.point == "point-2"]
    assert (point.kept_at, point.kept_entries) == (("north", "south"), ("south#10", "south#11"))
    gone = SnapshotForgotten(
        agency="treasury", dataset="tax/rows", site="north", snapshot="8e68" * 16, reason="newer ones are kept"
    )
    story.say(3 * HOUR + 6, NORTH, gone)
    for order in (1, -1):
        story.entries.sort(key=lambda entry: (entry.site, entry.number), reverse=False)
        story.entries = sorted(story.entries, key=lambda entry: order * (entry.site == NORTH))
        (point,) = [point for point in rows(report(story)).points if point.point == "point-2"]
        assert point.kept_at == ("south",)


def test_a_point_that_came_back_is_present_again_and_says_whence() -> None:
    body = next(body for body in SPECIMENS if isinstance(body, PointBrought))
    back = body.model_copy(update={"point": "point-1", "store_site": "south", "from_site": "north"})
    point = rows(report(a_day().say(3 * HOUR + 7, SOUTH, back))).points[0]
    assert (point.present, point.brought_from, point.brought_entry) == (True, "north", "south#10")


def brought_into_north(point: str) -> PointBrought:
    body = next(body for body in SPECIMENS if isinstance(body, PointBrought))
    return body.model_copy(update={"point": point, "store_site": "north", "from_site": "north"})


def in_any_order(story: Story) -> list[PointTold]:
    """The first point, as told whichever site's log is read first."""
    found = []
    for order in (1, -1):
        story.entries = sorted(story.entries, key=lambda entry: (order * (entry.site == NORTH), entry.number))
        found.append(rows(report(story)).points)
    assert found[0] == found[1]
    return list(found[0])


def test_a_point_that_came_into_the_other_store_is_a_second_copy_and_its_end_is_not_the_points() -> None:
    story = a_day().say(3 * HOUR + 5, NORTH, brought_into_north("point-2"))
    point = in_any_order(story)[1]
    assert (point.store_site, point.present, point.copied_to, point.copied_entry) == ("south", True, "north", "north#1")
    assert (point.brought_from, point.brought_entry) == ("north", "north#1")
    gone = PointDeleted(point="point-2", dataset="tax/rows", store_site="north", path="x", reason="newer copies")
    point = in_any_order(story.say(3 * HOUR + 6, NORTH, gone))[1]
    assert (point.store_site, point.present, point.copied_to) == ("south", True, "")


def test_a_point_that_its_store_let_go_of_and_that_came_into_the_other_is_there() -> None:
    point = in_any_order(a_day().say(3 * HOUR + 5, NORTH, brought_into_north("point-1")))[0]
    assert (point.store_site, point.present, point.copied_to, point.brought_from) == ("north", True, "", "north")


def test_a_snapshot_that_the_last_look_missed_or_whose_place_could_not_be_looked_into_is_not_told() -> None:
    def kept_at(*looks: tuple[tuple[str, ...], str]) -> tuple[str, ...]:
        story = a_day().say(3 * HOUR + 5, SOUTH, kept_as("north"), kept_as("south", "9a7c" * 16))
        for missing, why in looks:
            looked = RepositoryLooked(
                agency="treasury", site="north", expected=2, missing=missing, strangers=0, why=why
            )
            story.say(3 * HOUR + 6, NORTH, looked)
        return in_any_order(story)[1].kept_at

    missing = ("snapshot 8e688e68 of tax/rows is not there",)
    assert kept_at((missing, "")) == ("south",)
    assert kept_at(((), "it is damaged")) == ("south",)
    assert kept_at((("snapshot 11111111 of tax/rows is not there", "and 3 more"), "")) == ("south",)
    assert kept_at((("snapshot 11111111 of tax/rows is not there",), "")) == ("north", "south")
    assert kept_at((missing, ""), ((), "")) == ("north", "south")


def test_expected_is_one_point_for_each_interval_that_ended_since_the_journal_began() -> None:
    assert rows(report(a_day())).expected == 3  # an hour each since the first entry, a minute after noon
    assert rows(report(a_day(), now=30 * HOUR)).expected == 11
    assert rows(report(Story())).expected == 0


def test_each_line_names_the_entry_that_says_it() -> None:
    told = rows(report(a_day()))
    first, second = told.points
    assert (first.entry, first.proven_entry, first.reread_entry) == ("south#1", "south#2", "south#2")
    assert (second.entry, second.proven_entry, second.reread_entry) == ("south#6", "south#7", "south#8")
    assert [(t.what, t.reason, t.entry) for t in told.troubles] == [
        ("backup", "the store is full", "south#4"),
        ("missed", "no answer", "north#0"),
    ]
    assert [(d.point, d.by, d.reason, d.entry) for d in told.deleted] == [
        ("point-1", "test", "newer points are proven", "south#9")
    ]


def test_a_point_is_told_with_its_site_its_manifest_and_when_its_bytes_were_last_read() -> None:
    point = rows(report(a_day())).points[1]
    assert (point.source_site, point.store_site, point.elsewhere) == ("north", "south", True)
    assert (point.manifest_sha256, point.reread_ok, point.reread_at) == ("ab" * 32, True, text(3 * HOUR))
    assert (point.proven, point.proven_at, point.restore_seconds) == (True, text(2 * HOUR + 9), 1.5)


def test_a_deleted_point_is_not_present_and_says_so() -> None:
    assert [point.present for point in rows(report(a_day())).points] == [False, True]


def test_points_that_were_not_made_are_counted_as_not_proven() -> None:
    assert gaps(report(a_day())) == ["1 of 3 expected points were not made"]


def test_a_point_that_was_never_restored_nor_read_again_proves_nothing() -> None:
    told = report(Story().say(60, SOUTH, *made("point-1")), now=120)
    assert gaps(told) == [
        "no recovery point of it is proven",
        "1 point was never restored and compared",
        "1 point was never read again where kept",
    ]


def test_a_point_whose_bytes_changed_does_not_count_any_more_whatever_was_proven_before() -> None:
    story = Story().say(60, SOUTH, *made("point-1")).say(70, SOUTH, proof("point-1"))
    told = report(story.say(80, SOUTH, rehash("point-1", "checksum mismatch")), now=120)
    point = rows(told).points[0]
    assert (point.proven, point.reread_ok, point.why) == (False, False, "checksum mismatch")
    assert rows(told).standing is None
    assert gaps(told) == ["no recovery point of it is proven", "point-1: checksum mismatch"]


def test_a_copy_that_is_not_its_source_says_what_is_different() -> None:
    story = Story().say(60, SOUTH, *made("point-1")).say(70, SOUTH, proof("point-1", matched=False))
    assert "point-1: acts: 7 rows in the source, 6 in the copy" in gaps(report(story, now=120))


def test_a_proof_that_could_not_be_carried_out_is_a_trouble_of_the_day() -> None:
    story = Story().say(60, SOUTH, ProofFailed(job="p", point="x", dataset="tax/rows", error="scratch is full"))
    assert [(t.what, t.reason) for t in rows(report(story, now=120)).troubles] == [("proof", "scratch is full")]


def test_a_point_at_the_site_of_its_source_is_no_copy_elsewhere() -> None:
    told = report(Story().say(60, SOUTH, *made("point-1", source="south")), now=120)
    assert "point-1 is kept at south, where its source is" in gaps(told)


def test_what_befell_a_days_point_later_is_told_with_that_day() -> None:
    story = Story().say(60, SOUTH, *made("point-1")).say(30 * HOUR, SOUTH, proof("point-1"))
    told = report(story, now=31 * HOUR)
    assert (told.over, rows(told).points[0].proven_at) == (True, text(30 * HOUR))
    tomorrow = (START + timedelta(days=1)).date().isoformat()
    assert rows(report(story, now=31 * HOUR, day=tomorrow)).points == ()


def test_a_job_that_began_before_midnight_keeps_its_source() -> None:
    midnight = -12 * HOUR
    story = Story().say(midnight - 60, SOUTH, made("point-1")[0]).say(midnight + 5, SOUTH, made("point-1")[1])
    assert rows(report(story, now=60)).points[0].elsewhere is True


def test_a_dataset_of_which_nothing_is_made_is_said_so() -> None:
    assert gaps(report(a_day()), "tax/letters") == [
        "no recovery point of it is made",
        "its recovery: it is held at one site only",
    ]


def test_points_at_a_site_that_is_lost_are_not_known_to_be_there() -> None:
    lost = IncidentOpened(
        incident="site-south-1",
        root="site:south",
        cause="site-lost",
        severity="critical",
        sentence="",
        run_next="",
        members=(),
        systems=(),
    )
    told = report(a_day().say(4 * HOUR - 60, NORTH, lost))
    assert gaps(told)[-1] == (
        "its newest proven point is at south, which is lost since 2026-06-01T15:59:00Z: nobody knows it there"
    )


def test_a_day_is_the_local_day_of_the_site() -> None:
    estate = sample_estate()
    sites = {name: type(site)(**{**site.__dict__, "timezone": "Asia/Seoul"}) for name, site in estate.sites.items()}
    seoul = type(estate)(**{**estate.__dict__, "sites": sites})
    day = day_of("2026-01-02", SOUTH, seoul, at(40 * 86400))
    assert (day.timezone, day.since.isoformat()) == ("Asia/Seoul", "2026-01-02T00:00:00+09:00")
    assert (day.until - day.since).total_seconds() == 86400


def test_no_day_is_today() -> None:
    assert day_of("", SOUTH, ESTATE, at(0)).day == START.date()


@pytest.mark.parametrize(
    ("day", "why"),
    [("noon", "it is no day"), ("2026-02-30", "it is no day"), ((date.max).isoformat(), "it has not begun at south")],
)
def test_a_day_that_is_none_is_one_clear_error(day: str, why: str) -> None:
    with pytest.raises(NciaError) as refused:
        day_of(day, SOUTH, ESTATE, at(0))
    assert (refused.value.code, refused.value.why) == ("report.bad-day", why)


def test_an_agency_that_the_estate_does_not_have_is_one_clear_error() -> None:
    with pytest.raises(NciaError, match="no agency 'nobody' in the estate") as refused:
        agency_of("nobody", ESTATE)
    assert refused.value.hint == "treasury"


def test_an_agencys_report_holds_its_own_datasets_only() -> None:
    assert {each.system for each in report(a_day(), agency="treasury").datasets} == {"tax", "fines"}


def test_the_json_is_what_it_was() -> None:
    told = json.loads(json.dumps(report(a_day()).to_json()))
    assert told == golden()


def golden() -> Any:
    return json.loads(GOLDEN.read_text(encoding="utf-8"))


if __name__ == "__main__":  # python -m tests.core.reports.test_backup writes the golden file anew
    GOLDEN.parent.mkdir(parents=True, exist_ok=True)
    told = json.dumps(report(a_day()).to_json(), indent=1, ensure_ascii=False)
    GOLDEN.write_text(told + "\n", encoding="utf-8")
