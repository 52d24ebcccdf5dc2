from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged
from backup.repository.format.snapshots import Snapshot, chosen, parent_of, snapshot_of
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
