"""`ncia estate`: offline, every fault told, exit 1."""

from pathlib import Path

from typer.testing import CliRunner

from ncia.cli.estate import app

REFERENCE = Path(__file__).parents[2] / "configs"
TEN = Path(__file__).parents[1] / "core" / "config" / "samples" / "invalid" / "ten-faults"
BASE = Path(__file__).parents[1] / "core/config/samples/base"


def test_check_of_a_sound_estate_tells_its_size_and_hash() -> None:
    told = CliRunner().invoke(app, ["check", str(REFERENCE)])
    assert told.exit_code == 0
    assert "no fault; 11 systems, 30 datasets, 0 unprotected" in told.stdout
    assert "hash " in told.stdout


def test_check_prints_each_fault_with_file_line_and_what_to_try_and_exits_1() -> None:
    told = CliRunner().invoke(app, ["check", str(TEN)])
    assert told.exit_code == 1
    assert f"{TEN}/systems.yaml:11: system tax: unknown key 'verifypath'\n    try: verify_path" in told.stderr
    assert told.stdout == ""


def test_show_lists_every_system() -> None:
    told = CliRunner().invoke(app, ["show", str(REFERENCE)], env={"COLUMNS": "140"})
    assert told.exit_code == 0
    assert "hometax" in told.stdout
    assert "Held at one site only" not in told.stdout


def test_show_lists_what_is_unprotected() -> None:
    told = CliRunner().invoke(app, ["show", str(BASE)], env={"COLUMNS": "140"})
    assert told.exit_code == 0
    assert "Held at one site only" in told.stdout
    assert "tax/letters" in told.stdout
