from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged
from backup.repository.format.snapshots import (
    Narrowing,
    Snapshot,
    chosen,
    narrowed,
    parent_of,
    snapshot_of,
    tags_in,
    tags_told,
)
from ncia.core.base.errors import NciaError
from tests.backup.repository.sample import NOW

OLD = Snapshot(NOW, b"t" * 32, ("/srv",), "db1", "root", id="aaaa" + "0" * 60)
NEW = replace(OLD, time=NOW + timedelta(hours=1), id="aabb" + "0" * 60)
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)


@given(TEXT, TEXT, st.lists(TEXT, max_size=3), st.lists(TEXT.filter(bool), max_size=3), st.integers(0, 2**31))
def test_a_snapshot_comes_back(host: str, user: str, paths: list[str], tags: list[str], uid: int) -> None:
    made = Snapshot(NOW, b"t" * 32, tuple(paths), host, user, uid, 7, tuple(tags), "f" * 64, "ncia", {"files_new": 3})
    assert snapshot_of(made.as_json(), "e" * 64) == replace(made, id="e" * 64)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"time":"2026-11-26T00:00:00Z","tree":"00"}', b'{"tree":5}'])
def test_a_snapshot_of_another_shape_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        snapshot_of(text, "e" * 64)


def test_a_person_means_one_snapshot() -> None:
    assert chosen([NEW, OLD], "latest") == NEW
    assert chosen([NEW, OLD], "aaaa0") == OLD


@pytest.mark.parametrize(("word", "why"), [("aa", "too short"), ("dead", "none of 2"), ("", "too short")])
def test_a_word_that_means_none_is_refused(word: str, why: str) -> None:
    with pytest.raises(NciaError, match=why):
        chosen([NEW, OLD], word)


def test_a_word_that_means_two_is_refused() -> None:
    with pytest.raises(NciaError, match="2 begin with it"):
        chosen([OLD, replace(OLD, id="aaaa" + "1" * 60)], "aaaa")


def test_the_parent_is_the_newest_of_the_same_host_and_paths() -> None:
    others = [replace(NEW, hostname="db2"), replace(NEW, paths=("/srv", "/etc"))]
    assert parent_of([OLD, NEW, *others], "db1", ("/srv",)) == NEW
    assert parent_of(others, "db1", ("/srv",)) is None


TAGGED = replace(NEW, hostname="db2", tags=("nightly", "rows"), paths=("/srv", "/etc"), id="cccc" + "0" * 60)


@pytest.mark.parametrize(
    ("narrowing", "fitting"),
    [
        (Narrowing(), [OLD, TAGGED]),
        (Narrowing(hosts=("db1",)), [OLD]),
        (Narrowing(hosts=("db3", "db2")), [TAGGED]),
        (Narrowing(tags=(("nightly", "rows"),)), [TAGGED]),
        (Narrowing(tags=(("nightly", "files"), ("rows",))), [TAGGED]),
        (Narrowing(tags=(("",),)), [OLD]),
        (Narrowing(tags=(("",), ("rows",))), [OLD, TAGGED]),
        (Narrowing(paths=("/srv",)), [OLD, TAGGED]),
        (Narrowing(paths=("/srv", "/etc")), [TAGGED]),
        (Narrowing(hosts=("db1",), paths=("/srv",)), [OLD]),
    ],
)
def test_snapshots_are_narrowed_as_restic_does(narrowing: Narrowing, fitting: list[Snapshot]) -> None:
    assert narrowed([OLD, TAGGED], narrowing) == fitting


def test_where_none_fits_it_is_refused_with_what_was_asked_for() -> None:
    asked = Narrowing(("db1", "db9"), (("a", "b"), ("c",)), ("/srv", "/etc"))
    with pytest.raises(NciaError, match=r"none of 2 fits: host db1 or db9, tags \[a, b\] or \[c\], paths /srv, /etc"):
        narrowed([OLD, TAGGED], asked)
    assert narrowed([], asked) == []


def test_the_latest_is_that_of_those_that_fit() -> None:
    later = replace(TAGGED, time=NOW + timedelta(days=1))
    assert chosen([OLD, later, NEW], "latest", Narrowing(hosts=("db1",))) == NEW
    assert chosen([OLD, later, NEW], "cccc", Narrowing(tags=(("rows",),))) == later
    with pytest.raises(NciaError, match="none of 2 that fit host db1 begins with it"):
        chosen([OLD, later, NEW], "cccc", Narrowing(hosts=("db1",)))


def test_a_list_of_tags_is_split_at_its_commas() -> None:
    assert [tags_in("a"), tags_in(" a,b c ,"), tags_in("")] == [("a",), ("a", "b c", ""), ("",)]
    assert tags_told(["a, b", "", "c,a,"]) == ("a", "b", "c")
