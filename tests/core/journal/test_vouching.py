"""The own log's heads are cosigned by peer and witness, kept with their heads, and known after a restart."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal import Checkpoint, Journal, checkpoint_from_note
from ncia.core.journal.cosign import vouches
from ncia.core.journal.log import open_journal
from ncia.core.journal.peers import PeerLink
from ncia.core.journal.reader import WireReader
from ncia.core.journal.tail import Held
from ncia.core.journal.vouching import FOLLOW_SECONDS_MAX, by_peer, by_witness
from ncia.core.journal.witness import Ask, Witness
from tests.core.journal.conftest import Databases
from tests.core.journal.sites import (
    ALL_KEYS,
    EAST,
    KEYS,
    THIRD,
    WEST,
    JournalSource,
    SetClock,
    cosigner,
    journal_of,
    said,
    signer,
)


@pytest.fixture
def east(databases: Databases) -> Journal:
    return journal_of(EAST, databases("east"))


@pytest.fixture
def west(databases: Databases) -> Journal:
    return journal_of(WEST, databases("west"))


class Third:
    """The witness, counting what it is asked."""

    site = THIRD

    def __init__(self, folder) -> None:
        self.witness = Witness(folder / "witness", cosigner(THIRD), KEYS, SetClock())
        self.asked: list[tuple[int, int]] = []

    def add(self, ask: Ask):
        self.asked.append((ask.old, ask.head.size))
        return self.witness.add(ask)


class West:
    """The peer, as far as it holds east's log."""

    site = WEST

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def held(self, site: SiteId) -> Held:
        return Held(self.journal.size(site), self.journal.held_head(site))


@pytest.fixture
def third(tmp_path) -> Third:
    return Third(tmp_path)


def write(journal: Journal, count: int) -> None:
    journal.append_all([said(str(number)) for number in range(count)], by="tester")


def sizes(journal: Journal) -> dict[str, int]:
    return {vouch.by: vouch.size for vouch in journal.vouched().values()}


def test_a_head_carries_three_signatures_once_peer_and_witness_have_seen_it(
    east: Journal, west: Journal, third: Third
) -> None:
    write(east, 5)
    PeerLink(west, JournalSource(east), SetClock()).pull()
    assert (by_peer(east, West(west)).ask(), by_witness(east, third).ask()) == (5, 5)
    note = checkpoint_from_note(str(WireReader(east).checkpoint()["note"]))
    assert {vouch.by for vouch in vouches(note, ALL_KEYS)} == {WEST, THIRD}
    assert note.note().count("— ncia/") == 3


def test_the_peer_cosigns_no_more_than_it_holds(east: Journal, west: Journal) -> None:
    write(east, 5)
    asked = by_peer(east, West(west))
    assert asked.ask() == 0
    PeerLink(west, JournalSource(east), SetClock(), batch=2).pull()
    write(east, 3)
    assert (asked.ask(), sizes(east)) == (5, {WEST: 5})


def test_who_vouches_is_known_after_a_restart(databases: Databases, east: Journal, third: Third) -> None:
    write(east, 5)
    by_witness(east, third).ask()
    write(east, 2)
    east.close()
    again = journal_of(EAST, databases("east"))
    assert sizes(again) == {THIRD: 5}
    by_witness(again, third).ask()
    assert (third.asked, sizes(again)) == ([(0, 5), (5, 7)], {THIRD: 7})


def test_nobody_is_asked_who_vouches_for_all_that_there_is(east: Journal, third: Third) -> None:
    asked = by_witness(east, third)
    asked.ask()
    write(east, 5)
    asked.ask()
    asked.ask()
    assert third.asked == [(0, 5)]


def test_an_answer_of_the_witness_that_was_lost_is_made_up_for(east: Journal, third: Third) -> None:
    write(east, 5)
    third.witness.add(Ask(0, (), east.checkpoint()))  # it cosigned, and the link was cut before it could answer
    write(east, 2)
    assert by_witness(east, third).ask() == 7
    assert third.asked == [(0, 7), (5, 7)]


def test_a_witness_that_saw_more_than_there_is_says_that_the_tail_is_lost(
    east: Journal, third: Third, databases: Databases
) -> None:
    write(east, 5)
    by_witness(east, third).ask()
    shorter = journal_of(EAST, databases("shorter"))
    write(shorter, 3)
    with pytest.raises(NciaError) as refused:
        by_witness(shorter, third).ask()
    assert refused.value.code == "journal.lost-tail"


