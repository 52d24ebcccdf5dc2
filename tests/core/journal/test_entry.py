from __future__ import annotations

import json
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.journal import entry_from_wire, entry_to_wire
from ncia.core.journal.canonical import canonical
from ncia.core.journal.entries import VOCABULARY
from ncia.core.journal.entries_recovery import PlanMade
from ncia.core.journal.entry import Entry, entry_from_text, make_entry
from ncia.core.journal.tree import leaf_hash
from tests.core.journal.sites import EAST, EPOCH, said
from tests.core.journal.specimens import SPECIMENS

GOLDEN = Path(__file__).parents[2] / "golden" / "journal" / "entries.jsonl"


def entry(number: int = 0) -> Entry:
    return make_entry(EAST, number, EPOCH, "tester", 3, said("첫 줄"))


def test_an_entry_hashes_its_canonical_form() -> None:
    made = entry()
    expected = (
        '{"at":"2026-01-01T00:00:00.000000Z","body":{"dataset":"tax/rows","error":"첫 줄","job":"backup-1"},'
        '"by":"tester","kind":"backup.failed","number":0,"peer_seen":3,"site":"east","version":1}'
    )
    assert expected == made.text
    assert leaf_hash(expected.encode()) == made.leaf_hash


def test_an_entry_goes_over_the_wire_and_back() -> None:
    over = json.loads(json.dumps(entry_to_wire(entry())))
    assert entry() == entry_from_wire(over)


@pytest.mark.parametrize("field", ["site", "number", "at", "by", "peer_seen", "body"])
def test_a_field_altered_on_the_wire_is_noticed(field: str) -> None:
    other = {**entry_to_wire(make_entry(EAST, 1, EPOCH.replace(year=2027), "other", 4, said("other"))), "site": "west"}
    wire = {**entry_to_wire(entry()), field: other[field]}
    with pytest.raises(NciaError) as refused:
        entry_from_wire(wire)
    assert refused.value.code == "journal.leaf-mismatch"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "later.release"}, "journal.unknown-kind"),
        ({"version": 2}, "journal.unknown-kind"),
        ({"extra": 1}, "journal.malformed-entry"),
        ({"number": "0"}, "journal.malformed-entry"),
        ({"number": -1}, "journal.malformed-entry"),
        ({"number": True}, "journal.malformed-entry"),
        ({"peer_seen": -1}, "journal.malformed-entry"),
        ({"by": 3}, "journal.malformed-entry"),
        ({"site": 3}, "journal.malformed-entry"),
        ({"at": "2026-01-01T00:00:00"}, "journal.malformed-entry"),
        ({"at": "2026-01-01T00:00:00Z"}, "journal.malformed-entry"),
        ({"body": {"job": "x", "dataset": "y"}}, "journal.malformed-entry"),
        ({"body": {"job": "x", "dataset": "y", "error": "z", "more": 1}}, "journal.malformed-entry"),
        ({"body": []}, "journal.malformed-entry"),
    ],
    ids=str,
)
def test_what_is_not_an_entry_of_this_vocabulary_is_refused(change: dict, code: str) -> None:
    fields = {key: value for key, value in entry_to_wire(entry()).items() if key != "leaf_hash"}
    with pytest.raises(NciaError) as refused:
        entry_from_text(canonical({**fields, **change}).decode())
    assert code == refused.value.code


def test_an_entry_spelt_otherwise_is_refused() -> None:
    with pytest.raises(NciaError, match="canonical"):
        entry_from_text(entry().text.replace(":", ": ", 1))


def test_a_writer_sees_the_body_that_a_reader_will() -> None:
    plan = PlanMade(run="r", runbook="b", plan_hash="h", plan={"steps": ({"id": "a"},)}, by="x")
    made = make_entry(EAST, 0, EPOCH, "tester", 0, plan)
    assert plan.plan != made.body.model_dump()["plan"]
    assert made == entry_from_text(made.text)


def test_a_body_that_json_cannot_say_is_refused() -> None:
    plan = PlanMade(run="r", runbook="b", plan_hash="h", plan={"loss": float("nan")}, by="x")
    with pytest.raises(NciaError, match="plan"):
        make_entry(EAST, 0, EPOCH, "tester", 0, plan)


def test_every_kind_has_a_specimen() -> None:
    assert {(body.KIND, body.VERSION) for body in SPECIMENS} == set(VOCABULARY)


@pytest.mark.parametrize("body", SPECIMENS, ids=lambda body: body.KIND)
def test_an_entry_of_every_kind_is_read_back(body) -> None:
    made = make_entry(EAST, 0, EPOCH, "tester", 0, body)
    assert body == made.body
    assert made == entry_from_wire(entry_to_wire(made))


@pytest.mark.parametrize("line", GOLDEN.read_text(encoding="utf-8").splitlines(), ids=lambda line: line[:80])
def test_entries_written_by_earlier_releases_are_read_for_ever(line: str) -> None:
    """A kind once released never changes: make a new version beside it. (See specimens.py on writing this file.)"""
    kept = entry_from_wire(json.loads(line))
    assert json.loads(line)["leaf_hash"] == kept.leaf_hash.hex()
