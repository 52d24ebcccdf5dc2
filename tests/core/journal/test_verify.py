"""What was done to a journal's file is found and named by site, number and kind."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal import Checkpoint, Entry, Journal, checkpoint_from_note, entry_to_wire
from ncia.core.journal.copies import export_lines, read_copies
from ncia.core.journal.entry import entry_from_text, make_entry
from ncia.core.journal.tree import Tree
from ncia.core.journal.verify import Verdict, verify
from tests.core.journal.sites import (
    ALL_KEYS,
    EAST,
    EPOCH,
    KEYS,
    THIRD,
    WEST,
    cosigner,
    journal_of,
    said,
    signer,
    sqlite_url,
)


def found(*files: Path | str) -> list[tuple[str, str, int]]:
    return [(each.kind, each.site, each.number) for each in judged(*files).findings]


def judged(*files: Path | str) -> Verdict:
    return verify([copy for file in files for copy in read_copies(str(file))], KEYS)


def pull(source: Journal, target: Journal) -> None:
    start = target.size(source.site)
    target.accept_peer(source.entries(source.site, start), source.checkpoint())


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Both sites' journals: 12 entries of east, 8 of west, pulled by each other; closed."""
    east, west = (journal_of(site, sqlite_url(tmp_path, site)) for site in (EAST, WEST))
    for number in range(4):
        east.append(said(f"east {number} a"), by="tester")
        east.append_all([said(f"east {number} b"), said(f"east {number} c")], by="tester")
        pull(east, west)
        west.append_all([said(f"west {number} a"), said(f"west {number} b")], by="tester")
        pull(west, east)
    east.close()
    west.close()
    return tmp_path / "east.db", tmp_path / "west.db"


def do(file: Path, *statements: str) -> None:
    with sqlite3.connect(file) as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def put(file: Path, number: int, entry: Entry, site: str = EAST) -> None:
    """Put an entry in the place of another, with its hash."""
    with sqlite3.connect(file) as connection:
        connection.execute(
            "UPDATE journal_entries SET text = ?, leaf_hash = ? WHERE site = ? AND number = ?",
            (entry.text, entry.leaf_hash, site, number),
        )
    connection.close()


def test_journals_as_they_were_written_hold(files: tuple[Path, Path]) -> None:
    verdict = judged(*files)
    assert verdict.holds
    assert [(each.site, each.signed_size) for each in verdict.checked] == [
        ("east", 12),
        ("west", 8),
        ("west", 8),
        ("east", 12),
    ]


def test_a_journal_is_verified_while_it_is_written(tmp_path: Path) -> None:
    east = journal_of(EAST, sqlite_url(tmp_path, EAST))
    east.append(said("open"), by="tester")
    assert judged(tmp_path / "east.db").holds


def test_the_owners_file_alone_may_lag_in_its_copy_of_the_peer(files: tuple[Path, Path], tmp_path: Path) -> None:
    west = journal_of(WEST, sqlite_url(tmp_path, WEST))
    west.append(said("not pulled yet"), by="tester")
    assert judged(*files).holds


def test_a_flipped_entry_is_named(files: tuple[Path, Path]) -> None:
    do(files[0], "UPDATE journal_entries SET text = replace(text, 'east 2 b', 'EAST 2 b') WHERE number = 7")
    assert found(files[0]) == [("flipped", "east", 7)]


def test_an_entry_flipped_together_with_its_hash_is_named(files: tuple[Path, Path]) -> None:
    put(files[0], 6, make_entry(EAST, 6, EPOCH, "tester", 4, said("forged")))
    assert found(files[0]) == [("flipped", "east", 6)]


def test_an_entry_flipped_together_with_every_hash_above_it_is_found_by_the_signed_heads(
    files: tuple[Path, Path],
) -> None:
    put(files[0], 6, make_entry(EAST, 6, EPOCH, "tester", 4, said("forged")))
    do(files[0], "DELETE FROM journal_nodes WHERE site = 'east'")
    assert found(files[0]) == [("flipped", "east", 6)]


def test_a_flipped_entry_of_the_peer_is_named(files: tuple[Path, Path]) -> None:
    do(files[0], "UPDATE journal_entries SET text = replace(text, 'west 1 a', 'WEST 1 a') WHERE site = 'west'")
    assert found(files[0]) == [("flipped", "west", 2)]


def test_two_faults_far_apart_are_both_named(files: tuple[Path, Path]) -> None:
    for number in (1, 9):
        place = f"site = 'east' AND number = {number}"
        do(files[0], f"UPDATE journal_entries SET text = text || ' ' WHERE {place}")  # noqa: S608
    assert found(files[0]) == [("flipped", "east", 1), ("flipped", "east", 9)]


