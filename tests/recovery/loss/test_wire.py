"""What a front door may say, and one clear sentence for what it may not."""

from typing import Any

import pytest

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from recovery.loss.wire import RECEIPTS_PER_BATCH_MAX, batch_of
from tests.core.story import NORTH, SOUTH, at
from tests.recovery.loss.world import DOOR, ESTATE, SHA, act_id, batch, receipt


def test_a_batch_is_read_with_the_agency_that_owns_the_system_now() -> None:
    read = batch_of(batch(), ESTATE, SOUTH)
    assert read.receipts == (receipt(1),)
    assert (read.stream.door, read.stream.served_by, read.stream.complete_until) == (DOOR, NORTH, at(60))


def test_what_a_full_spool_let_go_of_comes_with_its_count() -> None:
    drop = {"since": to_text(at(1)), "until": to_text(at(2)), "count": 7}
    assert batch_of(batch(drops=[drop]), ESTATE, SOUTH).stream.drops[0].count == 7


LINE = [act_id(1), SHA, "tax", 1, to_text(at(1))]
BAD: tuple[tuple[dict[str, Any], str], ...] = (
    ({"door": "elsewhere"}, "'elsewhere' is no public site"),
    ({"door": "north"}, "'north' is no public site"),
    ({"served_by": "south"}, "south keeps the receipts of north, not of 'south'"),
    ({"receipts": [[*LINE[:2], "nothing", *LINE[3:]]]}, "no system nothing in the estate"),
    ({"receipts": [["1; drop table", *LINE[1:]]]}, "receipts.0.0"),
    ({"receipts": [[LINE[0], "beef", *LINE[2:]]]}, "receipts.0.1"),
    ({"receipts": [[*LINE[:4], "2026-01-01T00:00:00"]]}, "receipts.0.4"),
    ({"receipts": [LINE] * (RECEIPTS_PER_BATCH_MAX + 1)}, "at most 1000 items"),
    ({"complete_until": "yesterday"}, "complete_until"),
    ({"note": "x"}, "note"),
    ({"drops": [{"since": to_text(at(1)), "until": to_text(at(2)), "count": 0}]}, "drops.0.count"),
)


@pytest.mark.parametrize(("more", "why"), BAD)
def test_a_bad_batch_is_refused_whole_with_its_place(more: dict[str, Any], why: str) -> None:
    with pytest.raises(NciaError, match="take receipts") as refused:
        batch_of(batch(**more), ESTATE, SOUTH)
    assert why in refused.value.why