def test_while_the_peer_follows_the_witness_vouches_for_nothing_that_nobody_could_give_back(
    east: Journal, west: Journal, third: Third
) -> None:
    now = SetClock().now()
    peer = by_peer(east, West(west))
    witness = by_witness(east, third, peer)
    write(east, 5)
    PeerLink(west, JournalSource(east), SetClock()).pull()
    write(east, 2)  # and the peer has not pulled these when the witness is asked
    peer.tick(now)
    assert (witness.ask(), witness.ask(), third.asked) == (5, 5, [(0, 5)])
    PeerLink(west, JournalSource(east), SetClock()).pull()
    peer.tick(now)
    assert (witness.ask(), third.asked) == (7, [(0, 5), (5, 7)])


def test_a_log_that_the_peer_does_not_follow_is_vouched_for_by_the_witness_all_the_same(
    east: Journal, west: Journal, third: Third
) -> None:
    now = SetClock().now()
    peer = by_peer(east, West(west))
    witness = by_witness(east, third, peer)
    write(east, 1)
    PeerLink(west, JournalSource(east), SetClock()).pull()
    write(east, 2)
    for seconds in (0, FOLLOW_SECONDS_MAX - 1):
        peer.tick(now + timedelta(seconds=seconds))
        assert witness.ask() == 1
    peer.tick(now + timedelta(seconds=FOLLOW_SECONDS_MAX))  # it answers, and takes nothing new
    assert witness.ask() == 3


def test_a_cosignature_of_another_history_is_told_as_a_fork(east: Journal, west: Journal, databases: Databases) -> None:
    write(east, 5)
    other = journal_of(EAST, databases("other"))
    other.append_all([said(f"other {number}") for number in range(5)], by="tester")
    PeerLink(west, JournalSource(other), SetClock()).pull()
    with pytest.raises(NciaError, match="FORK") as refused:
        by_peer(east, West(west)).ask()
    assert refused.value.code == "journal.fork"
    assert sizes(east) == {}


def test_a_line_that_the_witness_did_not_sign_is_not_kept(east: Journal) -> None:
    write(east, 1)

    class False_(Third):
        def __init__(self) -> None:
            pass

        def add(self, ask: Ask):
            return cosigner(THIRD, "stolen").cosign(ask.head, SetClock().now())

    with pytest.raises(NciaError) as refused:
        by_witness(east, False_()).ask()
    assert refused.value.code == "journal.bad-cosignature"
    assert east.checkpoint().cosignatures == ()


def test_the_trouble_with_a_voucher_stands_in_its_fault_while_it_lasts(east: Journal, third: Third) -> None:
    write(east, 1)
    away = [True]

    class Sometimes(Third):
        def __init__(self) -> None:
            pass

        def add(self, ask: Ask):
            if away[0]:
                raise Unreachable("journal.witness-unreachable", "ask third", "timed out")
            return third.add(ask)

    asked = by_witness(east, Sometimes())
    asked.tick(SetClock().now())
    assert asked.fault is not None
    assert asked.fault.code == "journal.witness-unreachable"
    assert asked.behind_since is not None
    away[0] = False
    asked.tick(SetClock().now())
    assert (asked.fault, asked.size()) == (None, 1)
    assert asked.behind_since is None


def test_a_head_that_the_peer_stores_keeps_the_sound_cosignatures_and_gets_its_own(
    databases: Databases, east: Journal, third: Third
) -> None:
    write(east, 2)
    by_witness(east, third).ask()
    forged = cosigner(THIRD, "stolen").cosign(east.checkpoint(), SetClock().now())

    class Adding(JournalSource):
        def checkpoint(self, after: int = -1, patience_seconds: float = 0.0) -> Checkpoint:
            return super().checkpoint().with_cosignatures([forged])

    west = open_journal(databases("west"), peer=EAST, signer=signer(WEST), keys=ALL_KEYS, clock=SetClock())
    PeerLink(west, Adding(east), SetClock()).pull()
    head = west.held_head(EAST)
    assert head is not None
    assert len(head.cosignatures) == 2
    assert {vouch.by for vouch in vouches(head, ALL_KEYS)} == {WEST, THIRD}
