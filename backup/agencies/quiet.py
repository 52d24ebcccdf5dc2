"""Whose turn it is among the jobs that read and write much: one of them at a time, and what waits longest goes first.

Two executors are all that a site has: a check and a point's copy at once would leave none for the backups of rows.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from backup.agencies import points_plan
from backup.agencies.clearing import PRUNE
from backup.agencies.locking import again, again_at, met
from backup.agencies.points_plan import KEEP_POINT, KEEP_PROGRAM
from backup.agencies.proving import PROVE, provings
from backup.agencies.reading import CHECK, turns
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate
from ncia.core.state import State
from ncia.core.work.jobs import Job, JobId

QUIET = (KEEP_POINT, KEEP_PROGRAM, CHECK, PRUNE, PROVE)

Known = Callable[[JobId], Job | None]
"""As :meth:`ncia.core.work.jobs.Jobs.get`: what was ordered under a name is not ordered again."""


def copy_waits_since(
    estate: Estate, state: State, site: SiteId, since: datetime, now: datetime, known: Known
) -> datetime | None:
    """Since when the point or program is due that can be kept now and waits longest; ``since``: the site's start."""
    due = points_plan.due(estate, state, site, since, now)
    return next((each.due_at for each in due if known(each.job) is None), None)


def care_waits_since(estate: Estate, state: State, site: SiteId, now: datetime, known: Known) -> datetime | None:
    """The same of a place's reading or proof that waits for no quiet hour any longer. Not of its prune: its place
    must be asked first whether that can be done, and where it is silent no copy is to wait for it."""
    waiting = [
        turn.due_at
        for turn in turns(estate, state, site, now)
        if turn.urgent and known(attempt(state, CHECK, turn.agency.id, site, turn.due_at, turn.job(now), now)) is None
    ]
    waiting += [
        each.due_at
        for each in provings(estate, state, site, now)
        if each.urgent and known(attempt(state, PROVE, each.dataset.id, site, each.due_at, each.job(now), now)) is None
    ]
    return min(waiting, default=None)


def attempt(state: State, verb: str, subject: str, site: SiteId, due_at: datetime, job: JobId, now: datetime) -> JobId:
    """The name of the next attempt: the last one's while it is not time yet, after a lock that it met."""
    lock = met(state, verb, subject, site, due_at)
    moment = again_at(lock) if lock is not None else None
    if lock is None or moment is None:
        return job
    return lock.last.job if now < moment else again(job, lock)
