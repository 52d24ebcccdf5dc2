"""Receipts that wait: kept through a kill, counted where they could not be."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ncia.core.base.clock import to_text
from ncia.lab.citizens.spool import DROPPED_AT_ONCE, Line, Spool

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def line(number: int) -> Line:
    return (f"act-{number}", "ab", "share", 1, to_text(at(number)))


def opened(folder: Path, boot: str = "boot-1", seconds: float = 0, receipts_max: int = 100_000) -> Spool:
    return Spool(folder, at(seconds), boot, receipts_max)


def test_receipts_come_out_in_order_and_are_gone_when_delivered(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    assert [spool.put(line(n)) for n in (1, 2, 3)] == [1, 2, 3]
    batch = spool.batch(2, at(9))
    assert (batch.lines, batch.upto, batch.voucher.complete_until) == ([line(1), line(2)], 2, to_text(at(3)))
    spool.delivered(batch)
    rest = spool.batch(2, at(9))
    assert (rest.lines, rest.voucher.complete_until) == ([line(3)], to_text(at(9)))
    spool.delivered(rest)
    assert (len(spool), (tmp_path / "receipts.jsonl").read_bytes()) == (0, b"")


def test_a_door_that_was_killed_goes_on_with_its_stream_and_its_receipts(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.put(line(1))
    again = opened(tmp_path, seconds=50)
    batch = again.batch(10, at(60))
    assert (batch.lines, batch.voucher.began_at) == ([line(1)], to_text(at(0)))
    assert batch.voucher.stream == first.batch(10, at(60)).voucher.stream


def test_half_a_line_left_by_a_kill_is_no_receipt(tmp_path: Path) -> None:
    opened(tmp_path).put(line(1))
    with (tmp_path / "receipts.jsonl").open("ab") as file:
        file.write(json.dumps(line(2)).encode()[:20])
    again = opened(tmp_path)
    again.put(line(3))
    assert opened(tmp_path).batch(10, at(9)).lines == [line(1), line(3)]


def test_after_a_new_start_of_the_machine_another_stream_begins_and_the_receipts_are_still_sent(tmp_path: Path) -> None:
    first = opened(tmp_path)
    first.put(line(1))
    again = opened(tmp_path, "boot-2", seconds=50)
    batch = again.batch(10, at(60))
    assert (batch.lines, batch.voucher.began_at) == ([line(1)], to_text(at(50)))
    assert batch.voucher.stream != first.batch(10, at(60)).voucher.stream


def test_a_full_spool_lets_go_of_the_oldest_and_counts_them(tmp_path: Path) -> None:
    spool = opened(tmp_path, receipts_max=DROPPED_AT_ONCE + 10)
    for number in range(DROPPED_AT_ONCE + 11):
        spool.put(line(number))
    gone = {"since": to_text(at(0)), "until": to_text(at(DROPPED_AT_ONCE - 1)), "count": DROPPED_AT_ONCE}
    batch = opened(tmp_path).batch(100, at(9999))
    assert (len(batch.lines), batch.lines[0], batch.voucher.drops) == (11, line(DROPPED_AT_ONCE), (gone,))
    again = opened(tmp_path)
    again.delivered(again.batch(100, at(9999)))
    assert again.batch(100, at(9999)).voucher.drops == ()
    assert opened(tmp_path).batch(100, at(9999)).voucher.drops == ()


def test_what_was_dropped_while_its_batch_was_under_way_takes_no_other_receipt_with_it(tmp_path: Path) -> None:
    spool = opened(tmp_path, receipts_max=DROPPED_AT_ONCE)
    for number in range(DROPPED_AT_ONCE):
        spool.put(line(number))
    batch = spool.batch(10, at(9999))
    spool.put(line(DROPPED_AT_ONCE))
    spool.delivered(batch)
    assert spool.batch(10, at(9999)).lines == [line(DROPPED_AT_ONCE)]
