"""Composition of the site's queue of jobs: who keeps it, who carries jobs out, and how workers reach the journal."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate
from ncia.core.work.jobs import Limits

if TYPE_CHECKING:
    from backup.ports import Ledger
    from backup.stores.remote import RemoteStore
    from ncia.core.journal.entries import Body
    from ncia.core.work.executor import Executor, JobQueue
    from ncia.core.work.rows import JobRows

CLOSE_SECONDS_MAX = 15.0


@dataclass(frozen=True)
class Queue:
    """The site's queue as this process holds it open."""

    rows: JobRows
    jobs: JobQueue

    @property
    def own(self) -> bool:
        """Whether the controller carries the jobs out itself: a queue in a file has no other executor."""
        return self.rows.alone


def open_queue(settings: SiteSettings, closing: ExitStack) -> Queue:
    from ncia.core.work.executor import JobQueue
    from ncia.core.work.rows import JobRows

    settings.state.mkdir(parents=True, exist_ok=True)
    rows = JobRows(settings.jobs_url)
    closing.callback(rows.close)
    return Queue(rows, JobQueue(rows))


def copies(settings: SiteSettings, estate: Estate, closing: ExitStack) -> RemoteStore:
    """The site's own store of copies, reached over SSH, and the other site's, to copy from."""
    from backup.stores.remote import RemoteStore, StoreSite
    from ncia.app.ssh import SshRemote

    remote = SshRemote(estate, settings.site, settings.secrets)
    closing.callback(remote.close)
    own, peer = settings.site, estate.peer_of(settings.site)
    here = StoreSite(estate.host_of(own, "store"), *map(PurePosixPath, (settings.store, settings.postgresql_tools)))
    there = StoreSite(
        estate.host_of(peer, "store"), *map(PurePosixPath, (settings.peer_store, settings.peer_postgresql_tools))
    )
    return RemoteStore(remote, here, there)


class JobDesk:
    """What the API offers of the queue (``ncia.api.ports.JobsDesk``)."""

    def __init__(self, queue: Queue, ledger: Ledger) -> None:
        self._queue = queue
        self._ledger = ledger

    def list(self) -> Mapping[str, Any]:
        executors = [] if self._queue.own else sorted(self._queue.rows.executors())
        return {"jobs": [job.to_json() for job in self._queue.jobs.list()], "executors": executors}

    def cancel(self, job: str, by: str) -> Mapping[str, Any]:
        return self._queue.jobs.cancel(job, by).to_json()

    def append(self, job: str, fence: int, by: str, kind: str, version: int, body: Mapping[str, Any]) -> None:
        from backup.ledger import body_of

        self._ledger.append(job, fence, body_of(kind, version, body), by)

    def retired(self, dataset: str, store_site: str) -> Mapping[str, Any]:
        found: dict[str, Sequence[Body]] = {
            "points": self._ledger.retired(dataset, store_site),
            "let_go": self._ledger.let_go(dataset, store_site),
            "copies": self._ledger.needless_copies(dataset, store_site),
        }
        return {name: [point.model_dump(mode="json") for point in points] for name, points in found.items()}


def executor(
    settings: SiteSettings, estate: Estate, queue: Queue, ledger: Ledger, store: RemoteStore, clock: Clock
) -> Executor:
    """Who carries the site's jobs out in this process; not started yet."""
    from backup.engines.postgresql import PostgresSources
    from backup.perform import Performer
    from backup.work import Protecting
    from ncia.app.agencies import agency_works
    from ncia.app.points import Ways, point_works
    from ncia.core.work.durable import DurableEngine
    from ncia.core.work.executor import Executor

    name = executor_name(settings.site)
    performer = Performer(ledger, PostgresSources(estate, settings.site, settings.secrets / "pgpass"), store, clock)
    works = {
        **Protecting(estate, performer).works(),
        **agency_works(settings, estate, ledger, clock),
        **point_works(Ways(settings, estate, ledger, store, performer, clock)),
    }
    return Executor(name, queue.rows, queue.jobs, DurableEngine(queue.rows, name), works, limits(estate))


def executor_name(site: SiteId, random: Callable[[int], str] = secrets.token_hex) -> str:
    """A name that no other executor ever had, this process after a restart included."""
    return f"{site}-{os.uname().nodename}-{os.getpid()}-{random(3)}"


def limits(estate: Estate) -> Limits:
    told = estate.settings
    return Limits(told.jobs_at_once, told.jobs_per_link, told.jobs_per_host)
