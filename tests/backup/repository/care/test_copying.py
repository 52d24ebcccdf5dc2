"""A twin gets the files as they are, in an order in which nothing counts on what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backup.repository.care.checking import Checked, Checking, Share
from backup.repository.care.copying import Copied, Copying, twins
from backup.repository.ports import Kind, Stored
from backup.repository.repository import Repository, open_repository
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new, reopened, twin_of
from tests.fakes.repository import FakeStore

COPIED = (Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS)


def kept(tmp_path: Path, snapshots: int = 2) -> Repository:
    repository = new()
    for number in range(snapshots):
        (tmp_path / f"file{number}").write_bytes(noise(number, 3000))
        save(reopened(repository), Request((str(tmp_path),), HOLDER), SystemClock())
    return repository


def copy(one: Repository, other: Repository) -> Copied:
    return Copying(opened(one.store), opened(other.store), lambda: None).run()


def opened(store: object) -> Repository:
    return open_repository(store, PASSWORD)


def files(repository: Repository) -> dict[tuple[Kind, str], bytes]:
    return {key: content for key, content in repository.store.held.items() if key[0] in COPIED}


def check(repository: Repository) -> Checked:
    return Checking(opened(repository.store), Share()).run()


def flip(repository: Repository, kind: Kind, name: str) -> None:
    content = bytearray(repository.store.held[kind, name])
    content[len(content) // 2] ^= 1
    repository.store.held[kind, name] = bytes(content)


def names(repository: Repository, kind: Kind) -> list[str]:
    return sorted(each.name for each in repository.store.names(kind))


def test_a_twin_gets_every_file_byte_for_byte_and_keeps_its_own_key(tmp_path: Path) -> None:
    one = kept(tmp_path)
    other = twin_of(one)
    keys = names(other, Kind.KEYS)
    copied = copy(one, other)
    assert files(other) == files(one)
    assert (copied.faults, copied.packs, len(copied.snapshots)) == ([], len(names(one, Kind.DATA)), 2)
    assert copied.bytes == copied.bytes_all == sum(each.size for each in one.store.names(Kind.DATA))
    assert names(other, Kind.KEYS) == keys != names(one, Kind.KEYS)
    assert check(other).holds


def test_what_is_there_is_not_sent_again(tmp_path: Path) -> None:
    one = kept(tmp_path)
    other = twin_of(one)
    copy(one, other)
    counting = FaultyStore(other.store)
    copied = Copying(opened(one.store), opened(counting), lambda: None).run()
    assert (copied.packs, copied.indexes, copied.snapshots, copied.bytes) == (0, 0, [], 0)
    assert not [call for call in counting.calls if call.verb == "save"]


def test_packs_come_before_indexes_and_these_before_snapshots(tmp_path: Path) -> None:
    one = kept(tmp_path)
    counting = FaultyStore(twin_of(one).store)
    Copying(opened(one.store), opened(counting), lambda: None).run()
    saved = [call.kind for call in counting.calls if call.verb == "save"]
    assert saved == sorted(saved, key=COPIED.index)


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault not in (Fault.NONE, Fault.HALF)])
def test_a_copy_that_breaks_off_at_any_call_leaves_what_holds_and_goes_on_when_run_again(
    tmp_path: Path, fault: Fault
) -> None:
    one = kept(tmp_path)
    whole = FaultyStore(twin_of(one).store)
    Copying(opened(one.store), opened(whole), lambda: None).run()
    for at in range(3, len(whole.calls) + 1):  # opening takes the first ones
        other = twin_of(one)
        faulty = FaultyStore(other.store, fault, at)
        try:
            Copying(opened(one.store), opened(faulty), lambda: None).run()
        except (NciaError, Killed):
            faulty.heal()
        faulty.arrive()
        assert check(other).holds
        assert copy(one, other).faults == []
        assert files(other) == files(one)
        assert check(other).holds


@pytest.mark.parametrize("kind", COPIED)
def test_a_flipped_bit_is_not_copied_and_is_named(tmp_path: Path, kind: Kind) -> None:
    one = kept(tmp_path)
    bad = names(one, kind)[0]
    flip(one, kind, bad)
    other = twin_of(one)
    copied = copy(one, other)
    assert copied.partial
    assert any(bad[:8] in fault and "hash" in fault for fault in copied.faults)
    assert (kind, bad) not in other.store.held


def test_a_snapshot_that_lost_a_pack_for_good_is_kept_at_both_places_and_an_index_names_only_what_is_there(
    tmp_path: Path,
) -> None:
    one = kept(tmp_path)
    lost = names(one, Kind.DATA)[0]
    one.store.remove(Kind.DATA, lost)
    other = twin_of(one)
    copied = copy(one, other)
    assert len(copied.snapshots) == 2
    assert f"pack {lost[:8]}: an index names it, and it is at neither place" in copied.faults
    assert not [fault for fault in check(other).faults if "is missing" in fault]


def test_a_snapshot_whose_pack_is_doubtful_at_the_other_place_is_held_back(tmp_path: Path) -> None:
    one = kept(tmp_path, snapshots=1)
    pack = names(one, Kind.DATA)[0]
    other = twin_of(one)
    other.store.save(Kind.DATA, pack, one.store.load(Kind.DATA, pack)[:-1])
    copied = copy(one, other)
    assert "repair finds the right one" in copied.faults[0]
    assert "held back" in copied.faults[1]
    assert names(other, Kind.SNAPSHOTS) == []


def test_chosen_snapshots_bring_what_they_need_and_no_more(tmp_path: Path) -> None:
    one = kept(tmp_path, snapshots=3)
    other = twin_of(one)
    first = reopened(one).snapshots()[0]
    copied = Copying(opened(one.store), opened(other.store), lambda: None).run([first])
    assert (copied.faults, copied.snapshots) == ([], [first.id])
    assert 0 < len(names(other, Kind.DATA)) < len(names(one, Kind.DATA))
    assert check(other).holds
    copy(one, other)
    assert files(one).items() <= files(other).items()
    assert check(other).holds


def test_whoever_lost_its_lock_writes_no_index_and_no_snapshot(tmp_path: Path) -> None:
    one = kept(tmp_path)
    other = twin_of(one)

    def lost() -> None:
        raise Refusal("repository.lock-lost", "go on writing", "frozen")

    with pytest.raises(Refusal):
        Copying(opened(one.store), opened(other.store), lost).run()
    assert names(other, Kind.INDEX) == names(other, Kind.SNAPSHOTS) == []


def test_another_repository_is_no_twin() -> None:
    one = new()
    assert twins(one, twin_of(one))
    assert not twins(one, new(FakeStore()))


def test_a_backup_that_ends_while_a_copy_goes_on_is_left_for_the_next_one(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "first").write_bytes(noise(1, 3000))
    request = Request((str(source),), HOLDER)

    class Busy(FakeStore):
        """Between the listing of its packs and of anything else another backup ends there."""

        more: Callable[[], None] = staticmethod(lambda: None)

        def names(self, kind: Kind) -> Iterator[Stored]:
            listed = list(super().names(kind))
            if kind is Kind.DATA:
                more, self.more = self.more, lambda: None
                more()
            return iter(listed)

    one = new(Busy())
    save(open_repository(one.store, PASSWORD), request, SystemClock())
    two = twin_of(one)
    (source / "second").write_bytes(noise(2, 3000))
    one.store.more = lambda: save(open_repository(one.store, PASSWORD), request, SystemClock())
    told = Copying(open_repository(one.store, PASSWORD), two, lambda: None).run()
    assert (told.faults, len(told.snapshots)) == ([], 1)
    assert Checking(open_repository(two.store, PASSWORD), Share()).run().holds
    again = Copying(open_repository(one.store, PASSWORD), reopened(two), lambda: None).run()
    assert (again.faults, len(again.snapshots)) == ([], 1)
    assert Checking(open_repository(two.store, PASSWORD), Share()).run().holds