def test_a_dropped_entry_is_named(files: tuple[Path, Path]) -> None:
    do(files[0], "DELETE FROM journal_entries WHERE site = 'east' AND number = 5")
    assert found(files[0]) == [("dropped", "east", 5)]


def test_a_dropped_tail_is_found_by_the_signed_head(files: tuple[Path, Path]) -> None:
    do(files[0], "DELETE FROM journal_entries WHERE site = 'east' AND number >= 10")
    assert found(files[0]) == [("dropped", "east", 10)]


def test_a_tail_dropped_with_its_heads_is_found_by_what_the_peer_had_seen(files: tuple[Path, Path]) -> None:
    do(
        files[0],
        "DELETE FROM journal_entries WHERE site = 'east' AND number >= 7",
        "DELETE FROM journal_heads WHERE site = 'east' AND size > 7",
        "DELETE FROM journal_nodes WHERE site = 'east' AND ((\"index\" + 1) << level) > 7",
    )
    assert found(files[0]) == [("dropped", "east", 7)]


def test_reordered_entries_are_named(files: tuple[Path, Path]) -> None:
    do(
        files[0],
        "UPDATE journal_entries SET number = 99 WHERE site = 'east' AND number = 4",
        "UPDATE journal_entries SET number = 4 WHERE site = 'east' AND number = 8",
        "UPDATE journal_entries SET number = 8 WHERE site = 'east' AND number = 99",
    )
    assert found(files[0]) == [("reordered", "east", 4), ("reordered", "east", 8)]


def test_entries_swapped_without_their_hashes_are_reordered_too(files: tuple[Path, Path]) -> None:
    with sqlite3.connect(files[0]) as connection:
        texts = dict(connection.execute("SELECT number, text FROM journal_entries WHERE site = 'east'"))
        for number, other in ((2, 3), (3, 2)):
            connection.execute(
                "UPDATE journal_entries SET text = ? WHERE site = 'east' AND number = ?", (texts[other], number)
            )
    connection.close()
    assert found(files[0]) == [("reordered", "east", 2), ("reordered", "east", 3)]


def test_a_fork_is_named_where_the_copies_part(tmp_path: Path) -> None:
    for name, last in (("one", "left"), ("two", "right")):
        journal = journal_of(EAST, sqlite_url(tmp_path, name))
        journal.append_all([said("same"), said("same too")], by="tester")
        journal.append(said(last), by="tester")
        journal.append(said("more"), by="tester")
        journal.close()
    assert found(tmp_path / "one.db", tmp_path / "two.db") == [("forked", "east", 2)]


def test_a_fork_inside_one_file_is_named(files: tuple[Path, Path]) -> None:
    """The site's own key signed a second history over an altered entry."""
    put(files[0], 8, make_entry(EAST, 8, EPOCH, "tester", 4, said("the other history")))
    do(files[0], "DELETE FROM journal_nodes WHERE site = 'east'")
    copies = read_copies(str(files[0]))
    leaves = [row.leaf_hash for row in copies[0].rows]
    head = signer(EAST).sign(12, Tree().grow(leaves)[0].root())
    with sqlite3.connect(files[0]) as connection:
        connection.execute("UPDATE journal_heads SET note = ? WHERE site = 'east' AND size = 12", (head.note(),))
    connection.close()
    assert [each for each in found(files[0]) if each[0] == "forked"] == [("forked", "east", 7)]


def test_a_forged_head_is_named(files: tuple[Path, Path]) -> None:
    note = signer(EAST, "another key").sign(12, b"r" * 32).note()
    with sqlite3.connect(files[0]) as connection:
        connection.execute("UPDATE journal_heads SET note = ? WHERE site = 'east' AND size = 12", (note,))
    connection.close()
    assert found(files[0]) == [("unsigned", "east", 10), ("forged", "east", 12)]


def test_entries_that_no_head_covers_are_named(files: tuple[Path, Path]) -> None:
    do(files[0], "DELETE FROM journal_heads WHERE site = 'east' AND size > 9")
    assert ("unsigned", "east", 9) in found(files[0])


def test_a_damaged_tree_is_named_though_every_entry_is_sound(files: tuple[Path, Path]) -> None:
    do(files[0], "UPDATE journal_nodes SET hash = x'00' WHERE site = 'east' AND level = 1 AND \"index\" = 2")
    assert found(files[0]) == [("tree", "east", 4)]


