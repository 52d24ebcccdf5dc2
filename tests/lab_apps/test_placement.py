from __future__ import annotations

from pathlib import Path

import pytest

from ncia.lab.apps.placement import Place, Placement

LEASE = '{"systems": {"a": {"epoch": 3, "site": "busan"}}}'


def test_a_place_is_what_the_lease_file_says(tmp_path: Path) -> None:
    file = tmp_path / "lease.json"
    file.write_text(LEASE)
    placement = Placement(file)
    assert (placement.place_of("a"), placement.place_of("b")) == (Place("busan", 3), None)


@pytest.mark.parametrize("broken", ["", "{}", "[]", '{"systems": {"a": {}}}', '{"systems": {"a": {"epoch": "x"}}}'])
def test_a_broken_lease_file_places_nothing(tmp_path: Path, broken: str) -> None:
    file = tmp_path / "lease.json"
    file.write_text(broken)
    assert Placement(file).place_of("a") is None


def test_a_look_is_remembered_for_a_twentieth_of_a_second(tmp_path: Path) -> None:
    now = 10.0
    file = tmp_path / "lease.json"
    placement = Placement(file, lambda: now)
    assert placement.place_of("a") is None
    file.write_text(LEASE)
    assert placement.place_of("a") is None
    now += 0.05
    assert placement.place_of("a") == Place("busan", 3)
    file.unlink()
    now += 0.05
    assert placement.place_of("a") is None
