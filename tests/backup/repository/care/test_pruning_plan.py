from __future__ import annotations

from datetime import timedelta

import pytest

from backup.repository.care.pruning_plan import Held, Spare, plan_of
from tests.backup.repository.sample import NOW

A, B, C, D = (bytes([number]) * 32 for number in range(4))
WEEK = timedelta(days=7)


def test_a_pack_that_nobody_needs_leaves_and_one_that_is_needed_stays() -> None:
    held = {A: Held(3, 300), B: Held(3, 300, 3, 300)}
    plan = plan_of(held, {}, NOW, WEEK, 0.05)
    assert (plan.unused, plan.repack, plan.leaving) == ({A}, frozenset(), {A})


@pytest.mark.parametrize(("share", "repacked"), [(0.0, {A, B}), (0.1, {A}), (0.3, set()), (1.0, set())])
def test_packs_are_repacked_by_how_little_of_them_is_needed_until_the_rest_is_little_enough(
    share: float, repacked: set[bytes]
) -> None:
    held = {A: Held(10, 1000, 1, 100), B: Held(10, 1000, 9, 900), C: Held(10, 3000, 10, 3000)}
    assert plan_of(held, {}, NOW, WEEK, share).repack == repacked


def test_a_mark_waits_for_its_grace_and_is_removed_then() -> None:
    spare = {A: Spare(False, NOW - WEEK), B: Spare(False, NOW - WEEK + timedelta(seconds=1))}
    plan = plan_of({}, spare, NOW, WEEK, 0.05)
    assert (plan.over, plan.again, plan.changing) == ({A}, frozenset(), {A})


def test_what_is_needed_after_all_comes_back_however_long_it_was_marked() -> None:
    plan = plan_of({}, {A: Spare(True, NOW - 10 * WEEK), B: Spare(True, None)}, NOW, WEEK, 0.05)
    assert (plan.back, plan.over) == ({A, B}, frozenset())


def test_a_mark_that_is_dated_ahead_or_not_at_all_begins_anew() -> None:
    spare = {A: Spare(False, NOW + timedelta(hours=1)), B: Spare(False, None)}
    plan = plan_of({}, spare, NOW, WEEK, 0.05)
    assert (plan.again, plan.over) == ({A, B}, frozenset())


def test_without_grace_everything_that_is_spare_goes() -> None:
    spare = {A: Spare(False, NOW), B: Spare(False, None), C: Spare(True, None), D: Spare(False, NOW + WEEK)}
    plan = plan_of({}, spare, NOW, timedelta(0), 0.05)
    assert (plan.over, plan.back) == ({A, B, D}, {C})
