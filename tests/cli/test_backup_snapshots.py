"""Part of `ncia backup list`: documents in agencies' repositories, and in words what a person must know."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from ncia.cli.backup_snapshots import show_forgotten, show_looks, show_snapshots

PLACE = {
    "agency": "treasury",
    "site": "west",
    "made": True,
    "escrowed_for": ["kim", "lee"],
    "missing": [],
    "strangers": 0,
    "why": "",
    "read": {"unwell": "", "faults": 0, "whole_since": "2026-01-01T00:00:00Z", "parts": 7, "parts_read": 7},
    "prune": {"unwell": ""},
    "held": None,
    "locked": "",
}
SNAPSHOT = {
    "dataset": "tax/letters",
    "site": "west",
    "snapshot": "8e68c22bfe25",
    "at": "2026-01-01T00:00:00.000000Z",
    "files": 12,
    "size_bytes": 4_200_000,
    "losses": 0,
    "lost": [],
    "proven": None,
    "unproven": "",
}


def shown(**answer: object) -> str:
    out = StringIO()
    show_snapshots(Console(file=out, width=120), answer)
    return out.getvalue()


def test_each_dataset_and_place_is_a_line_and_nothing_else_is_said_where_all_is_well() -> None:
    told = shown(repositories=[PLACE], snapshots=[SNAPSHOT])
    for word in ("tax/letters", "2026-01-01 00:00", "west", "8e68c22b", "12", "4.2 MB"):
        assert word in told
    assert "treasury at west" not in told


def test_what_should_be_in_a_repository_and_is_not_is_said() -> None:
    told = shown(repositories=[PLACE], snapshots=[], late=[{"dataset": "tax/rows", "why": "p-1 is at 0 of 2 places"}])
    assert "tax/rows is late: p-1 is at 0 of 2 places" in told


def test_what_is_missing_partial_strange_or_not_escrowed_is_said() -> None:
    partial = {**SNAPSHOT, "losses": 1, "lost": ["a: it is not there"]}
    bad = {**PLACE, "missing": ["snapshot 8e68 is not there"], "strangers": 2, "escrowed_for": [], "why": "another one"}
    told = shown(repositories=[bad, {**PLACE, "made": False, "site": "east"}], snapshots=[partial])
    for sentence in (
        "tax/letters at west: partial: a: it is not there",
        "treasury at west: snapshot 8e68 is not there",
        "treasury at west: another one",
        "2 snapshots there that nobody wrote down",
        "its key is in no escrow",
        "not made yet (a controller makes them once rows are protected, some minutes after its start): treasury",
    ):
        assert sentence in told


def test_a_place_that_was_not_read_or_has_faults_is_one_sentence() -> None:
    never = {**PLACE, "read": {**PLACE["read"], "unwell": "never read", "whole_since": None, "parts_read": 2}}
    late = {**PLACE, "agency": "customs", "prune": {"unwell": "its prune waits: a pack is missing"}}
    late |= {"read": {**PLACE["read"], "unwell": "not read whole since 2026-01-01"}}
    faulty = {
        **late,
        "prune": {"unwell": ""},
        "site": "east",
        "read": {**never["read"], "unwell": "2 faults: [bad] pack", "faults": 2},
    }
    told = shown(repositories=[never, late, faulty, {**never, "site": "east"}], snapshots=[]).splitlines()
    assert told == [
        "customs at west: its prune waits: a pack is missing",
        "customs at west: not read whole since 2026-01-01",
        "customs at east: 2 faults: [bad] pack",
        "Not read whole yet: treasury at west (2 of 7 parts), treasury at east (2 of 7 parts)",
    ]


def test_the_last_proven_snapshot_is_told_beside_the_newest_and_what_is_not_proven_in_words() -> None:
    at = "2025-12-31T22:00:00Z"
    older, itself = {"snapshot": "ce4e", "at": at}, {"snapshot": SNAPSHOT["snapshot"], "at": at}
    bad = {**SNAPSHOT, "proven": older, "unproven": "its snapshot 8e68c22b is not proven: [a] differs"}
    told = shown(repositories=[PLACE], snapshots=[bad, {**SNAPSHOT, "site": "east", "proven": itself}])
    for word in ("2025-12-31 22:00", "it is", "tax/letters at west: its snapshot 8e68c22b is not proven: [a] differs"):
        assert word in told
    assert "never" in shown(repositories=[PLACE], snapshots=[SNAPSHOT])


def test_an_estate_without_them_hears_nothing() -> None:
    assert (shown(), shown(repositories=[], snapshots=[])) == ("", "")


def test_a_look_says_what_is_there_and_what_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    well = {"agency": "treasury", "site": "west", "expected": 2, "missing": [], "strangers": 1, "why": ""}
    show_looks([well, {**well, "agency": "customs", "missing": ["snapshot 8e68 is not there"]}])
    assert capsys.readouterr().out.splitlines() == [
        "treasury at west: all 2 expected snapshots are there; 1 that nobody wrote down",
        "customs at west: snapshot 8e68 is not there",
    ]


def test_a_forgetting_that_waits_for_a_person_is_told_with_the_command_that_shows_it() -> None:
    told = shown(repositories=[{**PLACE, "held": {"why": "31 of 40 would go"}}], snapshots=[])
    assert told == (
        "treasury at west: nothing is forgotten: 31 of 40 would go: ncia backup forget treasury (at that site)\n"
    )


def test_what_would_go_and_what_went_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"agency": "treasury", "site": "west", "would_go": 2, "of": 9, "named": ["8e68: old"], "forgotten": []}
    show_forgotten(told)
    show_forgotten({**told, "would_go": 1, "forgotten": ["8e68c22b"], "why": "it is locked"})
    assert capsys.readouterr().out.splitlines() == [
        "8e68: old",
        "and 1 more",
        "treasury at west: 2 of 9 snapshots would go; --remove-max 2 lets them go",
        "8e68: old",
        "treasury at west: 1 of 9 snapshots are forgotten",
        "their files are removed at a later look: it is locked",
    ]
