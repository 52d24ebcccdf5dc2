"""A worker in a process of its own, for a site whose hosts are this machine: to be frozen in the middle of a backup.

``python -m … URL API FOLDER PORT NAME``: the queue, the controller's socket, the site's folder (``pgpass``, ``store``,
the path of PostgreSQL's tools in ``tools``), the source's port. Under the first fence it waits for a line on standard
input when it has taken its base backup, before that is recorded.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path, PurePosixPath

from backup.engines.postgresql import PostgresSources
from backup.ledger_http import HttpLedger
from backup.perform import Performer
from backup.ports import BaseBackup, Origin
from backup.stores.remote import RemoteStore, StoreSite
from backup.work import Protecting
from ncia.core.base.clock import SystemClock
from ncia.core.estate.model import Address
from ncia.core.work.durable import DurableEngine
from ncia.core.work.executor import Executor, JobQueue
from ncia.core.work.jobs import Limits
from ncia.core.work.rows import JobRows
from tests.backup.world import STORE_HOST, WEST, estate_with
from tests.fakes.remote import LocalRemote

PACE = (0.2, 2.0)


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


class WaitingStore(RemoteStore):
    def take(self, job: str, origin: Origin, slot: str) -> BaseBackup:
        taken = super().take(job, origin, slot)
        say("taken", job)
        if job.endswith("x1"):
            sys.stdin.readline()
        return taken


def main(url: str, api: str, folder: str, port: str, name: str) -> None:
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    here = Path(folder)
    estate = estate_with(Address("127.0.0.1", int(port)))
    tools = PurePosixPath((here / "tools").read_text())
    store = WaitingStore(LocalRemote(), StoreSite(STORE_HOST, PurePosixPath(here / "store"), tools))
    sources = PostgresSources(estate, WEST, here / "pgpass", attempts_max=5)
    performer = Performer(HttpLedger(api), sources, store, SystemClock())
    rows = JobRows(url)
    works = Protecting(estate, performer).works()
    executor = Executor(name, rows, JobQueue(rows), DurableEngine(rows, name), works, Limits(), PACE)
    executor.start()
    say("started")
    over.wait()
    say("stopped", executor.stop(30))


if __name__ == "__main__":
    main(*sys.argv[1:])
