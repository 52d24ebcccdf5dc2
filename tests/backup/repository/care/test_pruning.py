"""Prune: marked, and removed once the grace is over; whatever happens on the way, what is needed is there."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from backup.repository.care.checking import STRUCTURE_ONLY, Checking, Share
from backup.repository.care.pruning import Wish, prune, rehearse
from backup.repository.care.removal import alone
from backup.repository.faults import Damaged
from backup.repository.format.index import index_marks
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.retaining import Capabilities
from backup.repository.stores.retry import Retrying
from ncia.core.base.errors import Refusal
from tests.backup.repository.faults import Fault
from tests.backup.repository.prune_world import CONTENTS, ELSEWHERE, FAULTS, GRACE, Files, World, live
from tests.backup.repository.sample import NOW, PASSWORD
from tests.fakes.repository import FakeStore
from tests.restic import demand_restic

EVERYWHERE = (Fault.KILLED_BEFORE, Fault.FULL, Fault.IO_ERROR)
HOUR = 1.0
WEEK_HOURS = 24 * 7


def packs(world: World) -> set[str]:
    return {each.name for each in world.store.names(Kind.DATA)}


def two_nights() -> World:
    """The first night is forgotten; the second shares a file with it."""
    world = World()
    world.backup({"a": (1, 2, 3), "d": (4,)})
    world.backup({"a": (1,), "e": (5, 6)})
    world.forget([next(iter(world.kept))])
    return world


def test_what_nobody_needs_is_marked_first_and_removed_when_its_grace_is_over() -> None:
    world = two_nights()
    before = packs(world)
    assert world.prune()
    first = world.prunes[-1]
    assert (first.marked > 0, first.removed, first.repacked) == (True, 0, 1)
    assert packs(world) > before
    world.judge(pruned=True)
    world.advance(WEEK_HOURS - HOUR)
    assert world.prune()
    assert (world.prunes[-1].removed, world.prunes[-1].waiting) == (0, first.marked)
    world.advance(2 * HOUR)
    assert world.prune()
    assert (world.prunes[-1].removed, world.prunes[-1].waiting) == (first.marked, 0)
    assert packs(world).isdisjoint(before - packs(world))
    world.judge(pruned=True)
    world.settle()


def test_a_prune_that_finds_nothing_to_do_writes_nothing() -> None:
    world = two_nights()
    world.prune()
    held = dict(world.store.held)
    assert world.prune()
    assert world.store.held == held


def test_a_rehearsal_tells_what_would_be_done_and_writes_nothing() -> None:
    world = two_nights()
    held = dict(world.store.held)
    told = rehearse(world.opened(), world.clock.now(), Wish(GRACE, 0.0))
    assert world.store.held == held
    world.prune()
    done = world.prunes[-1]
    assert told.dry
    assert (told.marked, told.marked_bytes, told.repacked) == (done.marked, done.marked_bytes, done.repacked)


def test_without_grace_everything_goes_at_once() -> None:
    world = two_nights()
    assert world.prune(grace=timedelta(0))
    assert (world.prunes[-1].marked, world.prunes[-1].removed > 0) == (0, True)
    world.judge(pruned=True)
    repository = world.opened()
    repository.load_index()
    assert packs(world) == {each.hex() for each in repository.index.packs()}


def test_marks_stand_in_the_index_as_rustic_spells_them() -> None:
    world = two_nights()
    world.prune()
    repository = world.opened()
    texts = [repository.load_file(Kind.INDEX, each.name) for each in world.store.names(Kind.INDEX)]
    (text,) = [each for each in texts if b'"packs_to_delete":[{"id":"' in each]
    marks = list(index_marks(text, "read it"))
    assert {mark.at for mark in marks} == {NOW}
    assert all(mark.blobs for mark in marks)
    assert f'"time":"{NOW:%FT%TZ}"'.encode() in text


def test_who_had_no_lock_and_counted_on_what_was_marked_meanwhile_is_readable_and_brings_it_back() -> None:
    world = World()
    files: Files = {"a": (1, 2), "d": (3,)}
    world.backup(files)
    world.begin()
    (frozen,) = world.writers
    world.forget(list(world.kept))
    world.prune()
    assert world.prunes[-1].marked > 0
    world.advance(100)
    for name, contents in files.items():
        world.put(frozen, name, contents)
    world.end(frozen)
    world.judge()  # through the marks
    told = Checking(world.opened(), Share()).run()
    assert told.faults == []
    assert "of them hold what a snapshot needs: the next prune brings them back" in told.notes[-1]
    world.advance(WEEK_HOURS)
    assert world.prune()
    assert world.prunes[-1].back > 0
    world.judge(pruned=True)


def test_a_backup_after_the_mark_counts_on_nothing_that_is_marked() -> None:
    world = World()
    world.backup({"a": (1, 2)})
    world.forget(list(world.kept))
    world.prune()
    marked = packs(world)
    world.backup({"a": (1, 2)})
    repository = world.opened()
    repository.load_index()
    assert {each.hex() for each in repository.index.packs()}.isdisjoint(marked)
    world.settle()


def test_packs_that_no_index_names_are_marked_and_given_their_time() -> None:
    world = World()
    world.backup({"a": (1,)})
    world.begin()
    world.lay(world.writers[0], "b", (2, 3))
    assert world.prune()
    assert world.prunes[-1].marked == 1
    world.advance(100)
    world.end(world.writers[0])
    world.judge()
    world.advance(100)
    assert world.prune()
    assert world.prunes[-1].removed == 0
    world.judge(pruned=True)


def ruin(kind: Kind) -> Callable[[World], None]:
    def change(world: World) -> None:
        at = next(each for each in world.store.held if each[0] is kind)
        content = world.store.held[at]
        world.store.held[at] = content[:-1] + bytes([content[-1] ^ 1])

    return change


def lose_a_tree(world: World) -> None:
    made = Snapshot(NOW, b"\7" * 32, ("/srv",), "host", "somebody")
    world.opened().save_file(Kind.SNAPSHOTS, made.as_json())


def lose_a_pack(world: World) -> None:
    for name in packs(world):
        world.store.remove(Kind.DATA, name)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (ruin(Kind.INDEX), "do not have the hash"),
        (ruin(Kind.SNAPSHOTS), "do not have the hash"),
        (lose_a_tree, "no index tells where tree 07070707 is"),
        (lose_a_pack, "no index tells where tree"),
    ],
)
def test_whoever_removes_refuses_where_something_cannot_be_read(change: Callable[[World], None], why: str) -> None:
    world = two_nights()
    world.backup({"b": (7,)})
    change(world)
    held = {each: content for each, content in world.store.held.items() if each[0] is not Kind.LOCKS}
    with alone(world.opened(), ELSEWHERE, world.officers) as lock, pytest.raises(Refusal, match=why) as refused:
        prune(world.opened(), lock, NOW, Wish())
    assert refused.value.code == "repository.unsure"
    assert world.store.held.items() >= held.items()


def test_a_place_whose_snapshots_are_all_gone_is_not_taken_for_one_that_nobody_needs() -> None:
    world = two_nights()
    world.store.held = {at: content for at, content in world.store.held.items() if at[0] is not Kind.SNAPSHOTS}
    with alone(world.opened(), ELSEWHERE, world.officers) as lock:
        with pytest.raises(Refusal, match="were its snapshots removed or hidden"):
            prune(world.opened(), lock, NOW, Wish())
        assert prune(world.opened(), lock, NOW, Wish(empty=True)).marked > 0


def test_a_blob_that_is_damaged_is_not_copied_and_its_pack_stays_counted_on() -> None:
    world = two_nights()
    repository = world.opened()
    repository.load_index()
    where = repository.where(hashlib.sha256(CONTENTS[1]).digest(), tree=False)
    assert where is not None
    at = (Kind.DATA, where.pack.hex())
    whole = world.store.held[at]
    middle = where.blob.offset + 20
    world.store.held[at] = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    with alone(world.opened(), ELSEWHERE, world.officers) as lock, pytest.raises(Damaged):
        prune(world.opened(), lock, NOW, Wish(timedelta(0), 0.0))
    world.store.held[at] = whole
    world.judge(pruned=True)


def test_an_account_that_may_only_add_is_told_so_before_anything_is_done() -> None:
    class AddsOnly(FakeStore):
        def capabilities(self) -> Capabilities:
            return Capabilities(adds_only=True)

    with pytest.raises(Refusal, match="may add files there, and neither remove"):
        alone(World().opened(Retrying(AddsOnly())), ELSEWHERE, World().clock).__enter__()


def test_a_pruner_that_was_frozen_and_wakes_removes_nothing_any_more() -> None:
    """But for the one call on which it was frozen."""
    ready, whys = two_nights(), []
    for at in range(1, ready.calls(0.0, timedelta(0)) + 1):
        world, seen = World.over(ready), set()

        def freeze(world: World = world, seen: set[object] = seen) -> None:
            world.officers.seconds += 1600
            seen.update(each for each in world.store.held if each[0] is not Kind.LOCKS)

        try:
            world.prune(grace=timedelta(0), at=at, do=freeze)
        except Refusal as refusal:
            whys.append(refusal.why)
            assert len(seen - world.store.held.keys()) <= 1
        world.judge()
    assert len(whys) > 5
    assert {"was not told anew for 1600 s" in why for why in whys} == {True}


def test_a_marked_pack_that_is_gone_helps_nobody_who_needs_it() -> None:
    world = World()
    world.backup({"a": (1, 2)})
    world.begin()
    world.forget(list(world.kept))
    world.prune()
    world.put(world.writers[0], "a", (1, 2))
    world.end(world.writers[0])
    repository = world.opened()
    repository.load_index()
    where = repository.where(hashlib.sha256(CONTENTS[1]).digest(), tree=False)
    assert where is not None
    world.store.remove(Kind.DATA, where.pack.hex())
    assert "no index tells where blob" in Checking(world.opened(), STRUCTURE_ONLY).run().faults[0]


@pytest.mark.parametrize("fault", [*FAULTS, Fault.HALF])
def test_a_prune_with_a_fault_at_any_call_loses_nothing_and_the_next_one_ends_it(fault: Fault) -> None:
    ready = two_nights()
    ready.backup({"c": (8, 9), "d": (4,)})
    ready.prune()
    ready.advance(WEEK_HOURS + 1)
    ready.forget([next(iter(ready.kept))])
    ended = 0
    for at, call in enumerate(ready.called(0.0), 1):
        if call.verb not in ("save", "remove") and fault not in EVERYWHERE:
            continue  # of what only reads they are all the same
        world = World.over(ready)
        ended += not world.prune(fault=fault, at=at)
        if fault is Fault.HALF and world.damaged():
            continue  # half an index under its name: whoever removes refuses, and repair mends it
        world.judge()
        world.advance(1)
        assert world.prune()
        world.judge(pruned=True)
    assert ended > 0


def test_restic_finds_no_fault_beside_marks_and_restores_and_prunes_on(tmp_path: Path) -> None:
    world, restic = two_nights(), demand_restic()
    world.advance(1)
    world.backup({"c": (8, 9)})
    world.prune()
    world.lay_down(tmp_path / "r")
    assert "no errors were found" in restic.run(tmp_path / "r", "check", "--read-data", password=PASSWORD)
    restic.run(tmp_path / "r", "restore", "latest", "--target", str(tmp_path / "target"), password=PASSWORD)
    assert (tmp_path / "target" / "c").read_bytes() == CONTENTS[8] + CONTENTS[9]
    restic.run(tmp_path / "r", "prune", password=PASSWORD)
    assert "no errors were found" in restic.run(tmp_path / "r", "check", "--read-data", password=PASSWORD)


@pytest.mark.parametrize("seed", range(8))
def test_a_life_from_a_seed_loses_nothing_and_leaves_nothing_over(seed: int) -> None:
    """Ten thousand of them: ``./dev soak prune``."""
    live(seed)


files_of = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(0, len(CONTENTS) - 1), max_size=3).map(tuple),
    min_size=1,
    max_size=3,
)


class Lives(RuleBasedStateMachine):
    """The same world, moved by Hypothesis, which makes a failing life short."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @rule(files=files_of)
    def backup(self, files: Files) -> None:
        self.world.backup(files)

    @rule()
    def begin(self) -> None:
        self.world.begin()

    @precondition(lambda self: self.world.writers)
    @rule(files=files_of, named=st.booleans())
    def go_on(self, files: Files, named: bool) -> None:
        for name, contents in files.items():
            (self.world.put if named else self.world.lay)(self.world.writers[0], name, contents)

    @precondition(lambda self: self.world.writers)
    @rule()
    def end(self) -> None:
        self.world.end(self.world.writers[0])

    @precondition(lambda self: self.world.kept)
    @rule(chance=st.randoms(use_true_random=False))
    def forget(self, chance: random.Random) -> None:
        self.world.forget([chance.choice(sorted(self.world.kept))])

    @rule(share=st.sampled_from((0.0, 0.05, 0.5)))
    def prune(self, share: float) -> None:
        if self.world.prune(share):
            self.world.judge(pruned=True)

    @rule(share=st.sampled_from((0.0, 0.5)), fault=st.sampled_from(FAULTS), back=st.integers(0, 30))
    def broken_prune(self, share: float, fault: Fault, back: int) -> None:
        self.world.prune(share, fault=fault, at=max(1, self.world.calls(share) - back))

    @rule(hours=st.sampled_from((1, 60, 170)), skew=st.integers(-24, 24))
    def later(self, hours: int, skew: int) -> None:
        self.world.advance(hours)
        self.world.officers.skew = skew * 3600.0

    @invariant()
    def all_is_there(self) -> None:
        self.world.judge()

    def teardown(self) -> None:
        self.world.settle()


Lives.TestCase.settings = settings(max_examples=15, stateful_step_count=12, deadline=None)
TestLives = Lives.TestCase
