"""Each kind of step: done twice it is the same, its check sees what its do did, and what it refuses it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, NoQuorum, Refusal, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.keys import Sync, SyncMode
from recovery.ports import Position
from recovery.runbook import load_runbook
from recovery.step import Target
from recovery.steps import KINDS
from tests.fakes.world import FakePatience, FakeWorld, Meanwhile
from tests.recovery.scene import LOST, RUNBOOKS, SURVIVOR, estate

SHARE = SystemId("share")
RUNBOOK = load_runbook(RUNBOOKS, "site_failover")
IN_ORDER = [step.kind for step in (*RUNBOOK.before, *RUNBOOK.each_system)]
TTL_SECONDS = 10.0


class Bench:
    """One system of a burnt site, its steps done by hand."""

    def __init__(self) -> None:
        self.fake = FakeWorld(estate(), SURVIVOR)
        self.fake.burn(LOST)
        self.world = self.fake.world()
        self.patience = FakePatience(self.fake)
        epoch = self.fake.claims.epochs()[SHARE]
        self.target = Target(
            run=RunId("run-1"),
            lost_site=LOST,
            site=SURVIVOR,
            lease_ttl_seconds=TTL_SECONDS,
            timeout_seconds=30.0,
            system=SHARE,
            epoch=2,
            mod_revision=epoch.mod_revision,
        )

    def check(self, kind: str) -> str | None:
        done = KINDS[kind].check(self.world, self.target, self.patience)
        return done.evidence if done else None

    def do(self, kind: str) -> Mapping[str, Any]:
        return KINDS[kind].do(self.world, self.target, self.patience).measured

    def all_before(self, kind: str) -> None:
        for earlier in IN_ORDER[: IN_ORDER.index(kind)]:
            self.do(earlier)


SEEN_ONLY_BY_DOING = {"verify_application", "drain_receiver"}
TRUE_FROM_THE_START = {"verify_outside"}  # the switch before it has done the work
FOLLOWS_BY_ITSELF = {"refresh_gate"}  # a warden's own pass may come first


@pytest.mark.parametrize("kind", [k for k in IN_ORDER if k not in SEEN_ONLY_BY_DOING | TRUE_FROM_THE_START])
def test_a_check_sees_that_its_step_is_not_done_and_then_that_it_is(kind: str) -> None:
    bench = Bench()
    bench.all_before(kind)
    if kind not in FOLLOWS_BY_ITSELF:
        assert bench.check(kind) is None
    bench.do(kind)
    assert bench.check(kind)


@pytest.mark.parametrize("kind", IN_ORDER)
def test_a_step_done_twice_leaves_the_world_as_done_once(kind: str) -> None:
    bench = Bench()
    bench.all_before(kind)
    bench.do(kind)
    once = (bench.fake.claims.epochs(), bench.fake.claims.runs(), dict(bench.fake.positions))
    bench.do(kind)
    assert (bench.fake.claims.epochs(), bench.fake.claims.runs(), dict(bench.fake.positions)) == once


def test_closing_gives_the_site_back_its_word_and_twice_is_once() -> None:
    bench = Bench()
    for kind in IN_ORDER:
        bench.do(kind)
    assert bench.check("close_run") is None
    bench.do("close_run")
    bench.do("close_run")
    assert bench.check("close_run")
    assert bench.fake.claims.runs() == {}


def test_the_fence_tells_when_the_lease_was_seen_gone() -> None:
    bench = Bench()
    began = bench.fake.now()
    assert bench.do("fence")["lease_expired_seen_at"] > began.isoformat()[:19]


def test_the_fence_refuses_where_the_lost_site_goes_on_renewing() -> None:
    bench = Bench()
    bench.fake.sides[LOST].alive = True
    with pytest.raises(Refusal, match="that site lives; nothing was promoted"):
        bench.do("fence")


def test_the_fence_waits_anew_after_each_election_which_starts_the_lease_of_a_lost_site_anew() -> None:
    bench = Bench()
    began = bench.patience.boottime_ns()
    at = [int(seconds * 1e9) for seconds in (8, 16, 24, 32)]  # the last one after the step's own time

    def elect() -> None:
        if at and bench.patience.boottime_ns() - began >= at[0]:
            at.pop(0)
            bench.fake.etcd.elect()

    bench.patience = Meanwhile(bench.fake, elect)
    bench.do("fence")
    assert bench.patience.boottime_ns() - began > bench.target.timeout_seconds * 1e9


def test_the_fence_outlasts_an_election_and_gives_up_without_a_quorum() -> None:
    bench = Bench()
    bench.fake.etcd.quorum = False
    with pytest.raises(NoQuorum):
        bench.do("fence")


def test_confirmations_are_held_until_the_last_one_has_lapsed() -> None:
    bench = Bench()
    bench.fake.sides[SURVIVOR].last_confirmation_ns = bench.fake.now_ns - 2_000_000_000
    waited = bench.do("hold_confirmations")["waited_seconds"]
    assert 7.9 < waited <= 8.0


def test_a_claim_is_refused_while_the_lost_site_holds_its_lease() -> None:
    bench = Bench()
    with pytest.raises(Refusal) as caught:
        bench.do("claim_epoch")
    assert caught.value.code == "fencing.lease-held"


@pytest.mark.parametrize("kind", ["promote", "clear_synchronous"])
def test_what_cannot_be_undone_is_refused_without_the_claim(kind: str) -> None:
    bench = Bench()
    with pytest.raises(Refusal) as caught:
        bench.do(kind)
    assert caught.value.code == "recovery.not-claimed"


@pytest.mark.parametrize("kind", ["promote", "clear_synchronous"])
def test_what_cannot_be_undone_is_not_done_without_a_quorum(kind: str) -> None:
    bench = Bench()
    bench.all_before(kind)
    bench.fake.etcd.quorum = False
    with pytest.raises(NoQuorum):
        bench.do(kind)


def test_an_application_that_cannot_write_is_told_with_its_last_word() -> None:
    bench = Bench()
    bench.all_before("clear_synchronous")
    with pytest.raises(NciaError, match="commits wait for a partner that is gone"):
        bench.do("verify_application")


def test_traffic_is_not_switched_back_from_a_newer_epoch() -> None:
    bench = Bench()
    bench.all_before("switch_traffic")
    bench.fake.positions[SHARE] = Position(LOST, 3)
    with pytest.raises(Refusal):
        bench.do("switch_traffic")


def test_an_answer_of_the_old_site_is_no_proof_from_outside() -> None:
    bench = Bench()
    bench.all_before("switch_traffic")
    with pytest.raises(NciaError, match="not within"):
        bench.do("verify_outside")


# --- the receiver --------------------------------------------------------------------------------------------------


def test_what_only_the_receiver_holds_is_given_to_the_copy_which_is_detached_for_it() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    server, receiver = bench.fake.servers[SHARE, SURVIVOR], bench.fake.receivers[SHARE]
    receiver.last = server.replayed + 0x500
    assert bench.do("drain_receiver")["read_from_receiver"] is True
    assert (server.detached, receiver.handed_over) == (True, True)
    assert server.replayed > receiver.last


def test_a_copy_that_has_all_is_not_detached() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    assert bench.do("drain_receiver")["read_from_receiver"] is False
    assert not bench.fake.servers[SHARE, SURVIVOR].detached


def test_taking_the_drain_back_lets_both_follow_again() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    bench.fake.receivers[SHARE].last += 0x500
    bench.do("drain_receiver")
    undo = KINDS["drain_receiver"].undo
    assert undo is not None
    undo(bench.world, bench.target)
    assert (bench.fake.servers[SHARE, SURVIVOR].detached, bench.fake.receivers[SHARE].handed_over) == (False, False)


def test_a_copy_that_cannot_replay_it_is_refused_with_both_positions_and_goes_on_where_a_person_accepted_that() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    bench.fake.receivers[SHARE].last = 0x5000000
    bench.fake.servers[SHARE, SURVIVOR].reads_handed = False
    with pytest.raises(Refusal) as caught:
        bench.do("drain_receiver")
    assert caught.value.code == "recovery.not-drained"
    assert "0/3000000" in caught.value.why
    assert "0/5000000" in caught.value.why
    assert caught.value.override == "--accept-loss share=REASON"
    bench.target = replace(bench.target, accepted="its disk is gone")
    assert "read_from_receiver" not in bench.do("drain_receiver")


def test_receivers_that_do_not_answer_stop_the_step_unless_their_loss_was_accepted() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    bench.fake.receivers[SHARE].alive = False
    with pytest.raises(Unreachable):
        bench.do("drain_receiver")
    bench.target = replace(bench.target, accepted="the host is gone")
    bench.do("drain_receiver")


def test_a_receiver_whose_loss_is_accepted_and_that_is_started_anew_is_waited_for() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    receiver = bench.fake.receivers[SHARE]
    receiver.last, receiver.alive = bench.fake.servers[SHARE, SURVIVOR].replayed + 0x500, False
    bench.target = replace(bench.target, accepted="its documents are gone")

    def starts() -> None:
        receiver.alive = True

    bench.patience = Meanwhile(bench.fake, starts)
    assert bench.do("drain_receiver")["read_from_receiver"] is True


def test_a_plan_that_promised_nothing_lost_is_refused_where_commits_ceased_to_wait_since() -> None:
    bench = Bench()
    bench.all_before("drain_receiver")
    bench.target = replace(bench.target, loss_how="synchronous")
    sync = bench.fake.claims.syncs()[SHARE]
    bench.fake.claims.put_sync(replace(sync, mode=SyncMode.ASYNC, since="2026-09-26T20:00:00.000000Z"))
    with pytest.raises(Refusal) as caught:
        bench.do("drain_receiver")
    assert caught.value.code == "recovery.loss-unplanned"
    assert "since 2026-09-26T20:00:00.000000Z" in caught.value.why


def test_clearing_says_in_etcd_first_that_commits_wait_for_nobody() -> None:
    bench = Bench()
    bench.all_before("clear_synchronous")
    bench.fake.calls.clear()
    bench.do("clear_synchronous")
    sync = bench.fake.claims.syncs()[SHARE]
    assert (sync.mode, sync.by) == (SyncMode.ASYNC, "run-1")
    told = [call.split("(")[0] for call in bench.fake.calls]
    assert told.index("claims.put_sync") < told.index("databases.clear_synchronous")


@pytest.mark.parametrize("theirs", [SyncMode.ASYNC, SyncMode.SYNC])
def test_clearing_goes_on_where_the_sites_own_task_wrote_between_its_look_and_its_word(theirs: SyncMode) -> None:
    bench = Bench()
    bench.all_before("clear_synchronous")
    claims, ours = bench.fake.claims, bench.fake.claims.put_sync

    def late(sync: Sync, held_by: SiteId | None = None) -> Sync:
        claims.put_sync = ours  # type: ignore[method-assign]
        ours(replace(sync, mode=theirs, since="2026-09-26T20:00:00.000000Z", by="sync at there"))
        return ours(sync, held_by)

    claims.put_sync = late  # type: ignore[method-assign]
    bench.do("clear_synchronous")
    assert claims.syncs()[SHARE].mode is SyncMode.ASYNC
    assert bench.fake.servers[SHARE, SURVIVOR].waits_for == ""
