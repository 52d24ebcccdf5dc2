"""A returning site reads the epochs before any of its databases may come up as a primary."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.config import load_settings
from ncia.lab import returning
from ncia.lab.processes import Spec

EAST = SiteId("east")
BEGAN = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
ACTIVE = {"tax": "west", "land": "east"}


def spec(name: str, folder: Path) -> Spec:
    return Spec(EAST, name, ("true",), folder, folder / "log")


def test_etcd_and_the_warden_come_first(tmp_path: Path) -> None:
    specs = [spec(name, tmp_path) for name in ("etcd", "postgres/tax", "ssh/db1", "warden", "gate", "serve")]
    first, rest = returning.in_order(specs)
    assert [s.name for s in first] == ["etcd", "warden"]
    assert [s.name for s in rest] == ["postgres/tax", "ssh/db1", "gate", "serve"]


def test_only_a_primary_of_what_is_active_elsewhere_stays_down(tmp_path: Path) -> None:
    tax, land = spec("postgres/tax", tmp_path), spec("postgres/land", tmp_path)
    assert returning.is_old_primary(tax, EAST, ACTIVE)
    assert not returning.is_old_primary(land, EAST, ACTIVE)
    assert not returning.is_old_primary(replace(tax, name="gate"), EAST, ACTIVE)
    (tmp_path / "standby.signal").touch()
    assert not returning.is_old_primary(tax, EAST, ACTIVE)


def test_what_is_left_to_the_platform_is_recorded_and_not_alive(tmp_path: Path) -> None:
    assert not returning.not_started(spec("postgres/tax", tmp_path)).alive


def test_an_old_lease_file_is_not_taken_for_a_new_word(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text("site: east\nestate: configs\n")
    settings = load_settings(tmp_path / "site.yaml")
    settings.run.mkdir()
    file = settings.run / "lease.json"
    systems = {"tax": {"epoch": 2, "site": "west"}}

    def write(moment: datetime, reason: str) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps({"as_of": to_text(moment), "reason": reason, "systems": systems}))
        fresh.rename(file)

    write(BEGAN + timedelta(seconds=1), "lease held")
    assert returning.wait_for_epochs(settings, BEGAN) == {"tax": "west"}
    looks = iter(
        [
            (BEGAN - timedelta(seconds=9), "lease held"),
            (BEGAN + timedelta(seconds=1), "fenced: the warden has only just"),
        ]
    )
    systems["tax"]["site"] = "east"
    for moment, reason in looks:
        write(moment, reason)
        assert not returning.reads(settings, BEGAN)
