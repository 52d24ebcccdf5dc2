"""Signals into findings, findings into incidents on the same graph, and how they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from monitors.findings import CALM_SECONDS, FindingDesk
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import (
    AlertAcked,
    FindingChanged,
    FindingClosed,
    FindingOpened,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
)
from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, SOUTH, THIRD, World, active_of, estate_of
from tests.monitors.centres import Centre, centre, report
from tests.monitors.servers import SetClock

ESTATE = estate_of(CHAIN)
HOST = "south-db1"
ROOT = f"intrusion:{HOST}"
QUIET = 900.0


@dataclass
class Watched:
    """A site's controller with its desk for findings."""

    at: Centre
    desk: FindingDesk

    def turn(self, seconds: float = 1.0, *broken: str) -> None:
        """All agents speak of a world in which only ``broken`` is broken, for so long."""
        seen = World(ESTATE, active_of(CHAIN), frozenset(broken))
        for _ in range(int(seconds * 2)):
            for vantage in (NORTH, SOUTH, THIRD):
                sights = {s: sight.verdict for s, sight in seen.sights(vantage).items()}
                self.at.intake.report(vantage, report(self.at.clock, sights))
            self.desk.tick()
            self.at.task.tick()
            self.at.clock.go(0.5)

    def kinds(self, *kinds: type) -> list[str]:
        entries = self.at.journal.entries(self.at.site, 0, 10_000)
        return [entry.kind for entry in entries if isinstance(entry.body, kinds)]

    def tell(self, **changes: Any) -> None:
        self.desk.take(self.at.site, {"signals": [signal(self.at.clock, **changes)]})


def signal(clock: SetClock, **changes: Any) -> dict[str, Any]:
    now = to_text(clock.now())
    return {
        "id": "finding-1",
        "rule": "rule-1",
        "title": "Passwords guessed",
        "level": "high",
        "host": HOST,
        "entered": False,
        "group": {"source.ip": "203.0.113.7", "host.name": HOST},
        "sentence": f"203.0.113.7 guessed passwords on {HOST} 40 times in 60 s",
        "first_at": now,
        "last_at": now,
        "count": 40,
        "examples": ["Failed password for root from 203.0.113.7 port 4022 ssh2"],
        "quiet_seconds": QUIET,
        **changes,
    }


ENTERED = {
    "id": "finding-2",
    "rule": "rule-2",
    "level": "critical",
    "entered": True,
    "sentence": f"203.0.113.7 guessed passwords on {HOST} 40 times in 60 s, then got in as 'ncia'",
    "quiet_seconds": 86400.0,
}


@pytest.fixture
def south(tmp_path: Path) -> Iterator[Watched]:
    at = centre(tmp_path, SOUTH, ESTATE)
    found = Watched(at, FindingDesk(at.journal, at.state.snapshot, at.clock, at.intake.speaking))
    found.turn(8)
    yield found
    at.journal.close()


def test_a_finding_becomes_one_incident_with_its_sentence_and_what_to_run_next(south: Watched) -> None:
    south.tell()
    south.turn()
    incident = south.at.open()[ROOT].now
    assert (incident.cause, incident.severity) == ("attack", "major")
    assert incident.sentence == f"203.0.113.7 guessed passwords on {HOST} 40 times in 60 s."
    assert incident.run_next == f"ncia findings {HOST}"


def test_the_entry_after_the_guessing_is_the_same_incident_and_a_graver_one(south: Watched) -> None:
    south.tell()
    south.turn()
    south.tell(**ENTERED)
    south.turn(3)
    incident = south.at.open()[ROOT].now
    assert (incident.cause, incident.severity) == ("intrusion", "critical")
    assert incident.sentence.endswith("then got in as 'ncia'.")
    assert south.kinds(IncidentOpened) == ["incident.opened"]
    assert south.kinds(IncidentChanged) == ["incident.changed"]


def test_a_signal_that_is_told_twice_is_written_once(south: Watched) -> None:
    south.tell()
    south.tell()
    assert south.kinds(FindingOpened, FindingChanged) == ["finding.opened"]
    south.tell(count=80)
    south.tell(count=80)
    assert south.kinds(FindingOpened, FindingChanged) == ["finding.opened", "finding.changed"]


def test_several_sources_on_one_host_are_one_incident_that_counts_them(south: Watched) -> None:
    for number in range(3):
        south.tell(id=f"finding-{number}", group={"source.ip": f"203.0.113.{number}"})
    south.turn()
    assert list(south.at.open()) == [ROOT]
    assert south.at.open()[ROOT].now.sentence.endswith("; 2 more sources attack it.")


