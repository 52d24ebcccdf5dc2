"""Names and positions of WAL."""

from __future__ import annotations

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.base.lsn import lsn_number, lsn_text
from recovery.receiving.wal import Segment, last_record, needless, segment_of, slot_name, unbroken

MB = 1 << 20


def segment(number: int, *, partial: bool = False, timeline: int = 1) -> Segment:
    found = segment_of(f"{timeline:08X}00000000{number:08X}" + (".partial" if partial else ""), MB)
    assert found is not None
    return found


def test_a_position_is_read_and_spelled_as_postgresql_does() -> None:
    assert lsn_number("0/3000060") == 0x3000060
    assert lsn_number("1A/0") == 0x1A << 32
    assert lsn_text(lsn_number("1A/FF")) == "1A/FF"


@pytest.mark.parametrize("text", ["", "3000060", "0/", "x/y"])
def test_what_is_no_position_is_told(text: str) -> None:
    with pytest.raises(NciaError, match="WAL position"):
        lsn_number(text)


def test_a_segments_name_says_where_it_begins() -> None:
    assert segment(0xA7).start == 0xA7 * MB
    assert segment(0xA7).end == segment(0xA8).start
    found = segment_of("000000030000000200000001", 16 * MB)
    assert found is not None
    assert (found.timeline, found.start) == (3, 0x200000000 + 16 * MB)


def test_other_files_and_empty_ones_are_no_segments() -> None:
    assert segment_of("00000002.history", 41) is None
    assert segment_of("000000010000000000000001", 0) is None
    assert segment_of("000000010000000000000001.tmp", MB) is None


def test_only_the_newest_row_without_a_gap_can_be_replayed() -> None:
    held = [segment(1), segment(2), segment(4), segment(5), segment(6, partial=True)]
    assert unbroken(held) == (segment(4), segment(5), segment(6, partial=True))


def test_a_segment_held_whole_and_in_part_counts_as_the_whole_one() -> None:
    assert unbroken([segment(1), segment(1, partial=True)]) == (segment(1),)


def test_nothing_is_needless_that_the_standby_has_not_replayed_and_never_the_newest() -> None:
    held = [segment(n) for n in range(1, 6)] + [segment(6, partial=True)]
    assert needless(held, segment(4).end, 2) == (segment(1), segment(2))
    assert needless(held, segment(2).start, 2) == ()
    assert needless(held, segment(6).end, 0) == tuple(held[:-1])


def test_the_last_line_that_names_a_record_is_the_last_record() -> None:
    told = [
        "rmgr: Heap len (rec/tot): 59/59, tx: 7, lsn: 0/01D01EF0, prev 0/01D01EB8, desc: INSERT",
        "rmgr: Transaction len (rec/tot): 34/34, tx: 7, lsn: 0/01D01F30, prev 0/01D01EF0, desc: COMMIT",
        "pg_waldump: error: error in WAL record at 0/1D01F30: invalid record length at 0/1D01F58",
    ]
    assert last_record(told) == 0x1D01F30
    assert last_record(["pg_waldump: error: could not find a valid record after 0/1D01F58"]) is None


def test_a_slot_has_a_name_that_postgresql_allows() -> None:
    assert slot_name(SiteId("north-2")) == "north_2_receiver"
