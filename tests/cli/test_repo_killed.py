"""kill -9 of a real process in the middle of a prune or a repair, wherever it is by then: nothing is lost."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.copying import Copying
from backup.repository.ports import Kind
from backup.repository.repository import create, open_repository
from backup.repository.save.saving import Request, save
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD
from tests.lab_apps.world import eventually
from tests.restic import demand_restic

CLOCK = SystemClock()
NIGHTS = 6
AFTER = (timedelta(0), timedelta(milliseconds=8), timedelta(milliseconds=40))  # its lock was seen


class Desk:
    """A repository of some nights, of which the first ones were forgotten, and its twin."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root, self.twin = folder, folder / "repository", folder / "twin"
        (folder / "password").write_text(PASSWORD + "\n")
        source = folder / "source"
        source.mkdir()
        made = create(FolderStore(self.root), PASSWORD, HOLDER, NOW, CHEAP)
        nights = []
        for night in range(NIGHTS):
            for number in range(20):
                (source / str(number)).write_bytes(noise(night * 99 + number, 60_000))
            nights.append(save(self.opened(), Request((str(source),), HOLDER), CLOCK).snapshot.id)
        twin = create(FolderStore(self.twin), PASSWORD, HOLDER, NOW, CHEAP, twin=made)
        Copying(self.opened(), twin, lambda: None).run()
        for night in nights[:-2]:
            made.store.remove(Kind.SNAPSHOTS, night)
        self.kept = set(nights[-2:])

    def opened(self) -> object:
        return open_repository(FolderStore(self.root), PASSWORD)

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        where = ["-r", str(self.root), "-p", str(self.folder / "password")]
        command = [sys.executable, "-m", "ncia", "repo", words[0], *where, *words[1:]]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def killed(self, after: timedelta, *words: str) -> None:
        """Its lock stays, of a process of this host that is gone."""
        before = set((self.root / "locks").iterdir())
        process = self.begin(*words)
        eventually(lambda: set((self.root / "locks").iterdir()) - before or process.poll() is not None, 60)
        time.sleep(after.total_seconds())  # no synchronisation: it may be anywhere by then
        process.kill()
        process.wait()


@pytest.mark.parametrize("verb", [("prune", "--grace", "0h"), ("repair",)])
def test_whatever_it_had_done_by_then_nothing_is_lost_and_the_next_run_ends_the_work(
    tmp_path: Path, verb: tuple[str, ...]
) -> None:
    desk = Desk(tmp_path)
    words = (*verb, "--from", str(desk.twin)) if verb[0] == "repair" else verb
    for after in AFTER:
        if verb[0] == "repair":
            for kind in ("index", "data"):
                victim = sorted(path for path in (desk.root / kind).rglob("*") if len(path.name) == 64)[0]
                victim.unlink()
        desk.killed(after, *words)
        if verb[0] == "prune":  # what is whole stays so without anybody's help
            assert Checking(desk.opened(), Share()).run().faults == []
    assert desk.begin(*words).wait() == 0
    repository = desk.opened()
    assert desk.kept <= {each.name for each in repository.store.names(Kind.SNAPSHOTS)}
    assert Checking(desk.opened(), Share()).run().faults == []
    demand_restic().run(desk.root, "unlock", password=PASSWORD)  # which finds that whoever held these is gone
    assert list(repository.store.names(Kind.LOCKS)) == []
    assert "no errors were found" in demand_restic().run(desk.root, "check", "--read-data", password=PASSWORD)