def test_what_breaks_on_a_host_after_somebody_got_in_is_part_of_that_incident(south: Watched) -> None:
    south.tell(**ENTERED)
    south.turn()
    south.turn(12, f"host:{HOST}")
    assert list(south.at.open()) == [ROOT]
    incident = south.at.open()[ROOT].now
    assert {"db:s2@south", "db:s3@south"} <= set(incident.members)
    assert incident.systems == ("s3",)
    assert "down for citizens" in incident.sentence


def test_guessing_alone_explains_nothing_that_breaks(south: Watched) -> None:
    south.tell()
    south.turn()
    south.turn(12, f"host:{HOST}")
    assert set(south.at.open()) == {ROOT, f"host:{HOST}"}


def test_a_site_that_is_cut_off_still_tells_of_its_intrusion(south: Watched) -> None:
    south.tell(**ENTERED)
    south.turn(1, "link:north-south", "link:south-third", "link:public-south")
    assert ROOT in south.at.open()


def test_an_attack_is_over_after_its_quiet_time(south: Watched) -> None:
    south.tell()
    south.turn(QUIET - 5)
    assert list(south.at.open()) == [ROOT]
    south.turn(10)
    assert south.at.open() == {}
    assert south.kinds(FindingClosed, IncidentClosed) == ["finding.closed", "incident.closed"]


def test_an_attack_that_somebody_took_is_over_once_it_is_calm_and_opened_again_if_it_goes_on(south: Watched) -> None:
    south.tell()
    south.turn(2)
    until = to_text(south.at.clock.now().replace(year=2027))
    south.at.journal.append(
        AlertAcked(incident=south.at.open()[ROOT].id, by="kim", comment="it is us", until=until), by="kim"
    )
    south.turn(CALM_SECONDS + 2)
    assert south.at.open() == {}
    (closed,) = south.at.bodies(FindingClosed)
    assert isinstance(closed, FindingClosed)
    assert closed.reason == "acknowledged by kim: it is us"
    south.tell(count=41)
    south.turn(12)
    assert list(south.at.open()) == [ROOT]
    assert south.kinds(FindingOpened) == ["finding.opened"] * 2


def test_the_other_controller_says_the_same_and_leaves_the_ending_to_the_site_while_its_agent_speaks(
    south: Watched, tmp_path: Path
) -> None:
    at = centre(tmp_path, NORTH, ESTATE, south.at.clock)
    north = Watched(at, FindingDesk(at.journal, at.state.snapshot, at.clock, at.intake.speaking))
    north.turn(8)
    south.tell()
    south.turn(1)
    at.pull(south.at)
    north.turn(1)
    assert (list(at.open()), at.open()[ROOT].id) == ([ROOT], south.at.open()[ROOT].id)
    at.clock.go(QUIET)
    north.turn(1)
    assert north.kinds(FindingClosed) == []
    at.journal.close()


def test_the_survivor_ends_what_a_lost_site_can_end_no_more(south: Watched, tmp_path: Path) -> None:
    at = centre(tmp_path, NORTH, ESTATE, south.at.clock)
    south.tell()
    at.pull(south.at)
    desk = FindingDesk(at.journal, at.state.snapshot, at.clock, at.intake.speaking)
    at.clock.go(QUIET)
    desk.tick()
    assert [entry.kind for entry in at.journal.entries(NORTH, 0, 10)] == ["finding.closed"]
    at.journal.close()


@pytest.mark.parametrize(
    ("vantage", "changes", "code"),
    [
        ("north", {}, "monitors.not-our-agent"),
        ("south", {"count": 0}, "monitors.bad-findings"),
        ("south", {"host": "a@b"}, "monitors.bad-findings"),
        ("south", {"level": "dreadful"}, "monitors.bad-findings"),
        ("south", {"last_at": "yesterday"}, "monitors.bad-findings"),
        ("south", {"more": 1}, "monitors.bad-findings"),
    ],
)
def test_what_is_no_signal_of_our_agent_is_refused(south: Watched, vantage: str, changes: Any, code: str) -> None:
    with pytest.raises(NciaError) as refused:
        south.desk.take(SiteId(vantage), {"signals": [signal(south.at.clock, **changes)]})
    assert (refused.value.code, south.kinds(FindingOpened)) == (code, [])


def test_people_are_shown_what_goes_on_first_and_which_rules_are_at_work(south: Watched) -> None:
    rules = [{"id": "r", "title": "t", "level": "low", "inactive": "no log source here is product windows"}]
    south.desk.take("south", {"signals": [signal(south.at.clock)], "counts": {"lines": 7}, "rules": rules})
    told = south.desk.to_json()
    assert (told["site"], told["counts"], told["rules"]) == ("south", {"lines": 7}, rules)
    assert [(f["finding"], f["site"], f["closed_at"]) for f in told["findings"]] == [("finding-1", "south", None)]