def test_without_a_key_nothing_is_held_to_be_checked(files: tuple[Path, Path]) -> None:
    verdict = verify(read_copies(str(files[0])), {EAST: KEYS[EAST]})
    assert not verdict.holds
    assert ("no-key", "west") in {(each.kind, each.site) for each in verdict.findings}


def test_nothing_is_not_a_journal_that_holds() -> None:
    assert not verify([], KEYS).holds


# --- exports -----------------------------------------------------------------------------------------------------


@pytest.fixture
def export(files: tuple[Path, Path], tmp_path: Path) -> Callable[[Callable[[list[str]], list[str]]], Path]:
    """Export east's journal, do something to its lines, and tell where they are."""

    whole = list(export_lines(read_copies(str(files[0]))))

    def exported(change: Callable[[list[str]], list[str]]) -> Path:
        lines = list(whole)
        target = tmp_path / "export.jsonl"
        target.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")
        return target

    return exported


def at(lines: list[str], site: str, number: int) -> int:
    def is_it(line: str) -> bool:
        entry = json.loads(line).get("entry", {})
        return (entry.get("site"), entry.get("number")) == (site, number)

    return next(place for place, line in enumerate(lines) if is_it(line))


def test_an_export_holds_and_holds_as_much(export, files: tuple[Path, Path]) -> None:
    file = export(lambda lines: lines)
    assert judged(file).holds
    assert [(c.site, c.entries, c.heads, c.root) for c in judged(files[0]).checked] == [
        (c.site, c.entries, c.heads, c.root) for c in judged(file).checked
    ]


def test_a_dropped_line_is_named(export) -> None:
    def drop(lines: list[str]) -> list[str]:
        del lines[at(lines, EAST, 5)]
        return lines

    assert found(export(drop)) == [("dropped", "east", 5)]


def test_a_flipped_line_is_named(export) -> None:
    def flip(lines: list[str]) -> list[str]:
        place = at(lines, WEST, 3)
        lines[place] = lines[place].replace("west 1 b", "WEST 1 b")
        return lines

    assert found(export(flip)) == [("flipped", "west", 3)]


def test_a_line_whose_number_was_flipped_is_named(export) -> None:
    def flip(lines: list[str]) -> list[str]:
        place = at(lines, EAST, 5)
        lines[place] = lines[place].replace('"number":5', '"number":500000000000')
        return lines

    assert found(export(flip)) == [("flipped", "east", 5)]


def test_a_line_flipped_together_with_its_hash_is_named(export) -> None:
    def flip(lines: list[str]) -> list[str]:
        forged = entry_to_wire(make_entry(EAST, 6, EPOCH, "tester", 4, said("forged")))
        lines[at(lines, EAST, 6)] = json.dumps({"entry": forged})
        return lines

    assert found(export(flip)) == [("flipped", "east", 6)]


def test_a_line_that_is_no_longer_json_is_named(export) -> None:
    def garble(lines: list[str]) -> list[str]:
        lines[at(lines, EAST, 4)] = "}{"
        return lines

    assert found(export(garble)) == [("flipped", "east", 4)]


def test_swapped_lines_are_named(export) -> None:
    def swap(lines: list[str]) -> list[str]:
        one, two = at(lines, EAST, 3), at(lines, EAST, 4)
        lines[one], lines[two] = lines[two], lines[one]
        return lines

    assert found(export(swap)) == [("reordered", "east", 3)]


def test_a_repeated_line_is_named(export) -> None:
    def repeat(lines: list[str]) -> list[str]:
        place = at(lines, EAST, 3)
        return [*lines[: place + 1], *lines[place:]]

    assert found(export(repeat)) == [("reordered", "east", 3)]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_altered_byte_of_an_entry_goes_unnoticed(export, data: st.DataObject) -> None:
    """And the fault is named at the entry that was altered, unless the line is no longer one of that log."""
    number = data.draw(st.integers(0, 11))
    place_in_line = data.draw(st.integers(0, 150))
    byte = data.draw(st.sampled_from('0a}" '))

    def alter(lines: list[str]) -> list[str]:
        place = at(lines, EAST, number)
        line = lines[place]
        lines[place] = line[:place_in_line] + byte + line[place_in_line + 1 :]
        return lines if lines[place] != line else []

    file = export(alter)
    if file.read_text().strip():
        assert number in {named for _, _, named in found(file)}


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    do(tmp_path / "other.db", "CREATE TABLE other (a)")
    with pytest.raises(NciaError):
        read_copies(str(tmp_path / "other.db"))
    with pytest.raises(NciaError):
        read_copies(str(tmp_path / "missing.db"))


