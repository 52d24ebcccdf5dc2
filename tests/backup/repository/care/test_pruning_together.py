"""Two backups and a prune at once, of hosts at both sites, by threads and locks as they are."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from backup.repository.care.checking import Checking, Share
from backup.repository.care.forgetting import Policy, judge
from backup.repository.care.pruning import Pruned, Wish, prune
from backup.repository.care.removal import alone, forget
from backup.repository.format.keys import Holder
from backup.repository.ports import Kind
from backup.repository.repository import open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, Saved, save
from backup.repository.save.walk import Way
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.sample import PASSWORD, new

CLOCK = SystemClock()
ROUNDS = 4
PATIENCE_SECONDS = 60.0


def test_two_backups_and_a_prune_at_once_from_both_sites_lose_nothing(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    new(FolderStore(root))
    kept: dict[str, dict[str, bytes]] = {}
    pruned: list[Pruned] = []
    faults: list[BaseException] = []
    ready = threading.Barrier(3)

    def asked(do: Callable[[], None]) -> None:
        """Whoever is refused asks again: two who want it at one moment may refuse each other."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return do()
            except Refusal as refusal:
                if refusal.code != "repository.locked" or time.monotonic() > deadline:
                    raise

    def back_up(host: str) -> None:
        source = tmp_path / host
        source.mkdir()
        for number in range(ROUNDS):
            (source / str(number % 2)).write_bytes(os.urandom(200_000))
            content = {each.name: each.read_bytes() for each in source.iterdir()}

            def keep(content: dict[str, bytes] = content) -> None:
                request = Request((str(source),), Holder("agent", host), workers=1)
                saved: Saved = save(open_repository(FolderStore(root), PASSWORD), request, CLOCK)
                kept[saved.snapshot.id] = content

            asked(keep)

    def make_room() -> None:
        for _ in range(ROUNDS):

            def remove() -> None:
                repository = open_repository(FolderStore(root), PASSWORD)
                with alone(repository, Holder("officer", "both"), CLOCK) as lock:
                    over = forget(repository, lock, judge(repository.snapshots(), Policy(last=2), CLOCK.now()))
                    for each in over:
                        kept.pop(each.id, None)
                    pruned.append(prune(repository, lock, CLOCK.now(), Wish(timedelta(0), 0.0)))

            asked(remove)

    def running(do: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                ready.wait()
                do()
            except BaseException as fault:
                faults.append(fault)

        return run

    works = (lambda: back_up("daejeon"), lambda: back_up("gwangju"), make_room)
    threads = [threading.Thread(target=running(each)) for each in works]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert faults == []
    make_room()
    repository = open_repository(FolderStore(root), PASSWORD)
    checked = Checking(repository, Share()).run()
    assert (checked.faults, checked.notes, checked.snapshots) == ([], [], 4)
    assert {each.name for each in repository.store.names(Kind.SNAPSHOTS)} <= kept.keys()
    assert sum(each.removed for each in pruned) > 0
    for number, snapshot in enumerate(repository.snapshots()):
        with Restoring(repository) as restoring:
            told = restoring.run(snapshot, tmp_path / f"target{number}", Way(whole=True))
        assert told.losses.named == []
        back = tmp_path / f"target{number}" / Path(snapshot.paths[0]).relative_to("/")
        assert {each.name: each.read_bytes() for each in back.iterdir()} == kept[snapshot.id]
