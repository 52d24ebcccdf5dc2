"""Composition of what puts recovery points and programs into agencies' repositories, and brings them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from backup.agencies.points_plan import BRING_POINT, BRING_PROGRAM, KEEP_POINT, KEEP_PROGRAM
from ncia.app.agencies import agency_tools
from ncia.core.base.clock import Clock
from ncia.core.config import SiteSettings
from ncia.core.estate import Estate

if TYPE_CHECKING:
    from backup.agencies.points_task import PointTask
    from backup.perform import Performer
    from backup.ports import Ledger
    from backup.stores.remote import RemoteStore
    from ncia.app.ground import Ground
    from ncia.app.jobs import Queue
    from ncia.core.work.jobs import Job, Steps, Work

STAGING = "points"  # in the site's state


def point_task(ground: Ground, queue: Queue) -> PointTask:
    from backup.agencies.points_task import Parts, PointTask

    parts = Parts(ground.estate, ground.settings.site, ground.journal, ground.state, queue.jobs, ground.clock)
    return PointTask(parts)


@dataclass(frozen=True)
class Ways:
    """What a process carries jobs out with; the same as for backups and proofs."""

    settings: SiteSettings
    estate: Estate
    ledger: Ledger
    store: RemoteStore
    performer: Performer
    clock: Clock


def point_works(ways: Ways) -> Mapping[str, Work]:
    """What a repository needs is loaded with the first job."""
    made: list[Mapping[str, Work]] = []

    def carrying(verb: str) -> Work:
        def work(job: Job, steps: Steps) -> str:
            if not made:
                made.append(_works(ways))
            return made[0][verb](job, steps)

        return work

    return {verb: carrying(verb) for verb in (KEEP_POINT, BRING_POINT, KEEP_PROGRAM, BRING_PROGRAM)}


def _works(ways: Ways) -> Mapping[str, Work]:
    from backup.agencies.archives import ArchiveTools, ArchiveWork
    from backup.agencies.points import PointTools, PointWork
    from backup.agencies.room import Room
    from backup.program.hosts import SshPrograms

    settings, estate = ways.settings, ways.estate
    tools, room = agency_tools(settings, estate, ways.ledger, ways.clock), Room(settings.state / STAGING)
    points = PointTools(ways.store, ways.performer.prove)
    store = estate.host_of(settings.site, "store")
    archives = ArchiveTools(SshPrograms(estate, ways.store.remote), store, PurePosixPath(settings.store))
    return {
        **PointWork(estate, settings.site, tools, room, points).works(),
        **ArchiveWork(estate, settings.site, tools, room, archives).works(),
    }
