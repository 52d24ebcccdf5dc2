from __future__ import annotations

import sys
from pathlib import Path

import pytest

from backup.repository.ports import Kind, StoreFault
from backup.repository.repository import Repository, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.output import save_output
from backup.repository.save.saving import Request, Saved
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, PASSWORD, new, reopened
from tests.fakes.repository import FakeStore

WRITE = "import sys, random; sys.stdout.buffer.write(random.Random(1).randbytes(20_000_000)); sys.stdout.flush(); "


def keep(store: FakeStore, code: str, name: str = "dump.sql") -> Saved:
    command = [sys.executable, "-c", code]
    return save_output(reopened(new(store)), Request((name,), HOLDER), command, SystemClock())


def test_what_a_command_writes_comes_back_as_one_file(tmp_path: Path) -> None:
    store = FakeStore()
    saved = keep(store, WRITE)
    with Restoring(reopened_of(store)) as restoring:
        told = restoring.run(saved.snapshot, tmp_path / "target", Way(whole=True))
    assert (saved.snapshot.paths, saved.figures.bytes, told.losses.named) == (("/dump.sql",), 20_000_000, [])
    assert (tmp_path / "target" / "dump.sql").read_bytes() == noise(1, 20_000_000)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("sys.exit(3)", "exit code 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal SIGKILL"),
    ],
)
def test_a_command_that_fails_at_its_end_leaves_no_snapshot(end: str, why: str) -> None:
    store = FakeStore()
    with pytest.raises(NciaError, match=why):
        keep(store, WRITE + end)
    assert [kind for kind, _ in store.held if kind in (Kind.SNAPSHOTS, Kind.LOCKS)] == []


def test_a_command_that_cannot_be_started_is_told() -> None:
    store = FakeStore()
    repository = reopened(new(store))
    with pytest.raises(NciaError, match="cannot be started: No such file"):
        save_output(repository, Request(("dump",), HOLDER), ["/no/such/command"], SystemClock())
    assert repository.snapshots() == []


@pytest.mark.parametrize("name", ["", "/", "..", "a/b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(NciaError, match="no name of one file"):
        keep(FakeStore(), "pass", name)


def test_a_command_whose_output_nobody_takes_any_more_is_ended() -> None:
    """The store is full: an endless writer must not be waited for."""

    class Full(FakeStore):
        def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
            if kind is Kind.DATA:
                raise StoreFault("repository.full", "save", "the disk is full")
            super().save(kind, name, data)

    endless = "import os\nwhile True: os.write(1, os.urandom(1 << 20))"
    with pytest.raises(StoreFault, match="the disk is full"):
        keep(Full(), endless)


def reopened_of(store: FakeStore) -> Repository:
    found = open_repository(store, PASSWORD)
    found.load_index()
    return found
