"""rsync and rclone, which are not ours, judge what came back, and what two places hold."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from backup.repository.care.checking import Share
from backup.repository.care.copying import Copying
from backup.repository.care.repairing import Repairing
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import noise, odd_tree
from tests.backup.repository.restore.test_restoring_over import spoil
from tests.backup.repository.sample import HOLDER, new, reopened, twin_of
from tests.demand import lack


@pytest.fixture(scope="module")
def rsync() -> str:
    found = shutil.which("rsync")
    if found is None:
        lack("rsync is not installed")
        raise AssertionError
    return found


def itemized(rsync: str, source: Path, target: Path) -> list[str]:
    """What it would change to make them the same: ACLs, extended attributes, hard links, holes, by checksum."""
    words = ["-aHAXSnc", "--numeric-ids", "--itemize-changes", "--delete", f"{source}/", f"{target}/"]
    told = subprocess.run([rsync, *words], capture_output=True, text=True, errors="replace", timeout=120)
    assert told.returncode == 0, told.stderr
    return told.stdout.splitlines()


def test_rsync_finds_nothing_to_change_in_what_was_restored_new_and_over_what_was_spoilt(
    tmp_path: Path, rsync: str
) -> None:
    source, target = odd_tree(tmp_path / "source"), tmp_path / "target"
    repository = new()
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    inside = target / source.relative_to("/")
    for overwrite in (None, Overwrite.ALWAYS):
        with Restoring(reopened(repository), overwrite=overwrite) as restoring:
            assert restoring.run(saved.snapshot, target, Way(whole=True)).losses.named == []
        assert itemized(rsync, source, inside) == []
        spoil(inside)
        assert len(itemized(rsync, source, inside)) > 10


def test_rclone_finds_two_twins_the_same_after_a_copy_and_after_a_repair(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "file").write_bytes(noise(1, 300_000))
    roots = tmp_path / "one", tmp_path / "two"
    one = new(FolderStore(roots[0]))
    two = twin_of(one, FolderStore(roots[1]))
    save(reopened(one), Request((str(tmp_path / "source"),), HOLDER), SystemClock())
    Copying(reopened(one), reopened(two), lambda: None).run()
    assert same(*roots)
    (pack, *_) = (roots[1] / "data").glob("*/*")
    pack.unlink()
    pack.write_bytes(b"other bytes")
    assert not same(*roots)
    Repairing(reopened(two), reopened(one), lambda: None, Share()).run()
    assert same(*roots)


def same(one: Path, two: Path) -> bool:
    """By content; keys and configurations are each place's own."""
    rclone = str(Path(sys.executable).parent / "rclone")
    words = ["check", str(one), str(two), "--download", "--exclude", "/keys/**", "--exclude", "/config"]
    told = subprocess.run([rclone, *words], capture_output=True, text=True, timeout=120)
    assert ("0 differences found" in told.stderr) == (told.returncode == 0), told.stderr
    return told.returncode == 0
