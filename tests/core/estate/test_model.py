"""Pure questions about the estate."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SystemId
from ncia.core.estate import Address, Estate, Promise
from tests.core.story import NORTH, SOUTH, THIRD, sample_estate

ESTATE = sample_estate()
TAX = SystemId("tax")


def test_the_two_centres_are_each_others_peer() -> None:
    assert (ESTATE.peer_of(NORTH), ESTATE.peer_of(SOUTH)) == (SOUTH, NORTH)


def test_systems_are_at_home_at_one_site() -> None:
    assert [s.id for s in ESTATE.at_home(NORTH)] == ["tax"]
    assert [s.id for s in ESTATE.at_home(THIRD)] == []


def test_dependents_are_those_who_need_it_directly_or_through_others() -> None:
    assert ESTATE.dependents_of(TAX) == {"fines"}
    assert ESTATE.dependents_of(SystemId("fines")) == frozenset()


def test_a_systems_promise_is_the_strictest_of_its_datasets() -> None:
    system = ESTATE.systems[TAX]
    strict = replace(system.datasets[1], promise=Promise(5.0, 60.0))
    assert replace(system, datasets=(system.datasets[0], strict)).promise == Promise(0.0, 60.0)


def test_a_site_that_translates_is_dialled_at_the_prefix_under_which_it_is_seen() -> None:
    gate = Address("10.2.2.1", 5432)
    assert ESTATE.seen(gate, SOUTH, NORTH) == Address("10.102.2.1", 5432)
    assert ESTATE.seen(gate, SOUTH, SOUTH) == gate
    assert ESTATE.seen(gate, SOUTH, THIRD) == gate  # routed as it is


def test_a_host_is_found_by_site_and_role() -> None:
    assert ESTATE.host_of(SOUTH, "store").id == "s-db"


def test_an_unknown_system_names_those_that_are_known() -> None:
    with pytest.raises(NciaError) as caught:
        ESTATE.system("taxes")
    assert (caught.value.code, caught.value.hint) == ("estate.no-such-system", "fines, tax")


@given(st.lists(st.sets(st.integers(0, 14), max_size=4), min_size=1, max_size=15))
def test_dependents_agree_with_reachability_on_any_graph_without_cycles(needs: list[set[int]]) -> None:
    estate = graph([{n for n in each if n < index} for index, each in enumerate(needs)])
    for target in estate.systems:
        wanted = {s for s in estate.systems if s != target and target in reachable(estate, s)}
        assert estate.dependents_of(target) == wanted


def graph(needs: list[set[int]]) -> Estate:
    base = ESTATE.systems[TAX]
    systems = {
        SystemId(f"s{index}"): replace(
            base, id=SystemId(f"s{index}"), depends_on=tuple(SystemId(f"s{n}") for n in sorted(each))
        )
        for index, each in enumerate(needs)
    }
    return replace(ESTATE, systems=systems)


def reachable(estate: Estate, start: SystemId) -> set[SystemId]:
    found: set[SystemId] = set()
    for needed in estate.systems[start].depends_on:
        found |= {needed} | reachable(estate, needed)
    return found
