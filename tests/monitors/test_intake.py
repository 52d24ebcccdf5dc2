from collections.abc import Iterator
from pathlib import Path

import pytest

from monitors.intake import FIRST_WORD_SECONDS, SILENT_AFTER_SECONDS, Intake
from ncia.core.base.errors import NciaError
from ncia.core.journal.entries import VerdictsChanged
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, SOUTH, THIRD, estate_of
from tests.monitors.centres import Centre, centre, report

ESTATE = estate_of(CHAIN)


@pytest.fixture
def north(tmp_path: Path) -> Iterator[Centre]:
    found = centre(tmp_path, NORTH, ESTATE)
    yield found
    found.journal.close()


def told(site: Centre) -> list[dict[str, str]]:
    found = [body for body in site.bodies(VerdictsChanged) if isinstance(body, VerdictsChanged)]
    return [{change.subject: change.verdict for change in body.changes} for body in found]


def test_all_changes_of_a_tick_are_one_entry(north: Centre) -> None:
    north.intake.report(NORTH, report(north.clock, {"db:s0@north": "up", "gate:s0@north": "down"}))
    assert told(north) == [{"db:s0@north": "up", "gate:s0@north": "down"}]


def test_a_full_picture_that_says_nothing_new_is_no_entry(north: Centre) -> None:
    for _ in range(3):
        north.intake.report(NORTH, report(north.clock, {"db:s0@north": "up"}))
    assert len(told(north)) == 1


def test_after_a_restart_the_journals_own_verdicts_are_no_news(north: Centre) -> None:
    north.intake.report(NORTH, report(north.clock, {"db:s0@north": "up"}))
    anew = Intake(north.journal, north.clock, ESTATE, north.state.snapshot().verdicts)
    anew.report(NORTH, report(north.clock, {"db:s0@north": "up", "db:s1@north": "up"}))
    assert told(north) == [{"db:s0@north": "up"}, {"db:s1@north": "up"}]


def test_the_witness_is_journalled_by_both_controllers_and_the_peers_agent_by_its_own_alone(north: Centre) -> None:
    north.intake.report(THIRD, report(north.clock, {"site:south": "up"}))
    north.intake.report(SOUTH, report(north.clock, {"db:s0@south": "up"}))
    assert told(north) == [{"site:south": "up"}]
    assert north.intake.speaking()[SOUTH].verdict("db:s0@south") == "up"


def test_a_report_without_changes_is_a_heartbeat(north: Centre) -> None:
    north.intake.report(NORTH, report(north.clock, {}))
    assert north.intake.live().vantages == {NORTH: north.clock.now()}
    assert north.journal.size(NORTH) == 0


def test_the_own_agents_silence_makes_its_subjects_unknown_once_and_its_return_tells_them_again(north: Centre) -> None:
    north.intake.report(NORTH, report(north.clock, {"db:s0@north": "up"}))
    north.clock.go(SILENT_AFTER_SECONDS + 0.1)
    for _ in range(3):
        north.intake.mark_silent()
    assert NORTH in north.intake.silent()
    north.intake.report(NORTH, report(north.clock, {"db:s0@north": "up"}))
    assert told(north) == [{"db:s0@north": "up"}, {"db:s0@north": "unknown"}, {"db:s0@north": "up"}]
    assert NORTH not in north.intake.silent()


def test_silence_of_another_sites_agent_is_not_journalled_for_the_link_may_be_at_fault(north: Centre) -> None:
    north.intake.report(THIRD, report(north.clock, {"site:south": "up"}))
    north.clock.go(SILENT_AFTER_SECONDS + 0.1)
    north.intake.mark_silent()
    assert len(told(north)) == 1
    assert THIRD in north.intake.silent()
    assert THIRD not in north.intake.speaking()


def test_an_agent_that_has_never_spoken_is_given_time_to_start(north: Centre) -> None:
    assert north.intake.silent() == {}
    north.clock.go(FIRST_WORD_SECONDS + 0.1)
    assert set(north.intake.silent()) == {NORTH, SOUTH, THIRD}


def test_measures_are_live_and_the_highest_epoch_says_where_a_system_is_active(north: Centre) -> None:
    first = report(north.clock, {}, **{"canary_age_seconds__replica:s0@south": 0.7, "active_epoch__app:s0@north": 1})
    north.intake.report(SOUTH, first)
    north.intake.report(SOUTH, report(north.clock, {}, **{"active_epoch__app:s0@south": 2}))
    assert north.intake.live().measures[("replica:s0@south", "canary_age_seconds")][0] == 0.7
    assert north.intake.active() == {"s0": (SOUTH, 2)}


@pytest.mark.parametrize(
    ("vantage", "broken", "code"),
    [
        ("elsewhere", {}, "monitors.unknown-vantage"),
        (NORTH, {"changes": [{"subject": "x"}]}, "monitors.bad-report"),
        (NORTH, {"surplus": 1}, "monitors.bad-report"),
        (NORTH, {"measures": [{"subject": "x", "name": "y", "value": 1, "at": "yesterday"}]}, "monitors.bad-report"),
    ],
)
def test_what_is_no_report_is_refused_and_leaves_nothing_behind(
    north: Centre, vantage: str, broken: dict[str, object], code: str
) -> None:
    with pytest.raises(NciaError) as caught:
        north.intake.report(vantage, {**report(north.clock, {"db:s0@north": "up"}), **broken})
    assert caught.value.code == code
    assert north.journal.size(NORTH) == 0
