"""Two workers on one queue, a real cluster, a real store, a real journal: one is frozen in the middle of a backup."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from backup.ledger import JournalLedger
from ncia.core.base.clock import to_text
from ncia.core.work.executor import JobQueue
from ncia.core.work.rows import JobRows
from tests.backup.served import served
from tests.backup.world import DATASET, NOW, World
from tests.core.journal.conftest import postgresql
from tests.core.work.conftest import fresh_postgresql
from tests.core.work.test_takeover import Process
from tests.fakes.jobs import order

__all__ = ["fresh_postgresql", "postgresql"]

SECONDS_MAX = 120.0


def test_a_backup_whose_worker_is_frozen_is_made_once_by_another_and_the_frozen_one_writes_nothing(
    world: World, fresh_postgresql: Callable[[], str], tmp_path: Path
) -> None:
    url = fresh_postgresql()
    (world.folder / "tools").write_text(str(world.cluster.tools))
    charge = world.charge
    details = {"source_site": charge.source_site, "store_site": charge.store_site, "interval_seconds": 60.0}
    with ExitStack() as closing:
        rows = JobRows(url)
        closing.callback(rows.close)
        queue = JobQueue(rows)
        ledger = JournalLedger(world.journal, world.states, rows.check)
        api = closing.enter_context(served(rows, ledger, tmp_path))

        def worker(name: str) -> Process:
            arguments = (url, api, str(world.folder), str(world.cluster.server.port), name)
            return closing.enter_context(Process("tests.backup.worker_process", *arguments))

        queue.enqueue(order("backup:tax/rows:x", due_at=to_text(NOW), details=details))
        frozen = worker("frozen")
        frozen.hear("taken")
        other = worker("other")
        frozen.process.send_signal(signal.SIGSTOP)
        ended = queue.wait("backup:tax/rows:x", SECONDS_MAX)
        assert (ended.state, ended.fence, ended.executor) == ("succeeded", 2, "other")
        frozen.process.send_signal(signal.SIGCONT)
        frozen.go_on()
        assert "it has ended: succeeded" in frozen.hear("jobs.fenced")
        for each in (frozen, other):
            each.process.terminate()
            each.hear("stopped True")
    assert world.kinds() == ["backup.started", "backup.finished", "proof.started", "proof.finished"]
    assert world.leftovers() == []
    (point,) = world.states.snapshot().points[DATASET]
    assert point.proven
    assert [each.name for each in (world.root / DATASET).iterdir()] == [point.id]
