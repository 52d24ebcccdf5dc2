"""What the world says of each system when a plan is asked for: copies, receivers, stores and etcd, all at once.

Nothing is decided here. What does not answer is a fact too, with its reason; a dead server costs its timeout once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Dataset, System
from recovery.fencing.keys import Sync
from recovery.loss_figure import DocumentCopy, Facts
from recovery.planned_moves import PairFacts
from recovery.ports import Watching, World

ASKED_AT_ONCE = 8

log = structlog.get_logger("recovery")


@dataclass(frozen=True)
class Survey:
    """``cleared_by``: the run that cleared a system's synchronous requirement at a site, by the journal; ``drift``: as
    the system's program was last compared."""

    site: SiteId
    world: World
    watching: Watching
    clock: Clock
    drift: Callable[[SystemId], tuple[str, ...]]
    cleared_by: Callable[[SystemId, SiteId], str]

    def of_loss(self, lost: SiteId, systems: Sequence[System]) -> dict[SystemId, Facts]:
        """For a plan that promotes our copies of what was active at ``lost``."""
        syncs = self.world.claims.syncs()
        with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="plan") as pool:
            found = pool.map(lambda s: self._fact(lost, s, syncs.get(s.id)), systems)
            return dict(zip((s.id for s in systems), found, strict=True))

    def of_pairs(self, systems: Sequence[System]) -> dict[SystemId, PairFacts]:
        """For a planned move, while both sites live."""
        with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="plan") as pool:
            return dict(zip((s.id for s in systems), pool.map(self._pair_fact, systems), strict=True))

    def _fact(self, lost: SiteId, system: System, sync: Sync | None) -> Facts:
        outage, cleared_by = self.watching.outage(system.id), self.cleared_by(system.id, lost)
        documents = tuple(self._document_copy(dataset) for dataset in system.documents)
        try:
            received = self.world.receivers.received(system.id)
        except NciaError as error:
            log.warning("plan.no-receiver", system=system.id, error=str(error))
            received = None
        replica, trouble = None, ""
        try:
            replica = self.world.databases.replica(system.id)
        except NciaError as error:
            trouble = error.why
        return Facts(replica, outage, trouble, cleared_by, sync, received, self.drift(system.id), documents)

    def _document_copy(self, dataset: Dataset) -> DocumentCopy:
        try:
            return DocumentCopy(dataset.id, self.world.marks.newest(dataset))
        except NciaError as error:
            return DocumentCopy(dataset.id, None, f"{dataset.id}: {error.why}")

    def _pair_fact(self, system: System) -> PairFacts:
        """The active side's server answers; what our copy says is only asked for where it follows."""
        try:
            streams = self.world.both.there.streams_to(system.id, self.site)
            newest = self.world.databases.replica(system.id).newest_canary_at if streams else None
        except NciaError as error:
            return PairFacts(trouble=error.why)
        age = (self.clock.now() - newest).total_seconds() if newest else None
        return PairFacts(streams=streams, canary_age_seconds=age)
