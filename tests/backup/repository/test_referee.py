"""The real restic judges: it checks, restores and goes on with what we wrote, and we with what it wrote."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from backup.repository.repository import Repository, create, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, Saved, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import differences, noise, odd_tree
from tests.backup.repository.sample import CHEAP, PASSWORD
from tests.restic import Restic, demand_restic

CLOCK = SystemClock()
HOLDER = Holder("root", os.uname().nodename)  # as restic names this host


@pytest.fixture(scope="module")
def restic() -> Restic:
    return demand_restic()


def tree(folder: Path, restic: Restic) -> Path:
    """Everything odd that this restic can keep."""
    found = odd_tree(folder)
    if restic.old:
        os.unlink(os.fsencode(found) + b"/raw link")
    return found


def make(root: Path) -> Repository:
    return create(FolderStore(root), PASSWORD, HOLDER, CLOCK.now(), CHEAP)


def opened(root: Path, password: str = PASSWORD) -> Repository:
    repository = open_repository(FolderStore(root), password)
    repository.load_index()
    return repository


def backup(root: Path, source: Path) -> Saved:
    return save(open_repository(FolderStore(root), PASSWORD), Request((str(source),), HOLDER), CLOCK)


def restore(root: Path, target: Path) -> None:
    repository = opened(root)
    with Restoring(repository) as restoring:
        told = restoring.run(repository.snapshots()[-1], target, Way(whole=True))
    assert told.losses.named == []


def test_restic_finds_no_fault_in_what_we_wrote_and_restores_the_same(tmp_path: Path, restic: Restic) -> None:
    root, source = tmp_path / "repository", tree(tmp_path / "source", restic)
    make(root)
    backup(root, source)
    (source / "plain").write_bytes(b"other\n")
    backup(root, source)
    assert "no errors were found" in restic.run(root, "check", "--read-data", password=PASSWORD)
    restic.run(root, "restore", "latest", "--target", str(tmp_path / "target"), password=PASSWORD)
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []


def test_we_find_no_fault_in_what_restic_wrote_and_restore_the_same(tmp_path: Path, restic: Restic) -> None:
    root, source = tmp_path / "repository", tree(tmp_path / "source", restic)
    restic.run(root, "init", password=PASSWORD)
    restic.run(root, "backup", str(source), password=PASSWORD)
    checked = Checking(open_repository(FolderStore(root), PASSWORD), Share()).run()
    assert (checked.faults, checked.notes, checked.share_read) == ([], [], 1.0)
    restore(root, tmp_path / "target")
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []


def test_restics_next_backup_on_top_of_ours_reads_and_adds_nothing(tmp_path: Path, restic: Restic) -> None:
    root, source = tmp_path / "repository", tree(tmp_path / "source", restic)
    make(root)
    ours = backup(root, source)
    told = restic.run(root, "backup", "--json", str(source), password=PASSWORD)
    summary = json.loads(told.splitlines()[-1])
    assert (summary["files_new"], summary["files_changed"]) == (0, 0)
    assert summary["files_unmodified"] == ours.figures.files
    assert summary["data_blobs"] == 0
    snapshots = opened(root).snapshots()
    assert snapshots[1].parent == ours.snapshot.id
    assert "no errors were found" in restic.run(root, "check", "--read-data", password=PASSWORD)


def test_our_next_backup_on_top_of_restics_reads_and_adds_nothing(tmp_path: Path, restic: Restic) -> None:
    root, source = tmp_path / "repository", tree(tmp_path / "source", restic)
    restic.run(root, "init", password=PASSWORD)
    restic.run(root, "backup", str(source), password=PASSWORD)
    ours = backup(root, source)
    assert (ours.figures.new, ours.figures.changed, ours.added.data_blobs) == (0, 0, 0)
    assert ours.figures.unchanged == ours.figures.files
    assert opened(root).snapshots()[1].parent == opened(root).snapshots()[0].id


def test_restic_prunes_what_we_wrote_and_what_is_left_is_whole(tmp_path: Path, restic: Restic) -> None:
    root, source = tmp_path / "repository", tree(tmp_path / "source", restic)
    make(root)
    for number in range(3):
        (source / "changing").write_bytes(noise(number, 2_000_000))
        backup(root, source)
    restic.run(root, "forget", "--keep-last", "1", "--prune", "--max-unused", "0", password=PASSWORD)
    checked = Checking(open_repository(FolderStore(root), PASSWORD), Share()).run()
    assert (checked.faults, checked.snapshots) == ([], 1)
    restore(root, tmp_path / "target")
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []


def test_restic_waits_for_our_lock_and_we_for_its_key(tmp_path: Path, restic: Restic) -> None:
    root = tmp_path / "repository"
    repository = make(root)
    (tmp_path / "second").write_text("second\n")
    with Lock(repository, Holder("pruner", "elsewhere"), CLOCK, exclusive=True):
        told = restic.run(root, "backup", str(tmp_path / "second"), password=PASSWORD, ok=False)
    assert "locked exclusively by PID" in told
    assert repository.snapshots() == []
    restic.run(root, "key", "add", "--new-password-file", str(tmp_path / "second"), password=PASSWORD)
    found = opened(root, "second").key
    assert (found.encrypt, found.mac_k) == (repository.key.encrypt, repository.key.mac_k)
    assert restic.old or found == repository.key
