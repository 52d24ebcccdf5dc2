"""What an interrupted backup had kept is found again by the next one, though no index names it."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.pruning import Wish, prune
from backup.repository.care.removal import alone
from backup.repository.ports import Kind
from backup.repository.repository import Repository, create, open_repository
from backup.repository.save.output import save_output
from backup.repository.save.pipeline import Packing
from backup.repository.save.saving import Request, Saved, save
from backup.repository.stores.folder import FolderStore
from backup.repository.strays import name_strays
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.faults import Killed
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new, reopened
from tests.fakes.repository import FakeStore
from tests.restic import demand_restic

CLOCK = SystemClock()
FILES = 5
FILE_BYTES = 9_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    found = tmp_path / "source"
    found.mkdir()
    for number in range(FILES):
        (found / str(number)).write_bytes(noise(number, FILE_BYTES))
    return found


def backup(store: object, source: Path) -> Saved:
    return save(open_repository(store, PASSWORD), Request((str(source),), HOLDER, workers=1), CLOCK)


class Dies(FakeStore):
    """The process is killed when it would keep one pack more than ``packs``."""

    def __init__(self, packs: int) -> None:
        super().__init__()
        self.packs = packs
        self._lock = threading.Lock()

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        with self._lock:
            self.packs -= kind is Kind.DATA
            if self.packs < 0:
                raise Killed
        super().save(kind, name, data)


def killed(source: Path, packs: int) -> FakeStore:
    """A repository in which a backup was killed once it had kept so many packs, before it named any."""
    dying, below = Dies(packs), FakeStore()
    new(dying)
    with pytest.raises(Killed):
        backup(dying, source)
    below.held = {key: content for key, content in dying.held.items() if key[0] is not Kind.LOCKS}
    return below


def reopened_at(store: FakeStore) -> Repository:
    return open_repository(store, PASSWORD)


def strays(store: FakeStore) -> set[str]:
    return {each.name for each in store.names(Kind.DATA)}


def test_a_backup_that_is_killed_costs_the_next_one_what_it_had_not_kept_and_no_more(source: Path) -> None:
    store = killed(source, packs=2)
    kept = sum(each.size for each in store.names(Kind.DATA))
    assert list(store.names(Kind.INDEX)) == []
    saved = backup(store, source)
    assert saved.figures.recovered == 2
    assert saved.figures.bytes == FILES * FILE_BYTES  # all of it is read again
    assert saved.added.plain_bytes < FILES * FILE_BYTES - kept * 0.99
    checked = Checking(open_repository(store, PASSWORD), Share()).run()
    assert (checked.faults, checked.notes) == ([], [])
    assert backup(store, source).figures.recovered == 0


def test_what_a_command_had_written_by_then_is_found_again_too(source: Path) -> None:
    store = killed(source, packs=1)
    saved = save_output(open_repository(store, PASSWORD), Request(("one",), HOLDER), ["cat", str(source / "0")], CLOCK)
    assert saved.figures.recovered == 1
    kept = [blob.id for _, packs in reopened_at(store).index_files() for _, blobs in packs for blob in blobs]
    assert len(kept) == len(set(kept))  # none of it twice


def test_restic_counts_on_what_was_found_again_and_takes_no_offence_at_packs_that_two_indexes_name(
    tmp_path: Path, source: Path
) -> None:
    """As when the first backup was under way, and not over: it names its packs as well when it ends."""
    root = tmp_path / "repository"
    store = FolderStore(root)
    create(store, PASSWORD, HOLDER, NOW, CHEAP)
    first = backup(store, source)
    late = {each.name: store.load(Kind.INDEX, each.name) for each in store.names(Kind.INDEX)}
    for name in late:
        store.remove(Kind.INDEX, name)
    store.remove(Kind.SNAPSHOTS, first.snapshot.id)
    second = backup(store, source)
    assert second.figures.recovered > 0
    assert second.added.data_blobs == 0  # of folders above it other tests may have made other trees
    for name, content in late.items():
        store.save(Kind.INDEX, name, content)
    assert "no errors were found" in demand_restic().run(root, "check", "--read-data", password=PASSWORD)


def test_what_is_no_whole_pack_or_holds_nothing_new_is_left_as_it_is(source: Path) -> None:
    store = killed(source, packs=2)
    one, other = sorted(strays(store))
    whole = store.held[Kind.DATA, one]
    store.held[Kind.DATA, one] = whole[: len(whole) // 2]
    store.held[Kind.DATA, "ab" * 32] = b"junk"
    store.held[Kind.DATA, "cd" * 32] = store.held[Kind.DATA, other]  # the same blobs once more
    repository = open_repository(store, PASSWORD)
    assert name_strays(repository, repository.packs_there(), lambda: None) == 1
    (named,) = [pack.hex() for _, packs in repository.index_files() for pack, _ in packs]
    assert named in (other, "cd" * 32)


def test_what_is_marked_for_removal_is_not_counted_on(source: Path) -> None:
    store = killed(source, packs=2)
    repository = open_repository(store, PASSWORD)
    with alone(repository, HOLDER, CLOCK) as lock:
        marked = prune(repository, lock, CLOCK.now(), Wish(timedelta(days=7), empty=True)).marked
    assert marked == 2
    saved = backup(store, source)
    assert (saved.figures.recovered, saved.added.plain_bytes > FILES * FILE_BYTES) == (0, True)


def test_whoever_lost_the_lock_names_nothing() -> None:
    repository = new()
    packing = Packing(repository, verify=True, guard=lambda: None)
    packing.keep(b"kept")
    packing.finish()
    for index in list(repository.store.names(Kind.INDEX)):
        repository.store.remove(Kind.INDEX, index.name)

    def lost() -> None:
        raise Refusal("repository.lock-lost", "go on writing", "it is lost", "run it again")

    fresh: Repository = reopened(repository)
    with pytest.raises(Refusal, match="it is lost"):
        name_strays(fresh, fresh.packs_there(), lost)
    assert list(repository.store.names(Kind.INDEX)) == []
