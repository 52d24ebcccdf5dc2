"""What a check finds is mended: from the twin, else from what is left; what is lost for good is named."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.repository.care.checking import Checked, Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.care.repairing import Repaired, Repairing
from backup.repository.care.repairing_access import Opening
from backup.repository.format.packs import Blob
from backup.repository.ports import Kind
from backup.repository.repository import open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import differences, noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

Damage = Callable[[bytes], bytes | None]
Held = dict[tuple[Kind, str], bytes]
SEALED = (Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS)


def flipped(content: bytes) -> bytes:
    """Not in the file's first words: those of a key file that nobody can read are another case."""
    at = content.index(b'"data":"') + 20 if content.startswith(b'{"created"') else len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def gone(_: bytes) -> None:
    return None


class Pair:
    """A repository of three snapshots and its twin, which holds the same."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        (self.source / "below").mkdir(parents=True)
        self.one = new()
        for number in range(3):
            (self.source / f"file{number}").write_bytes(noise(number, 3000))
            (self.source / "below" / f"file{number}").write_bytes(noise(10 + number, 2000))
            save(reopened(self.one), Request((str(self.source),), HOLDER), SystemClock())
        self.two = twin_of(self.one)
        Copying(reopened(self.one), reopened(self.two), lambda: None).run()
        self.first, self.second = copy.copy(self.one.store.held), copy.copy(self.two.store.held)

    def fresh(self) -> tuple[FakeStore, FakeStore]:
        stores = FakeStore(), FakeStore()
        for store, held in zip(stores, (self.first, self.second), strict=True):
            store.held = copy.copy(held)
        return stores

    def whole(self, store: FakeStore) -> bool:
        """Check holds, and the last snapshot brings the source back."""
        found = reopened(open_repository(store, PASSWORD))
        target = self.folder / f"target{len(list(self.folder.iterdir()))}"
        with Restoring(found) as restoring:
            told = restoring.run(found.snapshots()[-1], target, Way(whole=True))
        back = target / self.source.relative_to("/")
        return check(store).holds and not told.partial and differences(self.source, back) == []


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def harm(store: FakeStore, damage: Damage, kind: Kind, which: int = 0) -> str:
    name = sorted(name for each, name in store.held if each is kind)[which]
    content = damage(store.held[kind, name])
    if content is None:
        del store.held[kind, name]
    else:
        store.held[kind, name] = content
    return name


def repair(store: object, twin: object = None, share: Share | None = None) -> Repaired:
    other = open_repository(twin, PASSWORD) if twin is not None else None
    opening = Opening(store, PASSWORD, other)
    repository = opening.run(HOLDER, NOW, CHEAP)
    told = Repairing(repository, other, lambda: None, share or Share()).run()
    told.mended[:0] = opening.mended
    told.lost[:0] = opening.lost
    return told


def check(store: object) -> Checked:
    return Checking(open_repository(store, PASSWORD), Share()).run()


def sealed(held: Held) -> Held:
    return {key: content for key, content in held.items() if key[0] in SEALED}


def test_what_is_whole_is_left_as_it_is(pair: Pair) -> None:
    one, two = pair.fresh()
    for twin in (None, two):
        told = repair(one, twin)
        assert (told.mended, told.lost, told.notes) == ([], [], [])
        assert (told.bytes_read, one.held) == (told.bytes, pair.first)


@pytest.mark.parametrize("damage", [flipped, cut, gone])
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.LOCKS])
def test_a_file_of_any_kind_that_is_damaged_cut_or_gone_comes_back_from_the_twin(
    pair: Pair, kind: Kind, damage: Damage
) -> None:
    for which in range(sum(each is kind for each, _ in pair.first)):
        one, two = pair.fresh()
        harm(one, damage, kind, which)
        told = repair(one, two)
        assert (told.lost if kind is not Kind.KEYS else [], told.mended != []) == ([], True)
        assert sealed(one.held) == sealed(pair.first)
        assert check(one).holds
        assert two.held == pair.second
        again = repair(one, two)
        assert (again.mended, again.lost) == ([], [])


@pytest.mark.parametrize("damage", [flipped, cut, gone])
def test_an_index_comes_back_from_what_the_packs_tell(pair: Pair, damage: Damage) -> None:
    one, _ = pair.fresh()
    for which in range(3):
        harm(one, damage, Kind.INDEX, 0 if damage is gone else which)
    told = repair(one)
    assert (told.lost, told.mended != []) == ([], True)
    assert pair.whole(one)


def test_everything_at_once_comes_back_to_a_place_that_was_emptied(pair: Pair) -> None:
    one, two = pair.fresh()
    for kind in SEALED:
        while any(each is kind for each, _ in one.held):
            harm(one, gone, kind)
    told = repair(one, two)
    assert (told.lost, told.bytes_brought) == ([], told.bytes_to_bring)
    assert told.bytes_brought == sum(len(content) for (kind, _), content in two.held.items() if kind is Kind.DATA)
    assert sealed(one.held) == sealed(pair.first)


def test_two_places_that_are_damaged_at_different_packs_heal_each_other(pair: Pair) -> None:
    one, two = pair.fresh()
    harm(one, flipped, Kind.DATA, 0)
    harm(one, gone, Kind.SNAPSHOTS, 1)
    harm(two, cut, Kind.DATA, 1)
    harm(two, flipped, Kind.INDEX, 0)
    assert repair(one, two).lost == []
    assert repair(two, one).lost == []
    assert sealed(one.held) == sealed(pair.first)
    assert check(two).holds
    assert pair.whole(one)
    assert pair.whole(two)


def test_two_places_that_are_damaged_at_different_blobs_of_one_pack_heal_each_other(pair: Pair) -> None:
    one, two = pair.fresh()
    pack, (first, second) = pack_of_two(one)
    harm_blob(one, pack, first)
    harm_blob(two, pack, second)
    told = repair(one, two)
    assert told.lost == []
    assert any("2 of 2 blobs that nothing else holds were salvaged" in sentence for sentence in told.mended)
    assert (Kind.DATA, pack) not in one.held
    assert repair(two, one).lost == []
    assert pair.whole(one)
    assert pair.whole(two)


def pack_of_two(store: FakeStore) -> tuple[str, tuple[Blob, Blob]]:
    packs = [each for _, packs in reopened(open_repository(store, PASSWORD)).index_files() for each in packs]
    pack, blobs = next((pack, blobs) for pack, blobs in packs if len(blobs) == 2 and not blobs[0].tree)
    return pack.hex(), (blobs[0], blobs[1])


def harm_blob(store: FakeStore, pack: str | bytes, blob: Blob) -> None:
    pack = pack if isinstance(pack, str) else pack.hex()
    content = bytearray(store.held[Kind.DATA, pack])
    content[blob.offset + 20] ^= 1
    store.held[Kind.DATA, pack] = bytes(content)


def test_what_is_nowhere_is_named_with_its_files_and_snapshots_and_what_is_left_is_salvaged(pair: Pair) -> None:
    one, _ = pair.fresh()
    pack, (first, second) = pack_of_two(one)
    harm_blob(one, pack, first)
    told = repair(one)
    assert told.partial
    assert told.lost_count == len(told.lost) > 0
    fate = f"blob {first.id.hex()[:8]} is lost for good, unless a twin has it"
    assert all(fate in sentence for sentence in told.lost)
    assert all(str(pair.source) in sentence and " of snapshot " in sentence for sentence in told.lost)
    assert reopened(open_repository(one, PASSWORD)).load_blob(second.id, tree=False)
    assert (Kind.DATA, pack) in one.held  # what is left of it stays
    faults = check(one).faults
    assert faults
    assert all("no index tells where blob" in fault for fault in faults)
    again = repair(one)
    assert (again.mended, again.lost) == ([], told.lost)


def test_a_pack_that_was_salvaged_whole_is_removed_only_then(pair: Pair) -> None:
    """Its header is damaged, and every blob is there by what the index tells."""
    one, _ = pair.fresh()
    name = harm(one, without_header, Kind.DATA, 0)
    order = FaultyStore(one)
    assert repair(order).lost == []
    changes = [(call.verb, call.kind) for call in order.calls if call.verb in ("save", "remove")]
    assert changes[0] == ("save", Kind.DATA)
    assert changes[-1] == ("remove", Kind.DATA)
    assert (Kind.DATA, name) not in one.held
    assert pair.whole(one)


def test_a_pack_of_which_nothing_can_be_told_is_left_as_it_is(pair: Pair) -> None:
    """No index names it, and its header cannot be read: its blobs may be good, and the twin may be back one day."""
    one, _ = pair.fresh()
    name = pack_of_two(one)[0]
    for index, packs in list(open_repository(one, PASSWORD).index_files()):
        if bytes.fromhex(name) in dict(packs):
            one.remove(Kind.INDEX, index)
    one.held[Kind.DATA, name] = before = without_header(one.held[Kind.DATA, name])
    assert repair(one).lost != []
    assert one.held[Kind.DATA, name] == before


@pytest.mark.parametrize("theirs", ["header", "index"])
def test_a_blob_is_found_by_what_the_twin_tells_of_a_pack_that_is_damaged_at_both(pair: Pair, theirs: str) -> None:
    one, two = pair.fresh()
    name, (first, second) = pack_of_two(one)
    for store in (one, two) if theirs == "header" else (one,):
        for index, packs in list(open_repository(store, PASSWORD).index_files()):
            if bytes.fromhex(name) in dict(packs):
                store.remove(Kind.INDEX, index)
    one.held[Kind.DATA, name] = without_header(one.held[Kind.DATA, name])
    harm_blob(one, name, first)
    harm_blob(two, name, second)
    if theirs == "index":
        two.held[Kind.DATA, name] = without_header(two.held[Kind.DATA, name])
    for here, there in ((one, two), (two, one)):
        assert repair(here, there).lost == []
        assert pair.whole(here)


def without_header(content: bytes) -> bytes:
    return content[:-10] + bytes([content[-10] ^ 1]) + content[-9:]


def test_only_the_share_that_was_asked_for_is_read_and_what_is_missing_is_mended_whatever_it_is(pair: Pair) -> None:
    one, two = pair.fresh()
    bad, (blob, _) = pack_of_two(one)
    harm_blob(one, bad, blob)
    missing = next(name for kind, name in one.held if kind is Kind.DATA and name != bad)
    del one.held[Kind.DATA, missing]
    told = repair(one, two, Share(0, 0))
    assert (told.bytes_read, told.lost, (Kind.DATA, missing) in one.held) == (0, [], True)
    assert one.held[Kind.DATA, bad] != pair.first[Kind.DATA, bad]
    assert check(one).faults != []
    repair(one, two, Share(int(bad[:8], 16) % 7 + 1, 7))
    assert one.held[Kind.DATA, bad] == pair.first[Kind.DATA, bad]


def test_a_tree_in_a_pack_that_was_not_read_is_not_called_lost_for_good(pair: Pair) -> None:
    one, two = pair.fresh()
    found = reopened(open_repository(one, PASSWORD))
    harm_blob(one, *found.index.where(found.snapshots()[0].tree, tree=True))
    assert "in a pack that was not read" in repair(one, two, Share(0, 0)).lost[0]
    assert repair(one, two).lost == []


def test_a_pack_that_the_disk_does_not_give_just_now_is_left_as_it_is(pair: Pair) -> None:
    one, _ = pair.fresh()
    counting = FaultyStore(one)
    repair(counting)
    at = next(n for n, call in enumerate(counting.calls, 1) if call.verb == "load" and call.kind is Kind.DATA)
    told = repair(FaultyStore(one, Fault.IO_ERROR, at))
    assert "cannot be read just now, and is left as it is" in told.lost[0]
    assert one.held == pair.first


def test_another_repositorys_configuration_is_never_put_in_place_of_ones_own(pair: Pair) -> None:
    one, _ = pair.fresh()
    harm(one, flipped, Kind.CONFIG)
    before = copy.copy(one.held)
    with pytest.raises(Refusal, match="its key is another one"):
        repair(one, new().store)
    assert one.held == before


def test_a_wrong_password_makes_no_new_key(pair: Pair) -> None:
    one, two = pair.fresh()
    with pytest.raises(NciaError, match="opens none of its 1 keys"):
        Opening(one, "wrong", open_repository(two, PASSWORD)).run(HOLDER, NOW, CHEAP)
    assert one.held == pair.first


@pytest.mark.parametrize("twin", [False, True])
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.NONE, Fault.HALF)])
def test_a_repair_with_a_fault_at_any_call_loses_nothing_and_ends_when_run_again(
    pair: Pair, fault: Fault, twin: bool
) -> None:
    """A disk fails at any call; whatever has to do with writing, where something is written or removed."""
    one, two = pair.fresh()
    harm_all(one, twin)
    broken = copy.copy(one.held)
    counting = FaultyStore(one)
    repair(counting, two if twin else None)
    for at, call in enumerate(counting.calls, 1):
        if fault is not Fault.IO_ERROR and call.verb not in ("save", "remove"):
            continue
        below = FakeStore()
        below.held = copy.copy(broken)
        faulty = FaultyStore(below, fault, at)
        try:
            repair(faulty, two if twin else None)
        except (NciaError, Killed):
            faulty.heal()
        faulty.arrive()
        assert repair(below, two if twin else None).lost == []
        assert check(below).holds


def harm_all(store: FakeStore, twin: bool) -> None:
    """Whatever can be mended: with the twin, and without it."""
    packs = {name: [pack.hex() for pack, _ in packs] for name, packs in open_repository(store, PASSWORD).index_files()}
    first, second, third = packs
    store.held[Kind.INDEX, first] = flipped(store.held[Kind.INDEX, first])
    del store.held[Kind.INDEX, second]
    if twin:
        harm(store, flipped, Kind.DATA, 0)
        harm(store, gone, Kind.DATA, 1)
        harm(store, cut, Kind.SNAPSHOTS, 0)
    else:  # a header, which an index still makes up for
        content = store.held[Kind.DATA, packs[third][0]]
        store.held[Kind.DATA, packs[third][0]] = content[:-10] + bytes([content[-10] ^ 1]) + content[-9:]
