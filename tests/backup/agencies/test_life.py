"""A few of the lives that `./dev soak care` lives by the thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.backup.agencies.life import live

LIVES = 6


@pytest.mark.parametrize("seed", range(LIVES))
def test_whatever_happens_the_last_proven_snapshot_stays_and_what_is_expected_is_there(
    seed: int, tmp_path: Path
) -> None:
    live(tmp_path, seed)
