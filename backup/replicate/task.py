"""Mirrors as a controller keeps them: one follower a dataset, pulling from the centre where its system is active.

A follower that ends by a fault of ours is started again at the next tick. What a mirror's state is, is journalled when
it changes; how far it follows is measured by the agents, from the mark at the target, and by nobody here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog

from backup.replicate.perform import Memory, Mirror, Turned
from backup.replicate.ports import Stores
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import DatasetId, SiteId, SystemId
from ncia.core.estate.model import Dataset, Estate, Replication
from ncia.core.journal import Journal
from ncia.core.journal.entries import MirrorChanged
from ncia.core.state import StateStore

TURN_SECONDS = 1.0  # between two turns' beginnings, about, while there is nothing new but canaries
TURN_PHASE_SECONDS = 0.7  # of each second: canaries are written on the second and in its middle
BUSY_TURN_SECONDS = 0.5  # after a turn that brought something: who is busy takes short turns, each with little to do
REST_SHARE = 0.25  # of a turn's own time is rested after it at least: a slow store is not hammered
TROUBLED_SECONDS = 3.0  # of trouble without a good turn between, before it is written down
COPIERS = 8  # documents of all datasets on their way at once
CLOSE_SECONDS_MAX = 10.0
BY = "mirror"

_log = structlog.get_logger("backup.mirror")


@dataclass(frozen=True)
class Parts:
    """What the task is made of. ``active`` answers at which site each system is active now."""

    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    stores: Stores
    clock: Clock
    active: Callable[[], Mapping[SystemId, SiteId]]


class MirrorTask:
    """Everything that one site's controller does to have the other site's documents here."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(COPIERS, "copier")
        datasets = [d for s in parts.estate.systems.values() for d in s.documents if parts.site in d.documents]
        self.followers = {d.id: Follower(parts, d, self._pool, self._stop) for d in datasets}
        self._threads: dict[DatasetId, threading.Thread] = {}

    def tick(self, now: datetime) -> None:
        """See to it that every dataset has its follower."""
        for id, follower in self.followers.items():
            thread = self._threads.get(id)
            if self._stop.is_set() or (thread is not None and thread.is_alive()):
                continue
            if thread is not None:
                _log.error("mirror.follower-ended", dataset=id)
            self._threads[id] = threading.Thread(target=follower.run, name=f"mirror {id}", daemon=True)
            self._threads[id].start()

    def close(self) -> None:
        self._stop.set()
        self._parts.stores.close()
        for thread in self._threads.values():
            thread.join(CLOSE_SECONDS_MAX / max(1, len(self._threads)))
        self._pool.shutdown(wait=False, cancel_futures=True)


class Follower:
    """One dataset's mirror into this site."""

    def __init__(self, parts: Parts, dataset: Dataset, pool: ThreadPoolExecutor, stop: threading.Event) -> None:
        self._parts = parts
        self._dataset = dataset
        self._stop = stop
        self._peer = parts.estate.peer_of(parts.site)
        self._mirror = Mirror(
            source=parts.stores.of(dataset.documents[self._peer]),
            target=parts.stores.of(dataset.documents[parts.site]),
            by_time=dataset.partition == "time",
            direct=dataset.replication is Replication.SYNCHRONOUS,
            pool=pool,
        )
        self._memory = Memory()
        self._troubled_since: datetime | None = None
        self._told: tuple[str, str] | None = None
        self.copied = 0

    def run(self) -> None:
        """Turn after turn until told to stop."""
        pause = 0.0
        while not self._stop.wait(pause):
            began = self._parts.clock.boottime_ns()
            try:
                brought = self.turn()
            except (RuntimeError, CancelledError):  # of the pool, when it is closed under us
                if not self._stop.is_set():
                    raise
                return
            spent = (self._parts.clock.boottime_ns() - began) / 1e9
            pause = pause_seconds(spent, brought, self._parts.clock.now().timestamp())

    def turn(self) -> int:
        """One look at what there is to do, and its doing; the state of the mirror is told when it changes. Answers how
        many documents were brought."""
        if self._parts.active().get(self._dataset.system) != self._peer:
            self._memory, self._troubled_since = Memory(), None
            if self._state() is not None:  # nothing is said of a mirror that never was
                self._tell("idle", f"{self._dataset.system} is not active at {self._peer}")
            return 0
        now, brought = self._parts.clock.now(), 0
        try:
            turned = self._mirror.turn(self._memory, now)
            why, brought = turned.sentence, turned.copied
            self._count(turned)
        except NciaError as error:
            why = f"{error.what}: {error.why}"
        if self._stop.is_set():
            return brought  # what failed, failed because we end
        if not why:
            self._troubled_since = None
            self._tell("following", f"from {self._mirror.source.where} to {self._mirror.target.where}")
            return brought
        self._troubled_since = self._troubled_since or now
        if (now - self._troubled_since).total_seconds() >= TROUBLED_SECONDS:
            self._tell("failing", why)
        return brought

    def _count(self, turned: Turned) -> None:
        self.copied += turned.copied
        if turned.copied:
            _log.debug("mirror.copied", dataset=self._dataset.id, copied=turned.copied, size_bytes=turned.size_bytes)

    def _state(self) -> str | None:
        """What is written down of this mirror."""
        if self._told is not None:
            return self._told[0]
        known = self._parts.states.snapshot().mirrors.get((self._dataset.id, self._parts.site))
        return known.body.state if known else None

    def _tell(self, state: Any, sentence: str) -> None:
        """Write the state down if it is another one; of troubles only the first is told."""
        if self._state() == state:
            self._told = self._told or (state, sentence)
            return
        body = MirrorChanged(
            dataset=self._dataset.id,
            source_site=self._peer,
            target_site=self._parts.site,
            state=state,
            sentence=sentence,
        )
        self._parts.journal.append(body, by=BY)
        self._told = (state, sentence)
        (_log.warning if state == "failing" else _log.info)(f"mirror.{state}", dataset=self._dataset.id, why=sentence)


def pause_seconds(spent: float, brought: int, now_seconds: float) -> float:
    """How long to rest after a turn that took ``spent`` seconds, brought so many documents and ended at that moment.

    Who has nothing to do but carry canaries turns when one has just been written, so that it is looked at in time."""
    if brought:
        return max(BUSY_TURN_SECONDS - spent, spent * REST_SHARE)
    if spent > TURN_SECONDS / 2:  # who is slow cannot keep time
        return max(TURN_SECONDS - spent, spent * REST_SHARE)
    least = TURN_SECONDS / 4
    return least + (TURN_PHASE_SECONDS - now_seconds - least) % TURN_SECONDS
