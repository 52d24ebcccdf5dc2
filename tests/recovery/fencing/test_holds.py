"""Planned moves in etcd: a hold, the old side's word, and the claim that needs both."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ncia.core.base.errors import NoQuorum, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.claims import Claims
from recovery.fencing.files import Standing
from recovery.fencing.holds import HOLD_SECONDS, Holds, give_word, held, unanswered
from recovery.fencing.keys import HOLDS, WORDS
from recovery.fencing.lease import FromPeer, Granted, decide
from recovery.fencing.warden import Confirmation
from tests.fakes.etcd import FakeEtcd
from tests.recovery.fencing.test_lease import STOP, before
from tests.recovery.fencing.test_warden import EAST, SECOND, TAX, WEST, Site

RUN, OTHER = RunId("run-1"), RunId("run-2")
NOW = datetime(2026, 9, 26, tzinfo=UTC)


class Bench:
    def __init__(self) -> None:
        self.ns = 0
        self.etcd = FakeEtcd(lambda: self.ns)
        self.claims, self.holds = Claims(self.etcd), Holds(self.etcd)
        self.revision = self.claims.birth(TAX, EAST).mod_revision

    def lay(self, run: RunId = RUN) -> None:
        self.holds.lay(TAX, run, WEST, self.revision)

    def word(self) -> None:
        (hold,) = unanswered(EAST, self.standings(), self.etcd.prefix(HOLDS), self.etcd.prefix(WORDS))
        give_word(self.etcd, EAST, hold, NOW)

    def standings(self) -> dict[SystemId, Standing]:
        known = {e.system: Standing(e.epoch, e.site) for e in self.claims.epochs().values()}
        return held(known, self.etcd.prefix(HOLDS))

    def claim(self, run: RunId = RUN) -> int:
        return self.holds.claim(TAX, WEST, self.revision, run).epoch

    def refusal(self, run: RunId = RUN) -> str:
        with pytest.raises(Refusal) as caught:
            self.claim(run)
        return caught.value.code


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_held_system_is_claimed_on_the_old_sides_word_and_hold_and_word_are_gone(bench: Bench) -> None:
    bench.lay()
    bench.word()
    assert bench.holds.word_of(TAX) is not None
    assert bench.claim() == 2
    assert bench.claims.epochs()[TAX].site == WEST
    assert (bench.etcd.prefix(HOLDS), bench.etcd.prefix(WORDS)) == ((), ())
    assert bench.claim() == 2  # made twice by one run, it counts once


def test_without_the_word_or_the_hold_nothing_is_claimed(bench: Bench) -> None:
    assert bench.refusal() == "fencing.not-held"
    bench.lay()
    assert bench.refusal() == "fencing.no-word"
    bench.word()
    assert bench.refusal(OTHER) == "fencing.not-held"


def test_a_word_for_an_earlier_hold_is_none(bench: Bench) -> None:
    bench.lay()
    bench.word()
    bench.holds.release(TAX, RUN)
    bench.etcd.put(WORDS + TAX, '{"site": "east", "hold": 1, "at": ""}')
    bench.lay()
    assert bench.holds.word_of(TAX) is None
    assert bench.refusal() == "fencing.no-word"


def test_a_hold_lapses_and_then_nothing_can_be_claimed_with_it(bench: Bench) -> None:
    bench.lay()
    bench.word()
    bench.ns = (HOLD_SECONDS + 1) * SECOND
    assert bench.refusal() == "fencing.not-held"
    assert bench.standings()[TAX].held_by == ""


def test_another_runs_hold_is_refused_and_not_released(bench: Bench) -> None:
    bench.lay()
    bench.lay()  # again by the same run
    with pytest.raises(Refusal, match="run run-1 holds it"):
        bench.lay(OTHER)
    bench.holds.release(TAX, OTHER)
    assert bench.holds.hold_of(TAX) is not None
    bench.holds.release(TAX, RUN)
    bench.holds.release(TAX, RUN)
    assert bench.holds.hold_of(TAX) is None


def test_what_moved_since_the_plan_is_neither_held_nor_claimed(bench: Bench) -> None:
    bench.claims.claim_epoch(TAX, EAST, WEST, bench.revision, OTHER)
    with pytest.raises(Refusal, match="epoch 2 is already at west by run-2"):
        bench.lay()
    assert bench.refusal() == "fencing.epoch-moved"


def test_a_loss_of_the_old_side_claims_over_a_hold(bench: Bench) -> None:
    """Whoever recovers from a loss is not held up by a move that was begun."""
    bench.lay()
    bench.word()
    assert bench.claims.claim_epoch(TAX, EAST, WEST, bench.revision, OTHER).epoch == 2
    assert bench.standings()[TAX].held_by == ""  # a hold of an earlier epoch is none
    assert bench.refusal() == "fencing.epoch-moved"


def test_without_a_quorum_nothing_is_held(bench: Bench) -> None:
    bench.etcd.quorum = False
    with pytest.raises(NoQuorum):
        bench.lay()


# --- the old side's warden ----------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def lay(site: Site) -> Holds:
    holds = Holds(site.etcd)
    holds.lay(TAX, RUN, WEST, site.claims.epochs()[TAX].mod_revision)
    return holds


def test_a_warden_shuts_its_gate_for_what_is_held_and_then_gives_its_word(site: Site) -> None:
    site.warden.once()
    holds = lay(site)
    assert holds.word_of(TAX) is None
    site.warden.once()
    assert site.lease().systems[TAX].held_by == RUN
    assert site.lease().deadline_of(TAX) == 0
    assert site.seconds_left() > 0  # the site itself holds its lease, and its other systems go on
    word = holds.word_of(TAX)
    assert word is not None
    assert word.site == SiteId("east")


def test_a_gate_that_does_not_say_that_it_is_shut_costs_the_word(site: Site) -> None:
    site.warden.once()
    holds = lay(site)
    site.gate_lives = False
    site.warden.once()
    assert holds.word_of(TAX) is None
    site.gate_lives = True
    site.warden.once()
    assert holds.word_of(TAX) is not None


def test_a_hold_that_is_gone_lets_the_system_pass_again(site: Site) -> None:
    site.warden.once()
    holds = lay(site)
    site.warden.once()
    holds.release(TAX, RUN)
    site.warden.once()
    assert site.lease().deadline_of(TAX) > site.clock.ns


def test_a_held_system_stays_held_while_etcd_has_no_quorum_whatever_the_peer_confirms(site: Site) -> None:
    site.warden.once()
    lay(site)
    site.warden.once()
    site.etcd.quorum = False
    site.peer.answer = Confirmation(True, "no open run", {TAX: Standing(1, EAST)})  # read before the hold was laid
    site.warden.once()
    assert site.seconds_left() > 0
    assert site.lease().deadline_of(TAX) == 0


def test_a_warden_confirms_its_peer_with_the_holds_it_knows(site: Site) -> None:
    lay(site)
    site.warden.once()
    assert site.warden.confirm(WEST).systems[TAX].held_by == RUN


def test_the_peers_hold_is_obeyed_by_a_warden_that_knows_nothing_itself() -> None:
    seen = FromPeer("timed out", {TAX: Standing(1, EAST, held_by=RUN)}, Granted(100 * SECOND, 10))
    word = decide(before(systems={}), seen, STOP, 101 * SECOND)
    assert word.systems[TAX].held_by == RUN
