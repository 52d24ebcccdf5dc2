"""The receipts' own store: durable, idempotent, bounded by age."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.reports.loss import Dropped
from recovery.loss.store import ReceiptStore
from tests.core.story import NORTH, SOUTH, at
from tests.recovery.loss.world import FINES, TAX, receipt, stream


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ReceiptStore]:
    opened = ReceiptStore(tmp_path / "state" / "receipts.db")
    yield opened
    opened.close()


def test_what_was_kept_is_held_after_a_restart(store: ReceiptStore, tmp_path: Path) -> None:
    store.keep(stream(), [receipt(1), receipt(2, system=FINES)])
    again = ReceiptStore(tmp_path / "state" / "receipts.db")
    assert set(again.held(NORTH, (TAX, FINES), at(0), at(60))) == {receipt(1), receipt(2, system=FINES)}
    assert again.streams(NORTH) == (stream(),)
    again.close()


def test_the_same_batch_twice_is_one(store: ReceiptStore) -> None:
    told = stream(drops=(Dropped(at(1), at(2), 5),))
    for _ in range(2):
        store.keep(told, [receipt(1), receipt(2)])
    assert (store.count(), store.streams(NORTH)) == (2, (told,))


def test_a_gap_told_again_with_more_in_it_has_grown(store: ReceiptStore) -> None:
    small, grown = Dropped(at(1), at(2), 5), Dropped(at(1), at(4), 9)
    for drop in (small, grown, small):
        store.keep(stream(drops=(drop,)), [])
    assert store.streams(NORTH)[0].drops == (grown,)


def test_an_act_acknowledged_with_two_contents_has_two_receipts(store: ReceiptStore) -> None:
    store.keep(stream(), [receipt(1), receipt(1, sha="cd" * 32)])
    assert store.count() == 2


def test_only_what_was_asked_for_is_held(store: ReceiptStore) -> None:
    store.keep(stream(), [receipt(1, 5), receipt(2, 50), receipt(3, 5, FINES), receipt(4, 5, site=SOUTH)])
    assert store.held(NORTH, (TAX,), at(0), at(10)) == (receipt(1, 5),)


def test_a_stream_goes_forward_only(store: ReceiptStore) -> None:
    store.keep(stream(until=30, closed=True), [])
    store.keep(stream(until=20), [])
    assert store.streams(NORTH) == (stream(until=30, closed=True),)
    store.keep(stream(until=40), [])
    assert store.streams(NORTH) == (stream(until=40),)


def test_what_is_old_goes_and_what_is_not_stays(store: ReceiptStore) -> None:
    store.keep(replace(stream(until=5), id="old"), [receipt(1, 1)])
    store.keep(stream(began=10), [receipt(2, 20)])
    assert (store.forget(at(10)), store.forget(at(10))) == (1, 0)
    assert store.held(NORTH, (TAX,), at(0), at(60)) == (receipt(2, 20),)
    assert [each.id for each in store.streams(NORTH)] == ["s1"]


def test_a_store_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "receipts.db").mkdir()
    with pytest.raises(NciaError, match=r"receipts in .*receipts\.db"):
        ReceiptStore(tmp_path / "receipts.db")
