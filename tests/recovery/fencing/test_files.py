from __future__ import annotations

from pathlib import Path

from ncia.core.base.ids import SiteId, SystemId
from recovery.fencing.files import GateFile, LeaseFile, Standing, Watched, read, replace

EAST, TAX, LAND = SiteId("east"), SystemId("tax"), SystemId("land")
LEASE = LeaseFile(
    7, EAST, "w", "b", 100, 200, "왜", {TAX: Standing(2, EAST, 300), LAND: Standing(1, SiteId("west"))}, "2026"
)
GATE = GateFile(7, "b", 1, 2, (TAX,), None, 3)


def test_both_files_read_back_as_written(tmp_path: Path) -> None:
    replace(tmp_path / "lease.json", LEASE.to_json())
    replace(tmp_path / "gate.json", GATE.to_json())
    assert read(tmp_path / "lease.json", LeaseFile.from_json) == LEASE
    assert read(tmp_path / "gate.json", GateFile.from_json) == GATE
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.json", "lease.json"]


def test_a_system_has_a_deadline_only_where_it_is_active() -> None:
    assert LEASE.deadline_of(TAX) == 300
    assert LEASE.deadline_of(LAND) == LEASE.deadline_of(SystemId("unknown")) == 0


def test_what_is_absent_or_broken_reads_as_none(tmp_path: Path) -> None:
    for text in ("", "{}", "[]", '{"version": 1}', "null"):
        replace(tmp_path / "lease.json", text)
        assert read(tmp_path / "lease.json", LeaseFile.from_json) is None
    assert read(tmp_path / "absent", LeaseFile.from_json) is None


def test_a_watched_file_is_parsed_once_per_replacement(tmp_path: Path) -> None:
    parsed = []

    def parse(text: str) -> str:
        parsed.append(text)
        return text

    path = tmp_path / "f"
    watched = Watched(path, parse)
    assert watched.look() is None
    replace(path, "one")
    assert [watched.look(), watched.look()] == ["one", "one"]
    replace(path, "two")
    assert watched.look() == "two"
    path.unlink()
    assert watched.look() is None
    assert parsed == ["one", "two"]
