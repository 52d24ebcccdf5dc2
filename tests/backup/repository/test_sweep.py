"""A fault at every single call to the store: nothing that was proven is lost, and the next backup is whole."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.repository import open_repository
from backup.repository.restore.restoring import Restored, Restoring
from backup.repository.save.saving import Request, Saved, save
from backup.repository.save.walk import Way
from backup.repository.stores.retry import Retrying
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import differences, noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new
from tests.fakes.repository import FakeStore

CLOCK = SystemClock()
PASSING = (Fault.BUSY, Fault.TRUNCATED, Fault.LOST, Fault.LATE)  # asked again, the work is done


class Scene:
    """A repository with one proven snapshot, and a source that has changed since."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.source = folder, folder / "source"
        (self.source / "below").mkdir(parents=True)
        (self.source / "old").write_bytes(noise(1, 5000))
        (self.source / "below" / "text").write_bytes(b"text " * 999)
        made = new()
        self.first = save(made, Request((str(self.source),), HOLDER), CLOCK).snapshot
        self.proven = listing_of(self.source)
        self.held = dict(made.store.held)
        (self.source / "old").write_bytes(noise(2, 6000))
        (self.source / "new").write_bytes(b"new")
        self.targets = 0

    def store(self) -> FakeStore:
        store = FakeStore()
        store.held = copy.copy(self.held)
        return store

    def backup(self, store: object) -> Saved:
        """By one worker, so that each run makes the same calls."""
        return save(open_repository(store, PASSWORD), Request((str(self.source),), HOLDER, workers=1), CLOCK)

    def restore(self, store: object, snapshot: Snapshot) -> tuple[Restored, Path]:
        repository = open_repository(store, PASSWORD)
        repository.load_index()
        self.targets += 1
        target = self.folder / f"target{self.targets}"
        with Restoring(repository) as restoring:
            told = restoring.run(snapshot, target, Way(whole=True))
        return told, target / self.source.relative_to("/")

    def calls(self) -> int:
        counting = FaultyStore(self.store())
        self.backup(counting)
        return len(counting.calls)

    def judge(self, store: FakeStore, saved: Saved | None) -> None:
        """What was proven comes back, what was called kept comes back, and the next backup is whole."""
        told, back = self.restore(store, self.first)
        assert (told.losses.named, listing_of(back)) == ([], self.proven)
        if saved is not None:
            told, back = self.restore(store, saved.snapshot)
            assert (told.losses.named, differences(self.source, back)) == ([], [])
        told, back = self.restore(store, self.backup(store).snapshot)
        assert (told.losses.named, differences(self.source, back)) == ([], [])


def listing_of(top: Path) -> dict[str, bytes]:
    return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("sweep"))


@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.NONE])
def test_a_backup_with_a_fault_at_any_call_loses_nothing(scene: Scene, fault: Fault) -> None:
    ended = 0
    for at in range(1, scene.calls() + 1):
        below = scene.store()
        faulty = FaultyStore(below, fault, at)
        saved = None
        try:
            saved = scene.backup(faulty)
        except (NciaError, Killed):
            ended += 1
        faulty.heal()
        faulty.arrive()
        scene.judge(below, saved)
    assert ended > 0


@pytest.mark.parametrize("fault", PASSING)
def test_a_backup_that_asks_again_ends_well_whatever_call_got_no_answer(scene: Scene, fault: Fault) -> None:
    for at in range(1, scene.calls() + 1):
        below = scene.store()
        faulty = FaultyStore(below, fault, at)
        saved = scene.backup(Retrying(faulty, pause=lambda _: None))
        faulty.arrive()
        scene.judge(below, saved)


@pytest.mark.parametrize("fault", [Fault.IO_ERROR, *PASSING])
def test_a_restore_with_a_fault_at_any_call_never_passes_for_whole(scene: Scene, fault: Fault) -> None:
    below = scene.store()
    snapshot = scene.backup(below).snapshot
    counting = FaultyStore(below)
    scene.restore(counting, snapshot)
    for at in range(1, len(counting.calls) + 1):
        try:
            told, back = scene.restore(FaultyStore(below, fault, at), snapshot)
        except NciaError:
            continue
        assert told.partial or differences(scene.source, back) == []


def test_what_a_crash_left_is_no_fault_of_the_repository(scene: Scene) -> None:
    """Packs without an index, locks without a holder: a check passes, and says so."""
    notes: list[str] = []
    for at in range(1, scene.calls() + 1):
        below = scene.store()
        with pytest.raises(Killed):
            scene.backup(FaultyStore(below, Fault.KILLED_AFTER, at))
        checked = Checking(open_repository(below, PASSWORD), Share()).run()
        assert checked.faults == []
        notes += checked.notes
    assert any("named by no index" in note for note in notes)


def test_half_a_lock_under_its_name_stops_nobody(scene: Scene) -> None:
    below = scene.store()
    below.save(Kind.LOCKS, "ab" * 32, b"half of a lo")
    assert not scene.backup(below).partial


@pytest.mark.parametrize("kind", [Kind.INDEX, Kind.SNAPSHOTS])
def test_a_damaged_file_is_passed_over_and_told(scene: Scene, kind: Kind) -> None:
    below = scene.store()
    below.save(kind, "ab" * 32, b"half of something")
    repository = open_repository(below, PASSWORD)
    repository.load_index()
    repository.snapshots()
    assert [sentence.partition(":")[0] for sentence in repository.damaged] == [f"read {kind.value} abababab"]
    scene.judge(below, None)
