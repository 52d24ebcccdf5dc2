"""The warden's passes on an etcd in memory, a clock that the test moves, and a peer that the test speaks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ncia.core.base.errors import NoQuorum, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.claims import Claims, confirmations_lapse_seconds
from recovery.fencing.etcd import Compare, EtcdClient, Lease, Operation, Outcome, Put
from recovery.fencing.files import GATE_FILE, LEASE_FILE, GateFile, LeaseFile, Standing, read, replace
from recovery.fencing.keys import OpenRun, run_key, site_key
from recovery.fencing.lease import Policy
from recovery.fencing.warden import Confirmation, Warden
from tests.fakes.etcd import FakeEtcd

EAST, WEST = SiteId("east"), SiteId("west")
TAX = SystemId("tax")
SECOND = 1_000_000_000
TTL = 10


class Clock:
    def __init__(self) -> None:
        self.ns = 1000 * SECOND

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.ns // 1000)

    def boottime_ns(self) -> int:
        return self.ns

    def advance(self, seconds: float) -> None:
        self.ns += int(seconds * SECOND)


@dataclass
class Peer:
    """Says what the test set, or does not answer."""

    answer: Confirmation | None = None
    asked: list[SiteId] = field(default_factory=list)

    def confirm(self, asker: SiteId) -> Confirmation:
        self.asked.append(asker)
        if self.answer is None:
            raise Unreachable("fencing.no-peer", "ask the peer", "it does not answer")
        return self.answer


class Site:
    """A warden of ``east`` with a gate that shuts as soon as lease.json tells it (or is frozen)."""

    def __init__(self, folder: Path) -> None:
        self.run = folder
        self.clock = Clock()
        self.etcd = FakeEtcd(self.clock.boottime_ns)
        self.claims = Claims(self.etcd)
        self.claims.birth(TAX, EAST)
        self.peer = Peer()
        self.gate_lives = True
        self.warden = self.restart()

    def restart(self, etcd: EtcdClient | None = None, identity: str = "w1") -> Warden:
        self.warden = Warden(
            Policy(EAST, WEST, TTL), etcd or self.etcd, self.peer, self.clock, self.run, self.run, identity,
            boot="boot", wait=self.gate_looks,
        )  # fmt: skip
        return self.warden

    def gate_looks(self, seconds: float) -> None:
        self.clock.advance(seconds)
        lease = self.lease()
        if self.gate_lives:
            passing = (TAX,) if lease.deadline_of(TAX) > self.clock.ns else ()
            said = GateFile(lease.version, "boot", 1, self.clock.ns, passing, None)
            replace(self.run / GATE_FILE, said.to_json())

    def lease(self) -> LeaseFile:
        found = read(self.run / LEASE_FILE, LeaseFile.from_json)
        assert found is not None
        return found

    def holds(self) -> bool:
        return self.claims.lease_state(EAST).held

    def seconds_left(self) -> float:
        return (self.lease().deadline_boottime_ns - self.clock.ns) / SECOND


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_before_its_first_pass_a_warden_says_fenced(site: Site) -> None:
    assert site.lease().deadline_boottime_ns == 0
    assert site.lease().reason.startswith("fenced: the warden has only just started")


def test_the_first_pass_takes_the_lease_and_reads_the_epochs(site: Site) -> None:
    site.warden.once()
    assert site.holds()
    assert site.seconds_left() == 9.5
    assert site.lease().systems == {TAX: Standing(1, EAST)}


def test_each_pass_lengthens_the_deadline_and_raises_the_version(site: Site) -> None:
    first = site.warden.once()
    site.clock.advance(2)
    second = site.warden.once()
    assert second.deadline_boottime_ns - first.deadline_boottime_ns == 2 * SECOND
    assert second.version == first.version + 1


def test_a_key_held_by_another_warden_is_waited_for(site: Site) -> None:
    lease = site.etcd.grant(TTL)
    site.etcd.put(site_key(EAST), json.dumps({"warden": "stranger"}), lease.id)
    assert site.warden.once().deadline_boottime_ns == 0
    assert "stranger holds it until it expires" in site.lease().reason
    site.clock.advance(TTL)
    site.warden.once()
    assert site.seconds_left() == 9.5


def test_a_restarted_warden_carries_on_with_its_lease(site: Site) -> None:
    first = site.warden.once()
    key = site.etcd.get(site_key(EAST))
    site.clock.advance(3)
    again = site.restart(identity="w2").once()
    assert (again.warden, again.version) == ("w1", first.version + 1)
    assert site.etcd.get(site_key(EAST)) == key
    assert site.seconds_left() == 9.5


def test_a_warden_of_another_boot_believes_nothing_of_the_files(site: Site) -> None:
    site.warden.once()
    other = Warden(
        Policy(EAST, WEST, TTL), site.etcd, site.peer, site.clock, site.run, site.run, "w2", boot="next boot"
    )
    assert site.lease().deadline_boottime_ns == site.lease().granted_until_boottime_ns == 0
    assert other.once().deadline_boottime_ns == 0  # the key of the boot before is still there
    site.clock.advance(TTL)
    assert other.once().deadline_boottime_ns > 0


def test_after_an_election_the_key_moves_to_a_lease_of_the_new_term(site: Site) -> None:
    site.warden.once()
    before = site.etcd.get(site_key(EAST))
    site.etcd.elect()
    site.clock.advance(2)
    site.warden.once()
    after = site.etcd.get(site_key(EAST))
    assert before is not None
    assert after is not None
    assert before.lease != after.lease
    assert site.seconds_left() == 9.5
    assert site.etcd.keepalive(before.lease) == 0


def test_a_warden_that_overslept_takes_the_lease_again_where_nothing_moved(site: Site) -> None:
    site.warden.once()
    site.clock.advance(60)
    assert not site.holds()
    site.warden.once()
    assert site.holds()
    assert site.seconds_left() == 9.5


def test_a_warden_that_overslept_a_takeover_finds_its_system_elsewhere(site: Site) -> None:
    site.warden.once()
    site.clock.advance(60)
    site.claims.claim_epoch(TAX, EAST, WEST, site.claims.epochs()[TAX].mod_revision, RunId("r"))
    written = site.warden.once()
    assert written.systems[TAX] == Standing(2, WEST)
    assert written.deadline_of(TAX) == 0


def test_an_open_run_fences_first_and_then_gives_the_lease_back(site: Site) -> None:
    site.warden.once()
    site.claims.open_run(EAST, RunId("r"), WEST)
    written = site.warden.once()
    assert written.deadline_boottime_ns == 0
    assert written.reason == "fenced: recovery run r of west is open against this site"
    assert not site.holds()


def test_a_lease_is_not_given_back_while_the_gate_is_silent(site: Site) -> None:
    deadline = site.warden.once().deadline_boottime_ns
    site.gate_lives = False
    site.claims.open_run(EAST, RunId("r"), WEST)
    site.warden.once()
    while site.holds():
        site.clock.advance(0.1)
        site.warden.once()
    assert site.clock.ns > deadline


def test_a_gate_that_has_read_the_order_but_still_lets_somebody_pass_is_not_believed(site: Site) -> None:
    site.warden.once()
    site.gate_lives = False
    replace(site.run / GATE_FILE, GateFile(99, "boot", 1, site.clock.ns, (TAX,), None).to_json())
    site.claims.open_run(EAST, RunId("r"), WEST)
    site.warden.once()
    assert site.holds()


def test_what_a_run_or_a_person_ordered_outlives_a_restart_of_the_machine(site: Site) -> None:
    site.warden.once()
    site.warden.stop_confirming()
    site.warden._change(fence_order="drill")
    other = Warden(Policy(EAST, WEST, TTL), site.etcd, site.peer, site.clock, site.run, site.run, "w2", boot="next")
    assert other.once().reason == "fenced by order: drill"
    assert not other.confirm(WEST).confirmed


def test_while_a_run_is_open_the_lease_is_not_taken(site: Site) -> None:
    site.claims.open_run(EAST, RunId("r"), WEST)
    site.warden.once()
    assert not site.holds()
    site.claims.close_run(EAST, RunId("r"))
    site.warden.once()
    assert site.holds()


def test_a_run_that_opens_while_the_lease_is_being_taken_wins(site: Site) -> None:
    class Late(FakeEtcd):
        """A run is opened between the warden's look and its taking."""

        def txn(
            self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
        ) -> Outcome:
            if compares:
                super().txn((), (opened,))
            return super().txn(compares, then, otherwise)

    opened = Put(run_key(EAST), OpenRun(EAST, RunId("late"), WEST).value())
    etcd = Late(site.clock.boottime_ns)
    written = site.restart(etcd).once()
    assert written.deadline_boottime_ns == 0
    assert "late" in written.reason
    assert etcd.get(site_key(EAST)) is None


