"""What permits an irreversible act is known at two of three places before the act, or the act is refused by name."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ncia.app.tls import server_name
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal import Entry, Journal, checkpoint_from_note
from ncia.core.journal.durable import SECOND_PLACE_SECONDS_MAX, TwoOfThree
from ncia.core.journal.entries_recovery import RunStarted
from ncia.core.journal.entry import entry_from_text
from ncia.core.journal.kept import AT_ONCE_MAX, KeepAsk, Keeper, Proven, keep_text, read_keep
from ncia.core.journal.peers import PeerLink
from ncia.core.journal.tail import Held
from ncia.core.journal.tree import verify_inclusion
from ncia.core.journal.vouching import by_peer, by_witness
from ncia.core.journal.witness import Ask, Conflict, Witness
from ncia.core.journal.witness_door import open_door
from ncia.core.journal.witness_http import HttpWitness
from tests.core.journal.sites import (
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
from tests.identities import identity

WHAT, OVERRIDE = "promote tax", "swear that nobody else is left"


class Ticking:
    """Waiting costs no real time."""

    def __init__(self) -> None:
        self.now_ns = 0

    def boottime_ns(self) -> int:
        return self.now_ns

    def pause(self, seconds: float) -> None:
        self.now_ns += int(seconds * 1e9)


@dataclass
class West:
    """The peer, as far as it holds east's log; ``pulls`` brings it up to date when it is asked."""

    journal: Journal
    source: Journal
    site: SiteId = WEST
    away: bool = False
    pulls: bool = False

    def held(self, site: SiteId) -> Held:
        if self.away:
            raise Unreachable("journal.peer-unreachable", "ask west", "timed out")
        if self.pulls:
            PeerLink(self.journal, JournalSource(self.source), SetClock()).pull()
        return Held(self.journal.size(site), self.journal.held_head(site))


@dataclass
class Third:
    keeper: Keeper
    site: SiteId = THIRD
    away: bool = False
    asked: list[KeepAsk] = field(default_factory=list)

    def keep(self, ask: KeepAsk):
        self.asked.append(ask)
        if self.away:
            raise Unreachable("journal.witness-unreachable", "ask third", "timed out")
        return self.keeper.keep(ask)


