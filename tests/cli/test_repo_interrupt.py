"""Ctrl-C ends each verb at once, in one sentence and with exit 130; nothing is half done, and no lock stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from backup.repository.format.keys import Holder
from backup.repository.locks import Lock
from backup.repository.ports import Kind
from backup.repository.repository import create, open_repository
from backup.repository.save.saving import Request, save
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.lab_apps.world import eventually

CLOCK = SystemClock()
INTERRUPTED = 130


class Desk:
    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.twin = folder, folder / "repository", folder / "twin"
        (folder / "password").write_text(PASSWORD + "\n")
        self.source = folder / "source"
        self.source.mkdir()
        (self.source / "file").write_bytes(b"content")
        self.repository = create(FolderStore(self.root), PASSWORD, HOLDER, NOW, CHEAP)
        create(FolderStore(self.twin), PASSWORD, HOLDER, NOW, CHEAP, twin=self.repository)
        save(self.repository, Request((str(self.source),), HOLDER), CLOCK)

    def begin(self, *words: object) -> subprocess.Popen[str]:
        where = ["-r", str(self.root), "-p", str(self.folder / "password")]
        command = [sys.executable, "-m", "ncia", "repo", str(words[0]), *where, *map(str, words[1:])]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)

    def locks(self, root: Path) -> list[str]:
        return [each.name for each in FolderStore(root).names(Kind.LOCKS)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("verb", ["backup", "restore", "copy", "prune"])
def test_whoever_waits_for_a_lock_is_let_go_at_once(desk: Desk, verb: str) -> None:
    words = {
        "backup": [desk.source],
        "restore": ["latest", "--target", desk.folder / "target"],
        "copy": ["--to", desk.twin],
    }.get(verb, [])
    with Lock(desk.repository, Holder("pruner", "elsewhere"), CLOCK, exclusive=True):
        held = desk.locks(desk.root)
        process = desk.begin(verb, "--retry-lock", "10m", *words)
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Note: it is locked by pruner@elsewhere")
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, desk.locks(desk.root), desk.locks(desk.twin)) == (INTERRUPTED, held, [])
    assert said.count("\n") == 1
    assert said.startswith("Interrupted: ")
    assert not (desk.folder / "target").exists()


def test_a_command_whose_output_is_kept_ends_with_us_and_leaves_no_snapshot_and_no_lock(desk: Desk) -> None:
    told = desk.folder / "begun"
    script = f"import time; open({str(told)!r}, 'w').close(); time.sleep(600)"
    process = desk.begin("backup-output", "name", "--", sys.executable, "-c", script)
    eventually(told.exists, seconds=60)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, desk.locks(desk.root)) == (INTERRUPTED, [])
    assert said.startswith("Interrupted: no snapshot was made")
    assert len(open_repository(FolderStore(desk.root), PASSWORD).snapshots()) == 1
