"""A journal that was set back to an old copy takes its own tail back before it writes: it never forks."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal import Entry, Journal
from ncia.core.journal.copies import read_copies
from ncia.core.journal.entries import JournalSworn
from ncia.core.journal.peers import PeerLink
from ncia.core.journal.tail import Held, OwnTail
from ncia.core.journal.verify import verify
from ncia.core.journal.vouching import by_witness
from ncia.core.journal.witness import Ask, Witness
from ncia.core.state import StateStore, fold
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
    sqlite_url,
)


@dataclass
class Peer:
    """West, as a place that holds entries of east."""

    journal: Journal
    site: SiteId = WEST
    away: bool = False
    sends: int | None = None  # how many entries it gives in all
    asked: list[str] = field(default_factory=list)

    def held(self, site: SiteId) -> Held:
        if self.away:
            raise Unreachable("journal.peer-unreachable", "ask west", "timed out")
        return Held(self.journal.size(site), self.journal.held_head(site))

    def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
        self.asked.append(f"{start} {limit}")
        return self.journal.entries(site, start, limit)


@dataclass
class Third:
    """The witness, as a place."""

    witness: Witness
    site: SiteId = THIRD
    away: bool = False

    def held(self, site: SiteId) -> Held:
        if self.away:
            raise Unreachable("journal.witness-unreachable", "ask third", "timed out")
        return Held(0, self.witness.head(site))

    def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
        return ()

    def add(self, ask: Ask):
        return self.witness.add(ask)


class World:
    """East, west and the witness; east's journal is copied today and set back to the copy tomorrow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.east = journal_of(EAST, sqlite_url(folder, "east"))
        self.west = journal_of(WEST, sqlite_url(folder, "west"))
        self.peer = Peer(self.west)
        self.third = Third(Witness(folder / "witness", cosigner(THIRD), KEYS, SetClock()))

    def write(self, *words: str) -> None:
        self.east.append_all([said(word) for word in words], by="tester")

    def pull(self) -> None:
        PeerLink(self.west, JournalSource(self.east), SetClock()).pull()
        PeerLink(self.east, JournalSource(self.west), SetClock()).pull()

    def vouch(self) -> None:
        by_witness(self.east, self.third).ask()

    def copy(self) -> None:
        self.east.close()
        shutil.copy(self.folder / "east.db", self.folder / "copy.db")
        self.east = journal_of(EAST, sqlite_url(self.folder, "east"))

    def set_back(self) -> OwnTail:
        """East's disk is lost; its next controller finds yesterday's copy."""
        self.east.close()
        for file in self.folder.glob("east.db*"):
            file.unlink()
        shutil.copy(self.folder / "copy.db", self.folder / "east.db")
        return self.begin()

    def restart(self) -> OwnTail:
        self.east.close()
        return self.begin()

    def begin(self) -> OwnTail:
        self.east = journal_of(EAST, sqlite_url(self.folder, "east"))
        return OwnTail(self.east, [self.peer, self.third])

    def findings(self) -> list[tuple[str, str]]:
        files = [str(self.folder / name) for name in ("east.db", "west.db")]
        notes = [str(note) for note in (self.folder / "witness").glob("*.note")]
        verdict = verify([copy for file in files + notes for copy in read_copies(file)], ALL_KEYS)
        return [(finding.kind, finding.site) for finding in verdict.findings]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Three entries at both sites and known to the witness; a copy; then four more, and two of west's between."""
    world = World(tmp_path)
    world.write("1", "2", "3")
    world.pull()
    world.vouch()
    world.copy()
    world.write("4")
    world.west.append_all([said("west 1"), said("west 2")], by="tester")
    world.pull()
    world.write("5", "6", "7")
    return world


def demand_whole(world: World, size: int) -> None:
    """East writes on after its old tail, west follows, the witness cosigns, and no judge finds anything."""
    assert world.east.append(said("on"), by="tester").number == size
    world.pull()
    world.vouch()
    assert world.east.entries(EAST) == world.west.entries(EAST)
    assert world.findings() == []


