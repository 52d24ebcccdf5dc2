"""Composition of what protects: who orders jobs, who writes for them, who carries them out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncia.app.ground import Ground
from ncia.app.jobs import CLOSE_SECONDS_MAX, Queue, copies, executor

if TYPE_CHECKING:
    from backup.ledger import JournalLedger
    from backup.rehash import RehashTask
    from backup.task import BackupTask
    from ncia.core.journal.durable import TwoOfThree
    from ncia.core.work.executor import Executor


def protecting(ground: Ground, queue: Queue, durable: TwoOfThree) -> tuple[BackupTask, JournalLedger, Executor | None]:
    """There is no executor here where workers carry the jobs out."""
    from backup.ledger import JournalLedger
    from backup.task import BackupTask, Parts

    settings, estate = ground.settings, ground.estate
    store = copies(settings, estate, ground.closing)
    ledger = JournalLedger(
        ground.journal,
        ground.state,
        queue.jobs.check,
        lambda entry: durable.demand([entry], "delete a recovery point", ""),
        queue.jobs.open,
    )
    task = BackupTask(
        Parts(
            estate=estate,
            site=settings.site,
            journal=ground.journal,
            states=ground.state,
            jobs=queue.jobs,
            store=store,
            clock=ground.clock,
            active=ground.active_at,
        )
    )
    if not queue.own:
        return task, ledger, None
    carrying_out = executor(settings, estate, queue, ledger, store, ground.clock)
    ground.closing.callback(carrying_out.stop, CLOSE_SECONDS_MAX)
    return task, ledger, carrying_out


def rehash_task(ground: Ground, queue: Queue) -> RehashTask:
    from backup.rehash import Parts, RehashTask

    return RehashTask(Parts(ground.estate, ground.settings.site, ground.state, queue.jobs, ground.clock))
