"""`ncia repo engines`: honest words, also of an engine that is not there."""

from __future__ import annotations

import json

from typer.testing import CliRunner

from ncia.cli import build
from tests.restic import demand_restic

TREE = build((("repo", "ncia.cli.repo"),))


def told(*arguments: str) -> list[dict[str, object]]:
    return json.loads(CliRunner().invoke(TREE, ["repo", "engines", "--json", *arguments]).stdout)


def test_each_engine_tells_what_it_does_and_what_it_does_not() -> None:
    ours, theirs = told("--restic", str(demand_restic().program))
    assert "it makes a repository whose files are another one's, byte for byte" in ours["sentences"]
    assert "not: it makes a repository whose files are another one's, byte for byte" in theirs["sentences"]
    assert (ours["engine"], theirs["engine"], theirs["version"] > "0.14") == ("ncia", "restic", True)


def test_one_that_is_not_installed_says_so() -> None:
    theirs = told("--restic", "/nowhere/restic")[1]
    assert theirs == {"engine": "restic", "version": "", "sentences": ["No such file or directory"]}
    assert "No such file" in CliRunner().invoke(TREE, ["repo", "engines", "--restic", "/nowhere/restic"]).stdout
