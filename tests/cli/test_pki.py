"""`ncia pki`: from an empty folder to certificates that the processes take up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ncia.cli.pki import app

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text("site: daejeon\nestate: configs\npostgresql_tools: x\n")
    (tmp_path / "secrets").mkdir()
    return tmp_path


def run(home: Path, *words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"NCIA_SETTINGS": str(home / "site.yaml"), "NO_COLOR": "1"})


def made(home: Path) -> None:
    root, into = str(home / "root"), str(home / "secrets" / "pki")
    assert run(home, "init", root, "--estate", str(CONFIGS)).exit_code == 0
    assert run(home, "issue", "daejeon", "--root", root, "--into", into, "--estate", str(CONFIGS)).exit_code == 0


def test_a_site_gets_its_authority_and_a_certificate_for_each_process(home: Path) -> None:
    made(home)
    shown = json.loads(run(home, "show", "--json").stdout)
    assert [(each["name"], each["issuer"], each["state"]) for each in shown] == [
        ("reference root", "reference root", "good"),
        ("daejeon authority", "reference root", "good"),
        ("agent.daejeon.ncia", "daejeon authority", "good"),
        ("serve.daejeon.ncia", "daejeon authority", "good"),
    ]
    assert "PRIVATE" not in run(home, "show").stdout


def test_nothing_is_renewed_before_it_is_due_unless_all_is_asked_for(home: Path) -> None:
    made(home)
    before = json.loads(run(home, "show", "--json").stdout)
    assert run(home, "renew").stdout == "nothing is due\n"
    assert run(home, "renew", "--all").exit_code == 0
    after = json.loads(run(home, "show", "--json").stdout)
    same = [a["name"] for a, b in zip(before, after, strict=True) if a["serial"] == b["serial"]]
    assert same == ["reference root", "daejeon authority"]


def test_a_site_that_is_not_in_the_estate_is_told(home: Path) -> None:
    made(home)
    into = str(home / "x")
    refused = run(home, "issue", "busan", "--root", str(home / "root"), "--into", into, "--estate", str(CONFIGS))
    assert refused.exception.code == "pki.no-such-site"


def test_without_certificates_show_says_how_to_get_them(home: Path) -> None:
    assert "ncia pki issue" in run(home, "show").exception.hint
