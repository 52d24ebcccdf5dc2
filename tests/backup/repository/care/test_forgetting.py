"""Which snapshots are kept: as restic says of thousands of random ones, and what is played against a policy."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.repository.care.forgetting import Judged, Policy, demand_modest, judge
from backup.repository.care.spans import Span, span_of
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.restic import Restic, demand_restic

DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def snapshot(time: datetime, id_: str = "", host: str = "host", tags: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(time, b"\1" * 32, ("/srv",), host, "somebody", tags=tags, id=id_ or f"{time:%Y%m%d%H%M%S%f}")


def nightly(days: int, until: datetime = NOW) -> list[Snapshot]:
    return [snapshot(until - number * DAY) for number in range(days)]


def kept(judged: tuple[Judged, ...]) -> set[str]:
    return {each.snapshot.id for each in judged if each.kept}


POLICIES = {
    "last": (Policy(last=4), ("--keep-last", "4")),
    "gfs": (
        Policy(hourly=5, daily=7, weekly=4, monthly=6, yearly=3),
        ("-H", "5", "-d", "7", "-w", "4", "-m", "6", "-y", "3"),
    ),
    "within": (
        Policy(within=span_of("1m3d2h"), tags=(("a", "b"), ("c",))),
        ("--keep-within", "1m3d2h", "--keep-tag", "a,b", "--keep-tag", "c"),
    ),
    "by age": (
        Policy(
            within_hourly=span_of("2d"),
            within_daily=span_of("7d"),
            within_weekly=span_of("1m"),
            within_monthly=span_of("1y"),
            within_yearly=span_of("9y5m"),
        ),
        tuple(
            word
            for unit, span in (
                ("hourly", "2d"),
                ("daily", "7d"),
                ("weekly", "1m"),
                ("monthly", "1y"),
                ("yearly", "9y5m"),
            )
            for word in (f"--keep-within-{unit}", span)
        ),
    ),
    "all of them": (
        Policy(last=2, hourly=3, daily=3, weekly=3, monthly=3, yearly=2, within=span_of("2d"), tags=(("c",),)),
        ("-l", "2", "-H", "3", "-d", "3", "-w", "3", "-m", "3", "-y", "2", "--keep-within", "2d", "--keep-tag", "c"),
    ),
}


@pytest.fixture(scope="module")
def restic() -> Restic:
    return demand_restic()


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Snapshot]]:
    """A repository of 40 hosts, each with a random history of its own: hours, days or months apart."""
    root = tmp_path_factory.mktemp("crowd") / "repository"
    repository, chance, made = create(FolderStore(root), PASSWORD, HOLDER, NOW, CHEAP), random.Random(5), []
    for host in range(40):
        hours = chance.choice((3, 20, 200, 2000))
        time = datetime(2024, 1, chance.randrange(1, 28), tzinfo=UTC) + timedelta(hours=chance.randrange(4000))
        for _ in range(chance.randrange(1, 30)):
            time -= timedelta(seconds=chance.randrange(1, hours * 3600), microseconds=chance.randrange(1_000_000))
            tags = tuple(tag for tag in "abc" if chance.random() < 0.2)
            each = snapshot(time, host=f"host{host}", tags=tags)
            made.append(repository.snapshot(repository.save_file(Kind.SNAPSHOTS, each.as_json())))
    return root, made


@pytest.mark.parametrize("name", POLICIES)
def test_restic_itself_keeps_and_removes_the_same_for_the_same_reasons(
    name: str, crowd: tuple[Path, list[Snapshot]], restic: Restic
) -> None:
    """One difference is on purpose: where the rules keep none of a host's, we keep the newest."""
    policy, words = POLICIES[name]
    root, snapshots = crowd
    judged = judge(snapshots, policy, NOW + 365 * DAY)
    alone = {each.snapshot.id for each in judged if each.reasons == ("last of its host and paths",)}
    unsafe = () if restic.old else ("--unsafe-allow-remove-all",)
    told = restic.run(root, "forget", "--dry-run", "--json", "--no-lock", *unsafe, *words, password=PASSWORD)
    groups = json.loads(next(line for line in told.splitlines() if line.startswith("[")))
    theirs = {each["id"] for group in groups for each in group["keep"] or ()}
    if restic.old:  # it does not keep the oldest of all where places are left
        assert theirs
        assert theirs <= kept(judged)
        return
    assert theirs == kept(judged) - alone
    assert {each["id"] for group in groups for each in group["remove"] or ()} == {
        each.id for each in snapshots
    } - theirs
    reasons = {each["snapshot"]["id"]: sorted(each["matches"]) for group in groups for each in group["reasons"] or ()}
    assert reasons == {each.snapshot.id: sorted(each.reasons) for each in judged if each.snapshot.id in theirs}


def test_what_is_dated_in_the_future_takes_no_place_and_is_not_removed() -> None:
    real = nightly(5)
    junk = [snapshot(NOW + number * 400 * DAY, f"junk{number}") for number in range(1, 20)]
    judged = judge(real + junk, Policy(last=3, daily=3, within=Span(days=3)), NOW)
    assert kept(judged) == {each.id for each in real[:3]} | {each.id for each in junk}
    assert {each.reasons for each in judged if each.snapshot in junk} == {("takes no place: dated in the future",)}