def test_a_fence_order_holds_over_a_restart_until_it_is_lifted(site: Site) -> None:
    site.warden.once()
    site.warden._change(fence_order="drill")
    assert site.restart().once().reason == "fenced by order: drill"
    assert not site.holds()
    site.clock.advance(TTL)
    assert site.warden.once().deadline_boottime_ns == 0
    site.warden._change(fence_order="")
    assert site.warden.once().reason == "lease held"


def test_without_quorum_the_peer_s_word_keeps_the_site_writing(site: Site) -> None:
    site.warden.once()
    site.etcd.quorum = False
    site.peer.answer = Confirmation(True, "fine", {TAX: Standing(1, EAST)})
    for _ in range(20):
        site.clock.advance(2)
        site.warden.once()
    assert site.seconds_left() == 9.5
    assert "the warden of west confirms" in site.lease().reason
    assert site.peer.asked == [EAST] * 20


def test_with_neither_quorum_nor_peer_the_deadline_runs_out(site: Site) -> None:
    deadline = site.warden.once().deadline_boottime_ns
    site.etcd.quorum = False
    for _ in range(6):
        site.clock.advance(2)
        site.warden.once()
    assert site.lease().deadline_boottime_ns == deadline < site.clock.ns
    assert site.lease().reason.startswith("fenced: the lease has run out; cut off")