def test_the_tail_comes_back_from_the_peer_and_nothing_forks(world: World) -> None:
    world.pull()
    world.vouch()
    before = world.east.entries(EAST)
    tail = world.set_back()
    assert (world.east.size(EAST), tail.restore()) == (3, 4)
    assert before == world.east.entries(EAST)
    demand_whole(world, 7)


def test_an_ordinary_restart_takes_nothing_back_and_writes_on(world: World) -> None:
    world.pull()
    assert world.restart().restore() == 0
    demand_whole(world, 7)


def test_nothing_is_written_before_anybody_was_asked(world: World) -> None:
    world.pull()
    world.set_back()
    with pytest.raises(NciaError) as refused:
        world.write("a fork")
    assert refused.value.code == "journal.unheard"


def test_a_tail_that_the_peer_has_in_part_is_not_written_over_while_the_witness_knows_of_more(world: World) -> None:
    world.vouch()  # 7 at the witness, 4 at west
    tail = world.set_back()
    with pytest.raises(NciaError) as refused:
        tail.restore()
    assert (refused.value.code, world.east.size(EAST)) == ("journal.lost-tail", 4)
    assert "third vouches for 7" in refused.value.why
    assert "ncia journal swear" in refused.value.hint
    with pytest.raises(NciaError):
        world.write("a fork")


def test_when_the_peer_returns_the_rest_comes_back(world: World) -> None:
    world.pull()
    world.vouch()
    world.peer.away = True
    tail = world.set_back()
    with pytest.raises(NciaError) as refused:
        tail.restore()
    assert refused.value.code == "journal.lost-tail"
    assert "bring west back" in refused.value.hint
    world.peer.away = False
    assert tail.restore() == 4
    demand_whole(world, 7)


def test_a_survivor_whose_peer_is_dead_goes_on_when_the_witness_knows_no_more_than_it_holds(world: World) -> None:
    world.vouch()
    world.peer.away = True
    assert world.restart().restore() == 0
    assert world.east.append(said("on"), by="tester").number == 7


def test_a_site_that_the_witness_cannot_tell_of_goes_on_with_its_peer(world: World) -> None:
    world.pull()
    world.third.away = True
    tail = world.set_back()
    assert tail.restore() == 4
    assert world.east.append(said("on"), by="tester").number == 7


def test_with_nobody_to_ask_the_journal_is_read_only_until_somebody_answers(world: World) -> None:
    world.pull()
    world.peer.away = world.third.away = True
    tail = world.set_back()
    with pytest.raises(NciaError) as refused:
        tail.restore()
    assert refused.value.code == "journal.unheard"
    assert "west: timed out; third: timed out" in refused.value.why
    with pytest.raises(NciaError):
        world.write("a fork")
    waiting = threading.Thread(target=tail.wait, args=(threading.Event(), 0.01))
    waiting.start()
    world.peer.away = False
    waiting.join(20)
    assert (waiting.is_alive(), tail.fault, world.east.size(EAST)) == (False, None, 7)


def test_waiting_ends_when_it_is_told_to(world: World) -> None:
    world.peer.away = world.third.away = True
    stop = threading.Event()
    stop.set()
    assert world.restart().wait(stop) is False


def test_a_new_estate_begins_as_soon_as_the_witness_says_that_it_knows_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.peer.away = True
    assert world.restart().restore() == 0
    world.write("1")


def test_entries_come_in_bounded_batches(world: World, tmp_path: Path) -> None:
    world.write(*[str(number) for number in range(2500)])
    world.pull()
    assert world.set_back().restore() == 2504
    assert world.peer.asked == ["3 1000", "1003 1000", "2003 504"]


