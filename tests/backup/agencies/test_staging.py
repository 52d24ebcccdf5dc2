"""Documents brought to where an engine can read them: as the store holds them, no more and no less."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.agencies.plan import NEVER
from backup.agencies.staging import stage
from ncia.core.base.errors import Refusal, Unreachable
from tests.fakes.documents import FakeDocuments


def listing(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def store() -> FakeDocuments:
    found = FakeDocuments()
    found.put("2026/11/a", b"one", 1000.0)
    found.put("b", b"two", 2000.5)
    found.put(".ncia/canary", b"the platform's own", 1.0)
    return found


def test_what_is_new_is_fetched_and_what_is_there_is_not(store: FakeDocuments, tmp_path: Path) -> None:
    first = stage(store, tmp_path / "staged")
    assert (first.documents, first.fetched, first.losses) == (2, 2, 0)
    assert listing(tmp_path / "staged") == {"2026/11/a": b"one", "b": b"two"}
    again = stage(store, tmp_path / "staged")
    assert (again.documents, again.fetched, again.removed) == (2, 0, 0)


def test_what_changed_is_fetched_and_what_is_gone_is_removed(store: FakeDocuments, tmp_path: Path) -> None:
    stage(store, tmp_path)
    store.put("b", b"owt", 3000.0)  # as long as before, and later
    del store.held["2026/11/a"]
    (tmp_path / "stray").write_text("of a run that was killed")
    found = stage(store, tmp_path)
    assert (found.documents, found.fetched, found.removed) == (1, 1, 2)
    assert (listing(tmp_path), (tmp_path / "2026").exists()) == ({"b": b"owt"}, False)


def test_a_document_that_became_a_folder_and_the_other_way_round(store: FakeDocuments, tmp_path: Path) -> None:
    stage(store, tmp_path)
    del store.held["b"], store.held["2026/11/a"]
    store.put("b/c/d", b"below", 4000.0)
    store.put("2026", b"a year", 4000.0)
    assert stage(store, tmp_path).losses == 0
    assert listing(tmp_path) == {"b/c/d": b"below", "2026": b"a year"}


def test_what_cannot_be_brought_is_counted_and_named(store: FakeDocuments, tmp_path: Path) -> None:
    store.held["back\\slash"] = (b"refused", 1.0)
    store.put("x" * 300, b"longer than a file's name", 1.0)
    found = stage(store, tmp_path)
    assert (found.documents, found.losses) == (3, 2)
    assert ["back\\slash: no document" in found.lost[0], "name too long" in found.lost[1]] == [True, True]


def test_a_store_that_lists_nothing_where_much_was_is_no_empty_one(store: FakeDocuments, tmp_path: Path) -> None:
    stage(store, tmp_path)
    store.held.clear()
    with pytest.raises(Refusal, match="lists none, and the snapshot before has 2: perhaps its root is not there"):
        stage(store, tmp_path, known=2)
    assert len(listing(tmp_path)) == 2
    assert stage(store, tmp_path).removed == 2


def test_a_store_of_which_nothing_was_kept_is_empty_only_with_its_canary_and_by_the_other_ones_word(
    store: FakeDocuments, tmp_path: Path
) -> None:
    for name in ("2026/11/a", "b"):
        del store.held[name]
    other = FakeDocuments("other")
    assert stage(store, tmp_path, NEVER, other).documents == 0
    other.put("2026/11/a", b"one", 1000.0)
    with pytest.raises(Refusal, match="it lists none, and other lists some"):
        stage(store, tmp_path, NEVER, other)
    with pytest.raises(Refusal, match="there is no other store to ask"):
        stage(store, tmp_path, NEVER)
    other.silent = True
    with pytest.raises(Unreachable):
        stage(store, tmp_path, NEVER, other)
    store.held.clear()
    with pytest.raises(Refusal, match="no canary is in it"):
        stage(store, tmp_path, NEVER, other)
    assert stage(store, tmp_path, 0).documents == 0  # a person said so


def test_a_store_that_lists_a_few_of_many_loses_the_others_and_one_that_lists_a_tenth_does_not(
    store: FakeDocuments, tmp_path: Path
) -> None:
    found = stage(store, tmp_path, known=20)
    assert (found.documents, found.losses) == (2, 0)
    found = stage(store, tmp_path, known=21)
    assert (found.documents, found.losses) == (2, 1)
    assert found.lost[0].startswith("fake: it lists 2, and the snapshot before has 21: perhaps its root is not there")


def test_a_store_that_is_silent_ends_it(store: FakeDocuments, tmp_path: Path) -> None:
    stage(store, tmp_path)
    store.silent = True
    with pytest.raises(Unreachable):
        stage(store, tmp_path)
    assert len(listing(tmp_path)) == 2  # nothing is taken for gone because nobody answered