def test_a_quorum_lost_in_the_middle_of_taking_costs_no_lease(site: Site) -> None:
    class Stutters(FakeEtcd):
        fail_next_grant = False

        def grant(self, ttl_seconds: int) -> Lease:
            granted = super().grant(ttl_seconds)
            if self.fail_next_grant:
                self.fail_next_grant = False
                raise NoQuorum("etcd.no-quorum", "grant", "the answer was lost")
            return granted

    etcd = Stutters(site.clock.boottime_ns)
    Claims(etcd).birth(TAX, EAST)
    site.restart(etcd)
    site.warden.once()
    deadline = site.lease().deadline_boottime_ns
    etcd.elect()
    etcd.fail_next_grant = True
    site.clock.advance(2)
    site.warden.once()
    assert site.lease().deadline_boottime_ns == deadline
    site.clock.advance(1)
    site.warden.once()
    assert site.seconds_left() == 9.5


def test_it_confirms_its_peer_only_after_reading_etcd_once(site: Site) -> None:
    assert not site.warden.confirm(WEST).confirmed
    site.warden.once()
    assert site.warden.confirm(WEST) == Confirmation(
        True, "no open run and no higher epoch is known here", {TAX: Standing(1, EAST)}
    )


def test_it_confirms_nobody_but_its_peer(site: Site) -> None:
    site.warden.once()
    assert not site.warden.confirm(SiteId("mallory")).confirmed
    assert not site.warden.confirm(EAST).confirmed


def test_it_does_not_confirm_a_site_against_which_a_run_is_open(site: Site) -> None:
    site.claims.open_run(WEST, RunId("r"), EAST)
    site.warden.once()
    assert site.warden.confirm(WEST).why == "recovery run r is open against west"


def test_a_run_that_stops_confirmations_learns_of_the_last_one_even_over_a_restart(site: Site) -> None:
    site.warden.once()
    site.clock.advance(1)
    site.warden.confirm(WEST)
    given = site.clock.ns
    site.clock.advance(4)
    assert site.warden.stop_confirming() == given
    assert not site.warden.confirm(WEST).confirmed
    assert confirmations_lapse_seconds(given, site.clock.ns, TTL) == 6
    site.restart().once()
    assert site.warden.stop_confirming() == site.clock.ns  # one before us may have confirmed until just now
    assert not site.warden.confirm(WEST).confirmed
    site.warden.resume_confirming()
    assert site.warden.confirm(WEST).confirmed
