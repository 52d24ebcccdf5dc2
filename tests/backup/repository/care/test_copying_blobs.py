"""Into a repository of another key everything is sealed anew, and the snapshot tells its original, as with restic."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.repository.care.copying import Copied
from backup.repository.care.copying_blobs import CopyingBlobs
from backup.repository.format.packs import Blob, runs_of
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.care.test_copying import check, flip, kept, names
from tests.backup.repository.faults import Fault, FaultyStore, Killed
from tests.backup.repository.files import differences, odd_tree
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, golden, new, reopened
from tests.restic import demand_restic


def copy(one: Repository, other: Repository, snapshots: list[Snapshot] | None = None) -> Copied:
    source = reopened(one)
    return CopyingBlobs(source, reopened(other), lambda: None).run(snapshots or source.snapshots())


def test_another_repository_holds_the_same_trees_under_its_own_key(tmp_path: Path) -> None:
    one, other = kept(tmp_path), new()
    copied = copy(one, other)
    assert (copied.faults, len(copied.snapshots)) == ([], 2)
    assert copied.bytes == copied.bytes_all > 0
    assert check(other).holds
    before, after = reopened(one).snapshots(), reopened(other).snapshots()
    assert [each.original for each in after] == [each.id for each in before]
    assert [each.tree for each in after] == [each.tree for each in before]
    assert [each.summary for each in after] == [each.summary for each in before]
    assert not set(names(one, Kind.DATA)) & set(names(other, Kind.DATA))


def test_a_snapshot_that_was_copied_is_not_copied_again_also_by_way_of_a_third(tmp_path: Path) -> None:
    one, other, third = kept(tmp_path), new(), new()
    copy(one, other)
    assert copy(one, other).snapshots == []
    copy(other, third)
    assert copy(one, third).snapshots == []


def test_a_snapshot_that_cannot_be_read_whole_is_not_written(tmp_path: Path) -> None:
    one, other = kept(tmp_path), new()
    pack = reopened(one).index.where(reopened(one).snapshots()[1].tree, True).pack.hex()
    flip(one, Kind.DATA, pack)
    copied = copy(one, other)
    assert copied.partial
    assert len(copied.snapshots) == len(names(other, Kind.SNAPSHOTS)) < 2
    assert check(other).holds


@pytest.mark.parametrize("fault", [Fault.KILLED_AFTER, Fault.IO_ERROR])
def test_a_copy_that_breaks_off_anywhere_leaves_what_holds_and_ends_when_run_again(
    tmp_path: Path, fault: Fault
) -> None:
    one = kept(tmp_path)
    whole = FaultyStore(new().store)
    CopyingBlobs(reopened(one), reopened_at(whole), lambda: None).run(reopened(one).snapshots())
    for at in range(4, len(whole.calls) + 1):
        other = new()
        faulty = FaultyStore(other.store, fault, at)
        try:
            CopyingBlobs(reopened(one), reopened_at(faulty), lambda: None).run(reopened(one).snapshots())
        except (NciaError, Killed):
            faulty.heal()
        assert check(other).holds
        assert copy(one, other).faults == []
        assert (check(other).holds, len(names(other, Kind.SNAPSHOTS))) == (True, 2)


def reopened_at(store: FaultyStore) -> Repository:
    from backup.repository.repository import open_repository

    found = open_repository(store, PASSWORD)
    found.load_index()
    return found


def test_what_restic_wrote_is_copied_whole() -> None:
    other = new()
    copied = CopyingBlobs(golden(), reopened(other), lambda: None).run(golden().snapshots())
    assert copied.faults == []
    assert check(other).holds


def test_restic_finds_no_fault_in_a_copy_and_restores_it(tmp_path: Path) -> None:
    from backup.repository.repository import create

    restic, source = demand_restic(), odd_tree(tmp_path / "source")
    one = new()
    save(one, Request((str(source),), HOLDER), SystemClock())
    other = create(FolderStore(tmp_path / "other"), PASSWORD, HOLDER, NOW, CHEAP)
    assert copy(one, other).faults == []
    assert "no errors were found" in restic.run(tmp_path / "other", "check", "--read-data", password=PASSWORD)
    found = reopened(other)
    with Restoring(found) as restoring:
        told = restoring.run(found.snapshots()[0], tmp_path / "target", Way(whole=True))
    assert told.losses.named == []
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []


def test_blobs_are_read_in_runs_that_are_neither_torn_nor_endless() -> None:
    blobs = [Blob(b"", False, at, 10, 0) for at in (0, 10, 20, 1_000_000, 1_000_010)]
    assert [[blob.offset for blob in run] for run in runs_of(blobs)] == [[0, 10, 20], [1_000_000, 1_000_010]]
    many = [Blob(b"", False, at << 20, 1 << 20, 0) for at in range(20)]
    assert [len(run) for run in runs_of(many)] == [9, 9, 2]