def test_a_peer_that_gives_other_entries_than_were_signed_changes_nothing(world: World, tmp_path: Path) -> None:
    world.pull()
    other = journal_of(EAST, sqlite_url(tmp_path, "other"))
    other.append_all([said(str(number)) for number in range(7)], by="tester")

    class Liar(Peer):
        def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
            return other.entries(site, start, limit)

    world.peer = Liar(world.west)
    tail = world.set_back()
    with pytest.raises(NciaError) as refused:
        tail.restore()
    assert (refused.value.code, world.east.size(EAST)) == ("journal.unproven", 3)


def test_a_peer_that_withholds_what_it_vouches_for_is_named(world: World) -> None:
    world.pull()

    class Miser(Peer):
        def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
            return ()

    world.peer = Miser(world.west)
    tail = world.set_back()
    with pytest.raises(NciaError, match="west") as refused:
        tail.restore()
    assert refused.value.code == "journal.withheld"


def test_a_log_that_was_forked_against_a_cosigned_head_is_not_gone_on_with(world: World) -> None:
    world.pull()
    world.vouch()
    world.set_back()
    world.east.close()
    fork = journal_of(EAST, sqlite_url(world.folder, "east"))  # a release without this guard wrote on
    fork._peer_saw = 0
    fork.append_all([said("fork")] * 6, by="tester")
    fork.close()
    tail = world.begin()
    with pytest.raises(NciaError, match="FORK") as refused:
        tail.restore()
    assert refused.value.code == "journal.fork"
    assert ("forked", EAST) in world.findings()


# --- the oath ----------------------------------------------------------------------------------------------------


def test_an_oath_lets_a_survivor_go_on_alone_and_stands_in_the_journal(world: World) -> None:
    world.peer.away = world.third.away = True
    tail = world.restart()
    with pytest.raises(NciaError):
        tail.restore()
    tail.swear("kim", "west burnt, the cable to the witness is cut")
    assert tail.fault is None
    oath = world.east.entries(EAST)[-1].body
    assert isinstance(oath, JournalSworn)
    assert (oath.by, oath.size, oath.lost_to, oath.forsworn, oath.unheard) == ("kim", 7, 7, (), (WEST, THIRD))
    world.peer.away = world.third.away = False
    demand_whole(world, 8)


def test_an_oath_over_a_lost_tail_declares_the_fork_and_holds_after_a_restart(world: World) -> None:
    world.pull()
    world.vouch()
    lost = world.third.witness.head(EAST)
    world.peer.away = True
    tail = world.set_back()
    with pytest.raises(NciaError):
        tail.restore()
    oath = tail.swear("kim", "west burnt")
    assert (oath.size, oath.lost_to, oath.unheard) == (3, 7, (WEST,))
    assert [(each.by, each.size, each.root) for each in oath.forsworn] == [(THIRD, 7, lost.root.hex())]
    world.write("on")
    assert world.restart().restore() == 0
    world.write(*["on", "and", "on", "and", "on"])
    assert world.restart().restore() == 0
    with pytest.raises(Refusal):  # who vouched for the other history does not vouch for this one
        world.vouch()
    assert ("forked", EAST) in world.findings()


def test_nobody_swears_where_nothing_hinders(world: World) -> None:
    world.pull()
    tail = world.restart()
    tail.restore()
    with pytest.raises(Refusal) as refused:
        tail.swear("kim", "for fun")
    assert refused.value.code == "journal.not-held"


def test_the_state_after_taking_back_is_the_fold_of_both_logs_in_order(world: World) -> None:
    """West's entries that had seen the lost tail, pulled before or after it, end in their places."""
    world.pull()
    tail = world.set_back()
    states = StateStore(world.east)
    tail.restore()
    PeerLink(world.east, JournalSource(world.west), SetClock()).pull()
    assert states.snapshot() == fold(world.east.merged())


def test_an_entry_after_the_tail_came_back_has_seen_no_less_of_the_peer_than_the_tail_had(world: World) -> None:
    world.pull()
    saw = world.east.entries(EAST)[-1].peer_seen
    world.set_back().restore()
    assert (saw, world.east.size(WEST)) == (2, 0)
    assert world.east.append(said("on"), by="tester").peer_seen == saw
