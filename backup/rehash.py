"""Reading recovery points again where they are kept: a copy that was good once rots in silence.

Every file is read and compared with the point's manifest, and the manifest with the hash that the journal holds of it.
No source is asked and nothing is restored, so this is light enough for every point; that a copy can be *restored* only
a proof shows. Each point is read again once in ``REREAD_SECONDS``, a proof that matched counting as a reading.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from backup.plan import grade_of
from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId, new_id
from ncia.core.estate import Estate
from ncia.core.journal.entries import PointRehashed
from ncia.core.state import RecoveryPoint, State, StateStore
from ncia.core.work.jobs import Job, JobId, Jobs, Order

REREAD_SECONDS = 24 * 3600.0
AFTER_BACKUPS = 10
"""Added to the grade: reading again waits for every backup and proof."""

WAIT_SECONDS_MAX = 6 * 3600.0
BY = "calendar"
VERB = "verify"


@dataclass(frozen=True)
class Parts:
    estate: Estate
    site: SiteId
    states: StateStore
    jobs: Jobs
    clock: Clock


class RehashTask:
    """Orders the reading of this site's points: one job a point, of the verb ``verify``."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def tick(self, now: datetime) -> None:
        """Order the reading of the point that was unread longest, where one is due and none is being read."""
        if any(job.order.verb == VERB for job in self._parts.jobs.open()):
            return
        point = due(here(self._parts.states.snapshot(), self._parts.site), now)
        if point is not None:
            self._order(point, BY, f"{VERB}:{point.dataset}:{point.id}:{to_text(now)[:10]}")

    def read_now(self, dataset: str | None, by: str) -> dict[str, Any]:
        """Read the newest point of one dataset, or of each, now; answers what was found of each."""
        known = here(self._parts.states.snapshot(), self._parts.site)
        what = f"read {dataset or 'every dataset'} again at {self._parts.site}"
        if dataset is not None and dataset not in self._parts.estate.datasets:
            names = ", ".join(sorted(known)) or "none is kept here"
            raise NciaError("backup.no-such-dataset", what, "not in the estate", names)
        wanted = [points[-1] for name, points in sorted(known.items()) if dataset in (None, name)]
        if not wanted:
            why = "no recovery point of it is kept at this site"
            raise Refusal("backup.not-ours", what, why, "ask the other site's controller, or: ncia backup run")
        asked = [(point, self._order(point, by, new_id(VERB, self._parts.clock.now()))) for point in wanted]
        for point, job in asked:
            if job.order.details["point"]["point"] != point.id:
                why = f"job {job.id} reads another point of {point.dataset}"
                raise Refusal("backup.busy", what, why, "ask again when it has ended")
        return {"read": [self._found(point, job).model_dump() for point, job in asked]}

    def _found(self, point: RecoveryPoint, job: Job) -> PointRehashed:
        """What the job has found; raises where it could not look, or where the point was deleted meanwhile."""
        ended = self._parts.jobs.wait(job.id, WAIT_SECONDS_MAX)
        known = self._parts.states.snapshot().point(point.dataset, point.id)
        what = f"read {point.id} again"
        if known is None:
            raise Refusal("backup.deleted", what, "it was deleted meanwhile", "ncia backup list")
        if known.reread is None or known.reread.outcome.job != job.id:
            raise Unreachable("backup.not-reread", what, ended.sentence or ended.state, "is the store's host up?")
        return known.reread.outcome

    def _order(self, point: RecoveryPoint, by: str, job: JobId) -> Job:
        """Have the point read; where a point of the dataset is being read, answer that job."""
        estate, backup = self._parts.estate, point.backup
        order = Order(
            id=job,
            verb=VERB,
            dataset=point.dataset,
            priority=AFTER_BACKUPS + grade_of(estate, point.dataset),
            by=by,
            due_at=to_text(self._parts.clock.now()),
            hosts=(estate.host_of(self._parts.site, "store").id,),
            details={"point": backup.model_dump()},
            lane=VERB,
        )
        return self._parts.jobs.enqueue(order)


def here(state: State, site: SiteId) -> Mapping[str, tuple[RecoveryPoint, ...]]:
    """The points kept at ``site``, by dataset, oldest first."""
    kept = {name: tuple(p for p in points if p.backup.store_site == site) for name, points in state.points.items()}
    return {name: points for name, points in kept.items() if points}


def due(kept: Mapping[str, tuple[RecoveryPoint, ...]], now: datetime) -> RecoveryPoint | None:
    """The point that was unread longest, where that is longer than ``REREAD_SECONDS``; damaged ones are known."""
    points = [point for of_one in kept.values() for point in of_one if not point.damaged]
    oldest = min(points, key=lambda point: (read_at(point), point.id), default=None)
    return oldest if oldest and now - read_at(oldest) >= timedelta(seconds=REREAD_SECONDS) else None


def read_at(point: RecoveryPoint) -> datetime:
    """When every byte of it was last read: when it was taken, proven, or read again."""
    moments = [point.at]
    if point.proof is not None and point.proof.matched:
        moments.append(point.proof.at)
    if point.reread is not None:
        moments.append(point.reread.at)
    return max(moments)