def test_a_writers_clock_that_went_back_removes_less() -> None:
    real = nightly(30)
    policy = Policy(daily=7, monthly=2)
    assert kept(judge(real, policy, NOW - 20 * DAY)) >= {each.id for each in real[:20]}


def test_nothing_ages_out_where_backups_have_stopped_and_the_clock_goes_on() -> None:
    real = nightly(30)
    policy = Policy(within=Span(days=7), within_weekly=Span(months=1))
    assert kept(judge(real, policy, NOW)) == kept(judge(real, policy, NOW + 4000 * DAY))


def test_what_nobody_expected_takes_no_place_and_is_not_removed() -> None:
    real = nightly(10)
    junk = [snapshot(NOW - number * HOUR / 7, f"junk{number}") for number in range(1, 50)]
    doubts = {each.id: "nobody expected it" for each in junk}
    policy = Policy(last=3, hourly=3, daily=5)
    judged = judge(real + junk, policy, NOW, doubtful=doubts)
    assert kept(judged) - doubts.keys() == kept(judge(real, policy, NOW))
    assert doubts.keys() <= kept(judged)


def test_the_newest_proven_copy_is_kept_whatever_the_rules_say_and_older_proven_ones_go() -> None:
    real = nightly(10)
    judged = judge(real, Policy(last=2), NOW, proven=(real[6].id, real[8].id))
    assert kept(judged) == {real[0].id, real[1].id, real[6].id}
    (proven,) = [each for each in judged if each.snapshot == real[6]]
    assert proven.reasons == ("last proven copy",)


def test_the_last_of_a_host_is_kept_where_no_rule_keeps_any() -> None:
    judged = judge([*nightly(3), snapshot(NOW, "other", host="other")], Policy(tags=(("never",),)), NOW)
    assert [each.reasons for each in judged if each.kept] == [("last of its host and paths",)] * 2


def test_a_burst_of_junk_that_would_push_many_out_is_not_carried_out_before_somebody_looked() -> None:
    real = nightly(30)
    policy = Policy(last=30)
    demand_modest(judge([*real, snapshot(NOW - HOUR, "new")], policy, NOW))
    junk = [snapshot(NOW - number * timedelta(seconds=1), f"junk{number}") for number in range(1, 31)]
    judged = judge(real + junk, policy, NOW)
    with pytest.raises(Refusal, match=r"30 of 60 of host \(/srv\) would go at once") as refused:
        demand_modest(judged)
    assert refused.value.override == "--remove-max N"
    demand_modest(judged, removed_max=30)
    with pytest.raises(Refusal, match="30 would go, and 29 may"):
        demand_modest(judged, removed_max=29)


def test_without_any_rule_nothing_is_forgotten() -> None:
    with pytest.raises(NciaError, match="no rule says what to keep"):
        judge(nightly(3), Policy(), NOW)


@given(
    ages=st.lists(st.integers(0, 3_000_000), min_size=1, max_size=40, unique=True),
    junk=st.lists(st.integers(-5_000_000, 3_000_000), max_size=40, unique=True),
    counts=st.tuples(*[st.integers(0, 5)] * 6),
    proven=st.sets(st.integers(0, 39)),
)
@settings(max_examples=150, deadline=None)
def test_no_junk_that_is_known_for_it_or_dated_ahead_changes_what_becomes_of_the_real_ones(
    ages: list[int], junk: list[int], counts: tuple[int, ...], proven: set[int]
) -> None:
    real = [snapshot(NOW - timedelta(seconds=age), f"real{age}") for age in ages]
    bogus = [snapshot(NOW - timedelta(seconds=age), f"bogus{age}") for age in junk]
    policy = Policy(*counts, within=Span(hours=5))
    sure = frozenset(f"real{ages[at]}" for at in proven if at < len(ages))
    doubts = {each.id: "bogus" for each in bogus if each.time <= NOW}
    alone = judge(real, policy, NOW, sure)
    among = judge(real + bogus, policy, NOW, sure, doubts)
    assert [each for each in among if each.snapshot in real] == list(alone)
    assert not sure or kept(alone) & sure
    assert kept(alone)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        ("1m", datetime(2026, 10, 26, 3, 4, 5, tzinfo=UTC)),
        ("2y9m25d", datetime(2024, 2, 1, 3, 4, 5, tzinfo=UTC)),
        ("36h", datetime(2026, 11, 24, 15, 4, 5, tzinfo=UTC)),
        ("9999y", datetime.min.replace(tzinfo=UTC)),
    ],
)
def test_spans_count_back_in_the_calendar(text: str, before: datetime) -> None:
    assert span_of(text).before(NOW) == before
    assert str(span_of(text)) == text


@pytest.mark.parametrize("text", ["", "7", "d", "7d1y", "-7d", "7 d"])
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(NciaError, match="read a span of time"):
        span_of(text)
