"""A repair that is only rehearsed tells the same and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.repository.care.rehearsing import Rehearsing
from backup.repository.ports import Kind, Missing
from tests.backup.repository.care.test_repairing import Pair, flipped, gone, harm, repair
from tests.fakes.repository import FakeStore

NAME = "ab" * 32


def test_a_rehearsed_repair_tells_what_the_real_one_does_and_writes_nothing(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    one, two = pair.fresh()
    harm(one, flipped, Kind.DATA, 0)
    harm(one, gone, Kind.DATA, 1)
    harm(one, gone, Kind.INDEX)
    harm(one, flipped, Kind.CONFIG)
    before = dict(one.held)
    rehearsed = repair(Rehearsing(one, two), two)
    assert one.held == before
    assert repair(one, two) == rehearsed


def test_what_would_be_there_is_read_back_and_what_would_be_gone_is_not() -> None:
    below = FakeStore()
    below.save(Kind.INDEX, NAME, b"old")
    store = Rehearsing(below, None)
    store.remove(Kind.INDEX, NAME)
    assert list(store.names(Kind.INDEX)) == []
    for ask in (store.load, store.size):
        with pytest.raises(Missing):
            ask(Kind.INDEX, NAME)
    store.save(Kind.INDEX, NAME, b"new one")
    assert (store.load(Kind.INDEX, NAME, 4, 2), store.size(Kind.INDEX, NAME)) == (b"on", 7)
    assert [each.name for each in store.names(Kind.INDEX)] == [NAME]
    assert below.held == {(Kind.INDEX, NAME): b"old"}


def test_a_pack_that_the_other_place_has_is_read_there() -> None:
    elsewhere = FakeStore()
    elsewhere.save(Kind.DATA, NAME, b"the pack")
    store = Rehearsing(FakeStore(), elsewhere)
    store.save(Kind.DATA, NAME, b"the pack")
    elsewhere.held[Kind.DATA, NAME] = b"THE PACK"
    assert store.load(Kind.DATA, NAME, 4) == b"PACK"
