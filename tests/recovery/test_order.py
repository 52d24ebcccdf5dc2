"""Waves, the order within one, and which step waits for which."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ncia.core.base.ids import SystemId
from recovery.order import ordered, waves_of
from tests.recovery.planning import MOVING, planned
from tests.recovery.scene import LOST, estate

TEMPLATE = planned().moves[0]


def test_waves_go_by_grade_and_within_one_what_others_need_comes_first() -> None:
    plan = planned()
    assert [(move.wave, move.system) for move in plan.moves[:5]] == [
        (1, "share"),
        (1, "egov"),
        (1, "hometax"),
        (1, "customs"),
        (1, "g2b"),
    ]
    assert [move.grade for move in plan.moves] == sorted(move.grade for move in plan.moves)
    place = {move.system: number for number, move in enumerate(plan.moves)}
    assert all(place[needed] < place[move.system] for move in plan.moves for needed in move.depends_on)


def test_what_a_grade_1_system_needs_moves_with_it_whatever_its_grade() -> None:
    systems = dict(estate().systems)
    systems[SystemId("share")] = replace(systems[SystemId("share")], grade=4)
    waves = waves_of([s for s in systems.values() if s.home == LOST])
    assert waves[SystemId("share")] == 1


@settings(deadline=None)
@given(st.data())
def test_on_any_graph_a_dependency_is_never_in_a_later_wave_nor_later_in_order(data: st.DataObject) -> None:
    some = list(estate().systems.values())
    drawn = []
    for number, system in enumerate(some):
        earlier = [s.id for s in some[:number]]
        needs = data.draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        drawn.append(replace(system, depends_on=tuple(needs), grade=data.draw(st.integers(1, 4))))
    waves = waves_of(drawn)
    assert all(waves[needed] <= waves[s.id] for s in drawn for needed in s.depends_on)
    moves = ordered([replace(TEMPLATE, system=s.id, wave=waves[s.id], depends_on=s.depends_on) for s in drawn])
    place = {move.system: number for number, move in enumerate(moves)}
    assert len(place) == len(drawn)
    assert all(place[needed] < place[move.system] for move in moves for needed in move.depends_on)
    assert [move.wave for move in moves] == sorted(move.wave for move in moves)


def test_a_dependants_transaction_comes_after_that_of_what_it_depends_on() -> None:
    step = next(s for s in planned().steps if s.id == "g2b/verify_application")
    assert set(step.needs) == {
        "g2b/clear_synchronous",
        "hometax/verify_application",
        "share/verify_application",
    }


def test_no_system_is_claimed_before_the_lost_site_is_fenced_and_the_run_is_open() -> None:
    steps = {s.id: s for s in planned().steps}

    def all_before(id: str) -> set[str]:
        return set(steps[id].needs).union(*(all_before(need) for need in steps[id].needs))

    assert all({"fence", "hold_confirmations", "open_run"} <= all_before(f"{s}/claim_epoch") for s in MOVING)
    assert all(f"{s}/verify_outside" in all_before("close_run") for s in MOVING)
