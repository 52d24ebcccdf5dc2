from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from monitors.judge import VERDICT_OF, Change, Track, judge
from monitors.ports import Look, Outcome
from ncia.core.base.ids import Subject

START = datetime(2026, 1, 1, tzinfo=UTC)
FALL, RISE = 3, 2


def looks(*outcomes: Outcome | tuple[Outcome, str]) -> list[Look]:
    found = []
    for second, each in enumerate(outcomes):
        outcome, code = each if isinstance(each, tuple) else (each, each.value)
        found.append(Look(Subject("app:x@y"), outcome, code, f"look {second}", START + timedelta(seconds=second)))
    return found


def changes(*outcomes: Outcome | tuple[Outcome, str], track: Track | None = None) -> list[Change]:
    track, found = track or Track(), []
    for look in looks(*outcomes):
        track, change = judge(track, look, FALL, RISE)
        if change is not None:
            found.append(change)
    return found


GOOD, BAD, DEGRADED, BLIND, RETIRED = Outcome.GOOD, Outcome.BAD, Outcome.DEGRADED, Outcome.BLIND, Outcome.RETIRED


def test_the_first_good_look_ends_not_knowing() -> None:
    assert [c.verdict for c in changes(GOOD)] == ["up"]


def test_a_verdict_falls_after_so_many_bad_looks_and_dates_from_the_first() -> None:
    found = changes(GOOD, BAD, BAD, BAD)
    assert [(c.verdict, c.previous) for c in found] == [("up", "unknown"), ("down", "up")]
    assert found[-1].since == START + timedelta(seconds=1)


def test_one_good_look_among_bad_ones_starts_the_count_anew() -> None:
    assert [c.verdict for c in changes(GOOD, BAD, BAD, GOOD, BAD, BAD)] == ["up"]


def test_a_verdict_rises_after_so_many_good_looks() -> None:
    assert [c.verdict for c in changes(BAD, BAD, BAD, GOOD, BAD, GOOD, GOOD)] == ["down", "up"]


def test_worse_looks_of_several_kinds_count_together() -> None:
    found = changes(GOOD, DEGRADED, BAD, DEGRADED)
    assert [c.verdict for c in found] == ["up", "degraded"]


def test_not_being_able_to_look_makes_unknown_and_not_down() -> None:
    assert [c.verdict for c in changes(GOOD, BLIND, BLIND, BLIND)] == ["up", "unknown"]


def test_another_kind_of_finding_under_the_same_verdict_is_told() -> None:
    other = (BAD, "dependency:share")
    found = changes(BAD, BAD, BAD, other, other)
    assert [(c.verdict, c.previous, c.evidence) for c in found] == [
        ("down", "unknown", "look 2"),
        ("down", "down", "look 4"),
    ]


def test_what_is_no_longer_looked_at_is_unknown_at_once_and_only_once() -> None:
    assert [c.verdict for c in changes(GOOD, RETIRED, RETIRED)] == ["up", "unknown"]


def test_what_is_retired_leaves_no_doubt_behind() -> None:
    track = Track()
    for outcome in (BLIND, BLIND, RETIRED):
        track, _ = judge(track, Look(Subject("replica:a@x"), outcome, outcome.value, "", START), 3, 2)
    assert track == Track()


def test_a_doubt_is_a_bad_look_before_the_fall() -> None:
    track, doubts = Track(), []
    for look in looks(GOOD, BAD, BAD, BAD, GOOD, GOOD):
        track, _ = judge(track, look, FALL, RISE)
        doubts.append(track.doubted)
    assert doubts == [False, True, True, False, False, False]


@given(st.lists(st.sampled_from([GOOD, BAD, DEGRADED, BLIND]), max_size=60))
def test_a_verdict_never_falls_without_enough_looks_in_a_row_that_were_worse(outcomes: list[Outcome]) -> None:
    worth = {"up": 3, "degraded": 2, "down": 1, "unknown": 0}
    track = Track()
    for number, look in enumerate(looks(*outcomes)):
        before = track
        track, change = judge(track, look, FALL, RISE)
        if change is not None and worth[change.verdict] < worth[before.verdict]:
            last = outcomes[max(0, number - FALL + 1) : number + 1]
            assert len(last) == FALL
            assert all(worth[VERDICT_OF[each]] < worth[before.verdict] for each in last)


@given(st.lists(st.sampled_from([GOOD, BAD, DEGRADED, BLIND]), min_size=1, max_size=60))
def test_enough_equal_looks_always_settle_the_verdict(outcomes: list[Outcome]) -> None:
    track = Track()
    for look in looks(*outcomes, *[outcomes[-1]] * FALL):
        track, _ = judge(track, look, FALL, RISE)
    assert track.verdict == VERDICT_OF[outcomes[-1]]
