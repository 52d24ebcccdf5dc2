from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry, make_entry
from ncia.core.journal.merge import merge
from tests.core.journal.sites import EAST, EPOCH, PEER, WEST, said


@dataclass
class Logs:
    """Two logs as two sites write them, whose clocks differ."""

    written: dict[SiteId, list[Entry]] = field(default_factory=lambda: {EAST: [], WEST: []})
    seen: dict[SiteId, int] = field(default_factory=lambda: {EAST: 0, WEST: 0})

    def write(self, site: SiteId, millisecond: int) -> None:
        own = self.written[site]
        at = EPOCH + timedelta(milliseconds=millisecond)
        own.append(make_entry(site, len(own), at, "tester", self.seen[site], said(f"{site} {len(own)}")))

    def pull(self, site: SiteId, count: int) -> None:
        self.seen[site] = min(len(self.written[PEER[site]]), self.seen[site] + count)

    def merged(self) -> list[Entry]:
        return list(merge({site: iter(log) for site, log in self.written.items()}))


ACTS = st.lists(
    st.tuples(st.sampled_from(["write", "pull"]), st.sampled_from([EAST, WEST]), st.integers(0, 5)), max_size=60
)


def logs_of(acts: list[tuple[str, SiteId, int]]) -> Logs:
    logs = Logs()
    for act, site, number in acts:
        if act == "write":
            logs.write(site, number)
        else:
            logs.pull(site, number)
    return logs


@given(ACTS)
def test_every_entry_comes_once_and_after_all_that_its_writer_had_seen(acts: list) -> None:
    logs = logs_of(acts)
    passed = {EAST: 0, WEST: 0}
    for entry in logs.merged():
        assert passed[entry.site] == entry.number
        assert passed[PEER[entry.site]] >= entry.peer_seen
        passed[entry.site] += 1
    assert {site: len(log) for site, log in logs.written.items()} == passed


@given(ACTS)
def test_the_order_is_a_function_of_the_logs_alone(acts: list) -> None:
    logs = logs_of(acts)
    turned = merge({site: iter(logs.written[site]) for site in (WEST, EAST)})
    assert logs.merged() == list(turned)


@given(ACTS, st.data())
def test_a_merge_goes_on_from_any_cursor(acts: list, data: st.DataObject) -> None:
    logs = logs_of(acts)
    whole = logs.merged()
    cut = data.draw(st.integers(0, len(whole)))
    passed = {site: sum(entry.site == site for entry in whole[:cut]) for site in PEER}
    rest = merge({site: iter(log[passed[site] :]) for site, log in logs.written.items()}, passed)
    assert whole[cut:] == list(rest)


def test_entries_that_saw_nothing_of_each_other_go_by_time_then_site() -> None:
    logs = Logs()
    logs.write(WEST, 1)
    logs.write(EAST, 2)
    logs.write(WEST, 2)
    assert [(entry.site, entry.number) for entry in logs.merged()] == [(WEST, 0), (EAST, 0), (WEST, 1)]


def test_what_was_seen_comes_first_whatever_the_clocks_say() -> None:
    logs = Logs()
    logs.write(WEST, 900)
    logs.pull(EAST, 1)
    logs.write(EAST, 1)
    assert [entry.site for entry in logs.merged()] == [WEST, EAST]


def test_two_entries_that_each_claim_to_have_seen_the_other_are_a_fault() -> None:
    east = make_entry(EAST, 0, EPOCH, "tester", 1, said("x"))
    west = make_entry(WEST, 0, EPOCH, "tester", 1, said("y"))
    with pytest.raises(NciaError) as refused:
        list(merge({EAST: iter([east]), WEST: iter([west])}))
    assert refused.value.code == "journal.causal-loop"


def test_what_the_other_log_no_longer_holds_is_not_waited_for() -> None:
    entry = make_entry(EAST, 0, EPOCH, "tester", 7, said("x"))
    assert [entry] == list(merge({EAST: iter([entry]), WEST: iter([])}))