def test_a_database_is_verified_by_its_url_too(databases) -> None:
    journal = journal_of(EAST, databases("east"))
    journal.append_all([said("one"), said("two")], by="tester")
    assert judged(databases("east")).holds


# --- who vouches -------------------------------------------------------------------------------------------------


def noted(path: Path, head: Checkpoint) -> Path:
    """The head as the witness keeps it: cosigned, in a file of its own."""
    path.write_text(head.with_cosignatures([cosigner(THIRD).cosign(head, EPOCH)]).note(), encoding="utf-8")
    return path


def test_who_vouches_up_to_where_is_told(files: tuple[Path, Path]) -> None:
    with sqlite3.connect(files[0]) as connection:
        (note,) = connection.execute("SELECT note FROM journal_heads WHERE site = 'east' AND size = 12").fetchone()
        head = checkpoint_from_note(note)
        note = head.with_cosignatures([cosigner(THIRD).cosign(head, EPOCH)]).note()
        connection.execute("UPDATE journal_heads SET note = ? WHERE site = 'east' AND size = 12", (note,))
    connection.close()
    verdict = verify(read_copies(str(files[0])), ALL_KEYS)
    assert verdict.holds
    told = {each.site: [(vouch.by, vouch.size) for vouch in each.vouched] for each in verdict.checked}
    assert told == {EAST: [(THIRD, 12)], WEST: [(EAST, 8)]}


def test_the_witness_note_beside_a_journal_holds_and_is_told(files: tuple[Path, Path], tmp_path: Path) -> None:
    head = next(h for h in heads_of(files[0], EAST) if h.size == 12)
    verdict = verify([*read_copies(str(files[0])), *read_copies(str(noted(tmp_path / "east.note", head)))], ALL_KEYS)
    assert verdict.holds
    assert [(v.by, v.size) for v in verdict.checked[-1].vouched] == [(THIRD, 12)]


def test_a_log_forked_against_a_cosigned_head_is_named_by_both_roots(files: tuple[Path, Path], tmp_path: Path) -> None:
    """The site was set back to 8 entries, wrote others, and never gave them away: the witness alone knows of it."""
    fork = journal_of(EAST, sqlite_url(tmp_path, "fork"))
    original = journal_entries(files[0], EAST)
    fork.take_back(original[:8], signer(EAST).sign(8, Tree().grow(e.leaf_hash for e in original[:8])[0].root()))
    fork.append_all([said(f"fork {number}") for number in range(9)], by="tester")  # no head of size 12
    fork.close()
    head = next(h for h in heads_of(files[0], EAST) if h.size == 12)
    note = noted(tmp_path / "east.note", head)
    verdict = verify([*read_copies(str(tmp_path / "fork.db")), *read_copies(str(note))], ALL_KEYS)
    (finding,) = [each for each in verdict.findings if each.site == EAST]
    assert finding.kind == "forked"
    assert head.root.hex()[:16] in finding.sentence
    assert "cosigned by third" in finding.sentence


def test_a_tail_that_the_witness_vouches_for_and_the_journal_lacks_is_dropped(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    note = noted(tmp_path / "east.note", signer(EAST).sign(20, b"r" * 32))
    found = verify([*read_copies(str(files[0])), *read_copies(str(note))], ALL_KEYS).findings
    assert [(each.kind, each.site, each.number) for each in found] == [("dropped", EAST, 12)]


def test_a_cosignature_that_its_cosigner_did_not_write_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    head = next(h for h in heads_of(files[0], EAST) if h.size == 12)
    stolen = head.with_cosignatures([replace(cosigner(THIRD).cosign(head, EPOCH), value=b"x" * 72)])
    (tmp_path / "east.note").write_text(stolen.note(), encoding="utf-8")
    found = verify([*read_copies(str(files[0])), *read_copies(str(tmp_path / "east.note"))], ALL_KEYS).findings
    assert [(each.kind, each.number, "third" in each.sentence) for each in found] == [("forged", 12, True)]


def heads_of(file: Path, site: SiteId) -> list[Checkpoint]:
    copy = next(copy for copy in read_copies(str(file)) if copy.site == site)
    return [checkpoint_from_note(note) for note in copy.notes]


def journal_entries(file: Path, site: SiteId) -> list[Entry]:
    copy = next(copy for copy in read_copies(str(file)) if copy.site == site)
    return [entry_from_text(row.text) for row in copy.rows]
