"""What a recovery run does to leases and epochs; on the fake, which has the real one's suite behind it."""

from __future__ import annotations

import pytest

from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.claims import Claims
from recovery.fencing.keys import OpenRun, site_key
from tests.fakes.etcd import FakeEtcd

EAST, WEST = SiteId("east"), SiteId("west")
TAX = SystemId("tax")
RUN, OTHER = RunId("run-1"), RunId("run-2")


@pytest.fixture
def etcd() -> FakeEtcd:
    return FakeEtcd()


@pytest.fixture
def claims(etcd: FakeEtcd) -> Claims:
    claims = Claims(etcd)
    claims.birth(TAX, EAST)
    return claims


def test_a_system_is_born_once(claims: Claims) -> None:
    assert (claims.birth(TAX, WEST).epoch, claims.birth(TAX, WEST).site) == (1, EAST)


def test_a_lease_is_held_or_not(etcd: FakeEtcd, claims: Claims) -> None:
    assert not claims.lease_state(EAST).held
    etcd.put(site_key(EAST), '{"warden": "w", "since": "then"}')
    state = claims.lease_state(EAST)
    assert (state.held, state.warden, state.since) == (True, "w", "then")


def test_a_claim_raises_the_epoch_and_moves_the_system(claims: Claims) -> None:
    claimed = claims.claim_epoch(TAX, EAST, WEST, claims.epochs()[TAX].mod_revision, RUN)
    assert (claimed.epoch, claimed.site, claimed.run) == (2, WEST, RUN)
    assert claims.epochs() == {TAX: claimed}


def test_a_claim_made_twice_by_one_run_counts_once(claims: Claims) -> None:
    revision = claims.epochs()[TAX].mod_revision
    first = claims.claim_epoch(TAX, EAST, WEST, revision, RUN)
    assert claims.claim_epoch(TAX, EAST, WEST, revision, RUN) == first


def test_a_claim_against_a_held_lease_is_refused(etcd: FakeEtcd, claims: Claims) -> None:
    etcd.put(site_key(EAST), '{"warden": "w"}')
    with pytest.raises(Refusal, match="east holds its lease") as caught:
        claims.claim_epoch(TAX, EAST, WEST, claims.epochs()[TAX].mod_revision, RUN)
    assert caught.value.code == "fencing.lease-held"
    assert claims.epochs()[TAX].epoch == 1


def test_a_claim_on_an_epoch_that_moved_since_the_plan_is_refused(claims: Claims) -> None:
    revision = claims.epochs()[TAX].mod_revision
    claims.claim_epoch(TAX, EAST, WEST, revision, OTHER)
    with pytest.raises(Refusal, match="epoch 2 is already at west by run-2") as caught:
        claims.claim_epoch(TAX, EAST, WEST, revision, RUN)
    assert caught.value.code == "fencing.epoch-moved"


def test_a_claim_on_a_system_without_an_epoch_is_refused(claims: Claims) -> None:
    with pytest.raises(Refusal, match="no epoch"):
        claims.claim_epoch(SystemId("unborn"), EAST, WEST, 1, RUN)


def test_without_quorum_nothing_is_claimed_and_it_says_so(etcd: FakeEtcd, claims: Claims) -> None:
    revision = claims.epochs()[TAX].mod_revision
    etcd.quorum = False
    with pytest.raises(NoQuorum, match="no quorum"):
        claims.claim_epoch(TAX, EAST, WEST, revision, RUN)


def test_a_run_is_opened_once_taken_over_and_closed(claims: Claims) -> None:
    assert claims.open_run(EAST, RUN, WEST) == claims.open_run(EAST, RUN, WEST) == OpenRun(EAST, RUN, WEST)
    claims.open_run(EAST, RUN, EAST)
    assert claims.runs() == {EAST: OpenRun(EAST, RUN, EAST)}
    claims.close_run(EAST, RUN)
    claims.close_run(EAST, RUN)
    assert claims.runs() == {}


def test_a_second_run_against_a_site_is_refused_and_cannot_close_the_first(claims: Claims) -> None:
    claims.open_run(EAST, RUN, WEST)
    with pytest.raises(Refusal, match="run run-1 of west is open"):
        claims.open_run(EAST, OTHER, WEST)
    claims.close_run(EAST, OTHER)
    assert claims.runs()[EAST].run == RUN