class World:
    def __init__(self, folder: Path) -> None:
        self.east = journal_of(EAST, sqlite_url(folder, "east"))
        self.witness = Witness(folder / "witness", cosigner(THIRD), KEYS, SetClock())
        self.keeper = Keeper(folder / "witness" / "kept", self.witness)
        self.west = West(journal_of(WEST, sqlite_url(folder, "west")), self.east)
        self.third = Third(self.keeper)
        self.pace = Ticking()
        self.two = TwoOfThree(self.east, by_peer(self.east, self.west), self.third, self.pace)

    def permit(self, run: str = "run-1") -> Entry:
        return self.east.append(RunStarted(run=run, plan_hash="cafe", site=EAST), by="tester")

    def kept(self) -> list[int]:
        return [entry_from_text(json.loads(each)["entry"]).number for each in self.keeper.kept(EAST)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.east.append_all([said("one"), said("two")], by="tester")
    return world


def test_the_witness_keeps_the_entry_when_the_peer_is_gone(world: World) -> None:
    world.west.away = True
    permit = world.permit()
    assert world.two.demand([permit], WHAT, OVERRIDE).site == THIRD
    assert world.kept() == [2]
    assert world.east.vouched()[THIRD].size == 3


def test_what_is_kept_proves_itself_with_nothing_else_at_hand(world: World) -> None:
    world.west.away = True
    world.two.demand([world.permit()], WHAT, OVERRIDE)
    (told,) = map(json.loads, world.keeper.kept(EAST))
    entry, head = entry_from_text(told["entry"]), checkpoint_from_note(told["note"])
    proof = [bytes.fromhex(part) for part in told["proof"]]
    assert verify_inclusion(entry.leaf_hash, entry.number, head.size, head.root, proof)


def test_a_peer_that_holds_the_entry_is_enough(world: World) -> None:
    world.third.away, world.west.pulls = True, True
    assert world.two.demand([world.permit()], WHAT, OVERRIDE).site == WEST


def test_who_is_known_to_hold_it_already_is_not_asked_again(world: World) -> None:
    world.west.pulls = True
    permit = world.permit()
    by_peer(world.east, world.west).ask()
    world.west.away = world.third.away = True
    assert world.two.demand([permit], WHAT, OVERRIDE).site == WEST
    assert world.third.asked == []


def test_entries_that_came_from_the_peer_are_at_two_places_already(world: World, tmp_path: Path) -> None:
    world.west.away = world.third.away = True
    entry = world.west.journal.append(said("far"), by="tester")
    assert world.two.demand([entry], WHAT, OVERRIDE).site == WEST


def test_a_peer_that_pulls_a_little_later_is_waited_for(world: World) -> None:
    world.third.away = True
    asked = []

    class Later(West):
        def held(self, site: SiteId) -> Held:
            asked.append(site)
            self.pulls = len(asked) >= 3
            return super().held(site)

    world.west = Later(world.west.journal, world.east)
    two = TwoOfThree(world.east, by_peer(world.east, world.west), world.third, world.pace)
    assert two.demand([world.permit()], WHAT, OVERRIDE).site == WEST
    assert len(asked) >= 3


def test_with_nobody_there_the_act_is_refused_and_who_was_silent_is_named(world: World) -> None:
    world.west.away = world.third.away = True
    with pytest.raises(Refusal) as refused:
        world.two.demand([world.permit()], WHAT, OVERRIDE)
    assert (refused.value.code, refused.value.override) == ("journal.one-place", OVERRIDE)
    assert "west: timed out" in refused.value.why
    assert "third: timed out" in refused.value.why
    assert world.pace.now_ns >= SECOND_PLACE_SECONDS_MAX * 1e9


def test_a_silent_witness_does_not_hold_up_a_peer_that_answers(world: World) -> None:
    world.west.pulls = True
    released = threading.Event()

    class Stuck(Third):
        def keep(self, ask: KeepAsk):
            released.wait(30)
            raise Unreachable("journal.witness-unreachable", "ask third", "timed out")

    two = TwoOfThree(world.east, by_peer(world.east, world.west), Stuck(world.keeper), world.pace)
    try:
        assert two.demand([world.permit()], WHAT, OVERRIDE).site == WEST
    finally:
        released.set()


def test_an_estate_without_a_witness_asks_the_peer_alone(world: World) -> None:
    world.west.pulls = True
    two = TwoOfThree(world.east, by_peer(world.east, world.west), None, world.pace)
    assert two.demand([world.permit()], WHAT, OVERRIDE).site == WEST


# --- what the witness takes --------------------------------------------------------------------------------------


def ask_for(world: World, *entries: Entry, old: int = 0) -> KeepAsk:
    head = world.east.checkpoint()
    proven = tuple(Proven(each, world.east.inclusion(EAST, each.number, head.size)) for each in entries)
    return KeepAsk(Ask(old, world.east.consistency(old, head.size), head), proven)


def test_only_what_permits_something_irreversible_is_kept(world: World) -> None:
    with pytest.raises(NciaError) as refused:
        world.keeper.keep(ask_for(world, world.east.entries(EAST)[0]))
    assert (refused.value.code, world.kept(), world.witness.head(EAST)) == ("witness.no-permit", [], None)


def test_an_entry_that_is_not_under_the_head_is_not_kept(world: World, tmp_path: Path) -> None:
    other = journal_of(EAST, sqlite_url(tmp_path, "other"))
    forged = other.append(RunStarted(run="run-9", plan_hash="beef", site=EAST), by="tester")
    world.permit()
    ask = ask_for(world)
    with pytest.raises(NciaError) as refused:
        world.keeper.keep(KeepAsk(ask.cosign, (Proven(forged, world.east.inclusion(EAST, 0, 3)),)))
    assert (refused.value.code, world.kept()) == ("witness.not-included", [])


def test_nothing_is_kept_of_a_log_whose_head_is_not_cosigned(world: World) -> None:
    permit = world.permit()
    world.keeper.keep(ask_for(world, permit))
    more = world.permit("run-2")
    with pytest.raises(Conflict):
        world.keeper.keep(ask_for(world, more, old=0))
    assert world.kept() == [permit.number]


def test_a_request_to_keep_is_read_as_it_was_written(world: World) -> None:
    ask = ask_for(world, world.permit(), world.permit("run-2"))
    assert read_keep(keep_text(ask)) == ask


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ask": "", "entries": []}', '{"ask": 3, "entries": [{}]}'])
def test_what_is_no_request_to_keep_is_refused(text: str) -> None:
    with pytest.raises(NciaError):
        read_keep(text)


def test_too_many_entries_at_once_are_refused(world: World) -> None:
    permit = world.permit()
    with pytest.raises(NciaError, match="at once"):
        read_keep(keep_text(ask_for(world, *[permit] * (AT_ONCE_MAX + 1))))


@pytest.fixture
def asked(world: World, tmp_path: Path) -> Iterator[HttpWitness]:
    own, east = identity(tmp_path, THIRD, "witness"), identity(tmp_path, EAST, "serve")
    server = open_door(("127.0.0.1", 0), own.server(), [server_name(EAST)], world.witness, world.keeper)
    host, port = server.server_address
    yield HttpWitness(f"https://{host}:{port}", THIRD, east.client(), server_name(THIRD, "witness"))
    server.shutdown()
    server.server_close()


def test_entries_are_kept_and_given_back_through_the_door(world: World, asked: HttpWitness) -> None:
    world.west.away = True
    permits = [world.permit(), world.permit("run-2")]
    two = TwoOfThree(world.east, by_peer(world.east, world.west), asked, world.pace)
    assert two.demand(permits, WHAT, OVERRIDE).site == THIRD
    assert asked.kept(EAST) == tuple(permits)
    assert asked.kept(SiteId("nowhere")) == ()
    by_witness(world.east, asked).ask()
    with pytest.raises(NciaError) as refused:
        asked.keep(ask_for(world, world.east.entries(EAST)[0], old=4))
    assert refused.value.code == "journal.witness-refused"
