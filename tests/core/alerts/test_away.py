"""A site that is back while its systems are elsewhere is one incident, which says how they come home."""

from __future__ import annotations

from dataclasses import replace

from ncia.core.alerts.incidents import Diagnosis, cleared, diagnose
from tests.core.alerts.test_incidents import CHAIN, world
from tests.core.alerts.world import NORTH, NOW, SOUTH, estate_of

AWAY = replace(CHAIN, active=(SOUTH,) * 4)
OLD_PRIMARIES = ("db:s0@north", "db:s1@north", "db:s2@north")


def found(*broken: str) -> tuple[Diagnosis, ...]:
    return diagnose(estate_of(AWAY), world(AWAY, *broken).evidence(SOUTH), NOW)


def test_a_returned_site_is_one_incident_that_explains_its_old_copies_and_says_what_to_run() -> None:
    (away,) = found(*OLD_PRIMARIES)
    assert (away.root, away.cause, away.severity) == ("home:north", "away-from-home", "major")
    assert away.sentence == (
        "North is back, but 3 of its systems (s0, s1, s2) are away from home, active at South;"
        " 3 of them without a copy there that follows."
    )
    assert away.run_next == "ncia recover plan --runbook site_failback north"
    assert set(OLD_PRIMARIES) <= set(away.members)
    assert away.systems == ()  # no citizen feels it


def test_where_the_copies_follow_it_is_minor() -> None:
    (away,) = found()
    assert (away.severity, away.sentence[-28:]) == ("minor", "; their copies there follow.")


def test_while_the_site_is_lost_it_is_lost_and_not_away() -> None:
    assert [d.root for d in found("site:north")] == ["site:north"]


def test_it_is_over_once_they_are_home() -> None:
    evidence = world(AWAY).evidence(SOUTH)
    assert not cleared(estate_of(AWAY), evidence, NOW, "home:north")
    assert cleared(estate_of(CHAIN), world(CHAIN).evidence(SOUTH), NOW, "home:north")


def test_a_copy_of_a_system_that_is_at_home_is_not_explained_by_it() -> None:
    one_away = replace(CHAIN, active=(SOUTH, NORTH, NORTH, SOUTH))
    seen = diagnose(estate_of(one_away), world(one_away, "db:s1@north").evidence(NORTH), NOW)
    assert {d.root for d in seen} >= {"home:north", "db:s1@north"}
