"""How fast, and how quietly: from the moment something breaks to its one incident, at the settings' defaults."""

import random
from pathlib import Path

import pytest

from tests.core.alerts.test_incidents import CHAIN
from tests.core.alerts.world import NORTH, SOUTH, World, active_of, estate_of
from tests.monitors.centres import centre
from tests.monitors.simulation import Simulation

ESTATE = estate_of(CHAIN)
BREAKS_AT = 8.0
SITE_SECONDS_MAX = 6.0
OTHER_SECONDS_MAX = 10.0


def after(folder: Path, seed: int, *broken: str, viewer: str = SOUTH, swallows: bool = True) -> list[tuple[float, str]]:
    """The incidents opened by the viewer's controller, and how long after the break."""
    watching = centre(folder, viewer, ESTATE)
    before, broke = (World(ESTATE, active_of(CHAIN), frozenset(names)) for names in ((), broken))
    breaks_at = BREAKS_AT + random.Random(seed).random()
    simulation = Simulation(watching, before, broke, breaks_at, seed, swallows)
    simulation.run(24)
    watching.journal.close()
    return simulation.opened


@pytest.mark.parametrize(("seed", "swallows"), [(0, True), (1, True), (2, True), (3, True), (4, False)])
def test_a_lost_site_is_named_alone_within_six_seconds(tmp_path: Path, seed: int, swallows: bool) -> None:
    ((seconds, root),) = after(tmp_path, seed, "site:north", swallows=swallows)
    assert root == "site:north"
    assert seconds <= SITE_SECONDS_MAX


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("viewer", [NORTH, SOUTH])
def test_a_cut_link_is_named_alone_and_never_taken_for_a_lost_site(tmp_path: Path, seed: int, viewer: str) -> None:
    ((seconds, root),) = after(tmp_path, seed, "link:north-south", viewer=viewer)
    assert root == "link:north-south"
    assert seconds <= OTHER_SECONDS_MAX


@pytest.mark.parametrize("seed", range(8))
def test_a_site_cut_off_from_both_others_says_so_alone(tmp_path: Path, seed: int) -> None:
    ((seconds, root),) = after(tmp_path, seed, "link:north-south", "link:north-third", viewer=NORTH)
    assert root == "site:north"
    assert seconds <= OTHER_SECONDS_MAX


@pytest.mark.parametrize("seed", range(1))
def test_of_a_site_cut_off_from_both_others_the_others_name_it_in_time(tmp_path: Path, seed: int) -> None:
    ((seconds, root),) = after(tmp_path, seed, "link:north-south", "link:north-third", viewer=SOUTH)
    assert root == "site:north"
    assert seconds <= SITE_SECONDS_MAX


@pytest.mark.parametrize(
    ("broken", "swallows"),
    [
        ("app:s0@north", False),
        ("db:s0@north", False),
        ("host:north-db0", False),
        ("gate:north", False),
        ("front", True),
    ],
)
@pytest.mark.parametrize("seed", range(1))
def test_a_fault_below_is_one_incident_and_not_one_per_system(
    tmp_path: Path, seed: int, broken: str, swallows: bool
) -> None:
    ((seconds, root),) = after(tmp_path, seed, broken, swallows=swallows)
    assert root == ("site:public" if broken == "front" else broken)
    assert seconds <= OTHER_SECONDS_MAX


def test_nothing_broken_is_nothing_said(tmp_path: Path) -> None:
    assert after(tmp_path, 0) == []
