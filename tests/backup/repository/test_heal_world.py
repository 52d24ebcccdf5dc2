"""A few of the lives that `./dev soak heal` lives by the thousand."""

from __future__ import annotations

import pytest

from tests.backup.repository.heal_world import live

LIVES = 30


@pytest.mark.parametrize("tens", range(0, LIVES, 10))
def test_two_places_that_are_damaged_at_random_heal_each_other(tens: int) -> None:
    for seed in range(tens, tens + 10):
        live(seed)
