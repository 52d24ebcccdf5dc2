"""rsync, which is not ours, judges what came back: by content, and by every attribute that it knows."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from backup.repository.existing import Overwrite
from backup.repository.restoring import Restoring
from backup.repository.saving import Request, save
from backup.repository.walk import Way
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import odd_tree
from tests.backup.repository.sample import HOLDER, new, reopened
from tests.backup.repository.test_restoring_over import spoil
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
