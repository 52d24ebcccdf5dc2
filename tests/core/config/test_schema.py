"""The schema for editors: it takes every sound file, and no file that is wrong in itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ncia.cli.estate import app
from ncia.core.base.errors import InputFaults
from ncia.core.config import estate_schema
from ncia.core.config.schema import FILE
from tests.core.config.jsonschema import faults
from tests.core.config.test_estate import CASES, REFERENCE, SAMPLES

SCHEMA = estate_schema(REFERENCE)

# Wrong in itself: what an editor can see in the one file that is open. All others are wrong beside something else.
STRUCTURAL = (
    "agency-repository-words",
    "documents-misplaced",  # one of them in folders of an hour, which nobody keeps
    "exception-by-nobody",  # with no reason either
    "keys",  # one of them of a person with an unknown role
    "missing-key",
    "no-store-host",  # for its role is misspelt
    "not-a-mapping",
    "not-an-address",
    "not-an-id",
    "ten-faults",
    "unknown-key",
    "unknown-section",
    "wrong-type",
)
UNREADABLE = ("not-utf8", "not-yaml")  # an editor says so itself


def told(folder: Path) -> list[str]:
    """What the schema says of every file of the folder."""
    found: list[str] = []
    for file in sorted(folder.glob("*.yaml")):
        found += [f"{file.name} {fault}" for fault in faults(yaml.safe_load(file.read_text(encoding="utf-8")), SCHEMA)]
    return found


@pytest.mark.parametrize("folder", [REFERENCE, SAMPLES / "base"], ids=["reference", "base"])
def test_a_sound_estate_is_valid(folder: Path) -> None:
    assert told(folder) == []


@pytest.mark.parametrize("case", STRUCTURAL)
def test_a_sample_that_is_wrong_in_itself_is_not_valid(case: str) -> None:
    assert told(SAMPLES / "invalid" / case) != []


SEMANTIC = sorted({*CASES} - {*STRUCTURAL, *UNREADABLE})


@pytest.mark.parametrize("case", SEMANTIC)
def test_an_editor_underlines_nothing_that_is_wrong_only_beside_something_else(case: str) -> None:
    assert told(SAMPLES / "invalid" / case) == []


def test_a_key_that_the_reader_asks_for_is_in_the_schema_without_anybody_writing_it_there() -> None:
    services = SCHEMA["properties"]["sites"]["items"]["properties"]["services"]["properties"]
    assert {"api", "warden", "etcd", "traffic", "receipts"} <= services.keys()
    settings = SCHEMA["properties"]["settings"]["properties"]
    assert settings["receipts_kept_days"] == {"type": "integer", "minimum": 1}


def test_what_only_some_kinds_must_have_is_not_required_of_all() -> None:
    dataset = SCHEMA["properties"]["systems"]["items"]["properties"]["datasets"]["items"]
    assert dataset["required"] == ["id", "kind"]


def test_an_example_that_is_faulty_makes_no_schema(tmp_path: Path) -> None:
    with pytest.raises(InputFaults):
        estate_schema(tmp_path)


def test_the_command_prints_it_or_writes_it_beside_the_files(tmp_path: Path) -> None:
    printed = CliRunner().invoke(app, ["schema"])
    assert json.loads(printed.stdout) == SCHEMA
    written = CliRunner().invoke(app, ["schema", "--out", str(tmp_path)])
    assert json.loads((tmp_path / FILE).read_text(encoding="utf-8")) == SCHEMA
    assert f"# yaml-language-server: $schema={FILE}" in written.stdout
