"""Whether commits wait: from each standing to the one right next thing, and etcd never says more than is true."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import WithoutPartner
from recovery.fencing.keys import Sync, SyncMode
from recovery.sync import DEGRADE_AFTER, Action, Decision, Keeper, Memory, Seen, decide, standby_names

NOW = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
WEST = SiteId("west")
NAMES = standby_names(WEST)
COPY = Keeper("west", "streaming", "quorum", 1000, 0.2)
RECEIVER = Keeper("west-receiver", "streaming", "quorum", 1000, 0.2)
SYNC = Sync(SystemId("tax"), SyncMode.SYNC, "2026-09-26T20:00:00.000000Z", "0/100", "birth", 7)
ASYNC = replace(SYNC, mode=SyncMode.ASYNC)
FRESH = Memory()
LONG_ALONE = Memory(alone_since=NOW - DEGRADE_AFTER)


def decided(
    sync: Sync | None,
    seen: Seen,
    memory: Memory = FRESH,
    policy: WithoutPartner = WithoutPartner.DEGRADE,
    now: datetime = NOW,
) -> Decision:
    return decide(WEST, policy, sync, seen, memory, now)


def test_commits_wait_for_the_copy_or_the_receiver_whichever_comes_first() -> None:
    assert NAMES == 'ANY 1 ("west", "west-receiver")'


def test_while_one_of_the_two_keeps_commits_there_is_nothing_to_do() -> None:
    for keeper in (COPY, RECEIVER):
        assert decided(SYNC, Seen(NAMES, 1000, (keeper,)), LONG_ALONE).action is Action.NOTHING


def test_with_both_gone_for_long_enough_it_degrades_where_the_estate_says_so() -> None:
    nobody = Seen(NAMES, 1000, ())
    first = decided(SYNC, nobody)
    assert (first.action, first.memory.alone_since) == (Action.NOTHING, NOW)
    soon = decided(SYNC, nobody, first.memory, now=NOW + DEGRADE_AFTER - timedelta(milliseconds=1))
    assert soon.action is Action.NOTHING
    assert decided(SYNC, nobody, first.memory, now=NOW + DEGRADE_AFTER).action is Action.DEGRADE
    blocks = decided(SYNC, nobody, first.memory, WithoutPartner.BLOCK, NOW + timedelta(days=1))
    assert blocks.action is Action.NOTHING


def test_one_that_streams_but_is_silent_keeps_nothing() -> None:
    seen = Seen(NAMES, 1000, (replace(COPY, silent_seconds=30.0), replace(RECEIVER, state="startup")))
    assert decided(SYNC, seen, LONG_ALONE).action is Action.DEGRADE


def test_a_receiver_that_only_joins_keeps_nothing() -> None:
    joining = replace(RECEIVER, name="west-joining", sync_state="async")
    assert decided(SYNC, Seen(NAMES, 1000, (joining,)), LONG_ALONE).action is Action.DEGRADE


def test_a_task_killed_after_it_told_etcd_goes_on_with_the_clearing() -> None:
    assert decided(ASYNC, Seen(NAMES, 1000, ()), LONG_ALONE).action is Action.CLEAR


def test_commits_found_to_wait_for_nobody_are_told_to_etcd_at_once() -> None:
    for sync in (SYNC, None):
        assert decided(sync, Seen("", 1000, (COPY,))).action is Action.RECORD_ASYNC


def test_a_copy_that_has_caught_up_is_waited_for_again_and_a_receiver_alone_is_not_enough() -> None:
    assert decided(ASYNC, Seen("", 1000, (COPY,))).action is Action.REQUIRE
    assert decided(ASYNC, Seen("", 10_000_000, (COPY,))).action is Action.NOTHING
    assert decided(ASYNC, Seen("", 1000, (RECEIVER,))).action is Action.NOTHING


def test_etcd_says_sync_only_when_the_other_site_has_reached_where_the_primary_was_after_it_began_to_wait() -> None:
    first = decided(ASYNC, Seen(NAMES, 2000, (COPY,)))
    assert (first.action, first.memory.asked) == (Action.NOTHING, 2000)
    behind = decided(ASYNC, Seen(NAMES, 2500, (replace(COPY, flushed=1999),)), first.memory)
    assert (behind.action, behind.memory.asked) == (Action.NOTHING, 2000)
    there = decided(ASYNC, Seen(NAMES, 2500, (replace(COPY, flushed=2000),)), first.memory)
    assert there.action is Action.RECORD_SYNC


def test_a_system_that_etcd_has_never_heard_of_is_recorded_once_it_is_kept() -> None:
    first = decided(None, Seen(NAMES, 1000, (COPY,)))
    assert decided(None, Seen(NAMES, 1000, (COPY,)), first.memory).action is Action.RECORD_SYNC


keepers = st.builds(
    Keeper,
    st.sampled_from(["west", "west-receiver", "west-joining", "stranger"]),
    st.sampled_from(["streaming", "catchup", "startup"]),
    st.sampled_from(["quorum", "sync", "async"]),
    st.integers(0, 5000),
    st.floats(0, 60),
)
sights = st.builds(Seen, st.sampled_from(["", NAMES]), st.integers(0, 5000), st.lists(keepers, max_size=3).map(tuple))


@given(st.lists(st.tuples(sights, st.floats(0, 20)), max_size=30), st.sampled_from(list(WithoutPartner)))
def test_whatever_is_seen_commits_are_never_let_go_before_etcd_knows(
    story: list[tuple[Seen, float]], policy: WithoutPartner
) -> None:
    sync, memory, now = SYNC, Memory(), NOW
    for seen, seconds in story:
        now += timedelta(seconds=seconds)
        decision = decide(WEST, policy, sync, seen, memory, now)
        memory = decision.memory
        if decision.action is Action.CLEAR:
            assert sync.mode is SyncMode.ASYNC
        if decision.action in (Action.CLEAR, Action.DEGRADE):
            assert policy is WithoutPartner.DEGRADE
        if decision.action is Action.RECORD_SYNC:
            assert seen.names
            assert any(k.name in ("west", "west-receiver") and k.keeps for k in seen.keepers)
            sync = replace(sync, mode=SyncMode.SYNC)
        if decision.action in (Action.DEGRADE, Action.RECORD_ASYNC):
            sync = replace(sync, mode=SyncMode.ASYNC)
