"""Each kind of step: done twice it is the same, its check sees what its do did, and what it refuses it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ncia.core.base.errors import NciaError, NoQuorum, Refusal
from ncia.core.base.ids import RunId, SystemId
from recovery.ports import Position
from recovery.step import Target
from recovery.steps import KINDS
from tests.fakes.world import FakePatience, FakeWorld
from tests.recovery.scene import LOST, SURVIVOR, estate

SHARE = SystemId("share")
IN_ORDER = [kind for kind in KINDS if kind != "close_run"]
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
