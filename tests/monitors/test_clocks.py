"""Clocks that are wrong: measured from reports, told apart by the third one, one incident that ends by itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitors.clocks import JUDGED_AFTER_SECONDS, Pendulum
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, NOW, SOUTH, THIRD, World, active_of, estate_of
from tests.monitors.centres import Centre, centre, report
from tests.monitors.test_task import closed, opened

ESTATE = estate_of(CHAIN)
HOUR = 3600.0


@pytest.fixture
def south(tmp_path: Path) -> Iterator[Centre]:
    found = centre(tmp_path, SOUTH, ESTATE)
    yield found
    found.journal.close()


def hear(site: Centre, ahead: dict[SiteId, float], seconds: float = 16.0) -> None:
    """Let the agents of those sites report that all is well, each by its own clock, for so long."""
    seen = World(ESTATE, active_of(CHAIN), frozenset())
    for _ in range(int(seconds * 2)):
        for vantage, skew in ahead.items():
            told = report(site.clock, {s: sight.verdict for s, sight in seen.sights(vantage).items()})
            told["at"] = to_text(site.clock.now() + timedelta(seconds=skew))
            site.intake.report(vantage, told)
        site.task.tick()
        site.clock.go(0.5)


def heard(offsets: list[float]) -> Pendulum:
    found = Pendulum()
    for second, offset in enumerate(offsets):
        now = NOW + timedelta(seconds=second)
        found.hear(now + timedelta(seconds=offset), now)
    return found


def test_a_clock_an_hour_ahead_on_one_site_is_one_incident_that_names_it_and_closes_by_itself(south: Centre) -> None:
    hear(south, {NORTH: HOUR, SOUTH: 0.0, THIRD: -0.2})
    assert opened(south) == ["clock:north"]
    told = south.open()["clock:north"].now
    assert (told.cause, told.severity) == ("clock-wrong", "major")
    assert told.sentence.startswith("The clock of North is wrong since ")
    assert "it is 1 h 0 min ahead of the two others" in told.sentence
    assert "leases and epochs are not" in told.sentence
    hear(south, {NORTH: 0.0, SOUTH: 0.0, THIRD: 0.0}, 30)
    assert closed(south) == [("clock-north-1", "seen well again")]


def test_the_site_whose_own_clock_is_an_hour_ahead_says_so_of_itself(south: Centre) -> None:
    hear(south, {NORTH: -HOUR, SOUTH: 0.0, THIRD: -HOUR - 0.4})
    assert opened(south) == ["clock:south"]
    assert "it is 1 h 0 min ahead of those of the two other sites" in south.open()["clock:south"].now.sentence


def test_without_a_third_clock_nobody_says_which_of_two_is_wrong(south: Centre) -> None:
    hear(south, {NORTH: -HOUR, SOUTH: 0.0}, 28)
    assert "clock:north-south" in south.open()
    sentence = south.open()["clock:north-south"].now.sentence
    assert sentence.startswith("The clock of North is 1 h 0 min behind South's since ")
    assert "no third one is heard to say which is wrong" in sentence


def test_a_skew_that_wavers_is_not_told_anew_each_second(south: Centre) -> None:
    hear(south, {NORTH: HOUR, SOUTH: 0.0, THIRD: 0.0})
    size = south.journal.size(SOUTH)
    for second in range(40):
        hear(south, {NORTH: HOUR + second % 3, SOUTH: 0.0, THIRD: 0.0}, 0.5)
    assert south.journal.size(SOUTH) == size


def test_a_wrong_clock_ends_not_because_its_agent_fell_silent(south: Centre) -> None:
    hear(south, {NORTH: HOUR, SOUTH: 0.0, THIRD: 0.0})
    hear(south, {SOUTH: 0.0, THIRD: 0.0}, 40)
    assert ("clock-north-1", "seen well again") not in closed(south)


def test_reports_that_were_long_under_way_are_no_wrong_clock() -> None:
    late = [-9.0 + (second % 5) * 2 for second in range(20)]  # now and then one is quick
    assert heard(late).skew.since is None


def test_a_clock_is_not_judged_by_the_first_reports_after_a_break() -> None:
    assert heard([-60.0] * int(JUDGED_AFTER_SECONDS)).skew.since is None
    assert heard([-60.0] * int(JUDGED_AFTER_SECONDS + 2)).skew.since is not None


def test_a_report_without_a_time_of_day_tells_nothing_of_a_clock(south: Centre) -> None:
    south.intake.report(NORTH, report(south.clock, {}))
    assert south.intake.clocks() == {}
