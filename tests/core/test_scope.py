"""What somebody of one agency may see: each view's table knows each of its facts, or withholds it."""

from __future__ import annotations

from dataclasses import fields

import pytest

from ncia.core.reports.continuity import ContinuityReport
from ncia.core.views import StatusView
from ncia.core.views.scope import BACKUPS, CONTINUITY, STATUS, within
from tests.console import sample


@pytest.mark.parametrize(("view", "table"), [(StatusView, STATUS), (ContinuityReport, CONTINUITY)])
def test_every_fact_of_a_view_has_been_thought_of(view: type, table: dict) -> None:
    assert {field.name for field in fields(view)} == set(table)


def test_the_view_of_one_agency_names_no_other_system() -> None:
    whole = sample.recovering(23).to_json()
    own = within(whole, frozenset({"hometax"}), STATUS)
    assert [system["id"] for system in own["systems"]] == ["hometax"]
    assert {proof["system"] for proof in own["proofs"]} <= {"hometax"}
    assert {step["id"].partition("/")[0] for run in own["runs"] for step in run["steps"] if "/" in step["id"]} == (
        {"hometax"}
    )
    assert own["incidents"][0]["systems"] == ["hometax"]


def test_a_fact_that_no_table_knows_keeps_its_shape_and_loses_its_content() -> None:
    told = {"a": [1], "b": {"x": 1}, "c": "secret", "site": "east"}
    assert within(told, frozenset(), BACKUPS) == {"a": [], "b": {}, "c": None, "site": "east"}
