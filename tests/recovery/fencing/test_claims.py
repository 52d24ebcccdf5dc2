"""What a recovery run does to leases and epochs; on the fake, which has the real one's suite behind it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.claims import Claims
from recovery.fencing.keys import OpenRun, Sync, SyncMode, site_key
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


# --- whether commits wait ------------------------------------------------------------------------------------------


def sync(mode: SyncMode, revision: int = 0, by: str = "birth") -> Sync:
    return Sync(TAX, mode, "2026-09-26T20:00:00.000000Z", "0/3000060", by, revision)


def test_what_etcd_says_of_commits_changes_only_as_it_was_read(claims: Claims) -> None:
    born = claims.put_sync(sync(SyncMode.SYNC))
    assert claims.syncs() == {TAX: born}
    degraded = claims.put_sync(replace(born, mode=SyncMode.ASYNC, by="one"))
    with pytest.raises(Refusal) as caught:
        claims.put_sync(replace(born, mode=SyncMode.ASYNC, by="other"))
    assert caught.value.code == "sync.changed"
    assert "async since 2026-09-26T20:00:00.000000Z by one" in caught.value.why
    assert claims.put_sync(replace(born, mode=SyncMode.ASYNC, by="one")) == degraded  # the same word once more


def test_a_key_that_is_there_already_is_not_born_again(claims: Claims) -> None:
    claims.put_sync(sync(SyncMode.SYNC))
    with pytest.raises(Refusal):
        claims.put_sync(sync(SyncMode.ASYNC))


def test_only_the_site_that_holds_its_lease_and_the_epoch_has_the_say(etcd: FakeEtcd, claims: Claims) -> None:
    with pytest.raises(Refusal, match="holds no lease"):
        claims.put_sync(sync(SyncMode.SYNC), EAST)
    for site in (EAST, WEST):
        etcd.put(site_key(site), "{}")
    with pytest.raises(Refusal, match="not active there"):
        claims.put_sync(sync(SyncMode.SYNC), WEST)
    assert claims.put_sync(sync(SyncMode.SYNC), EAST).mode is SyncMode.SYNC
