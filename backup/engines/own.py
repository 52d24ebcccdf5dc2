"""Our own engine: :mod:`backup.repository` behind the port of engines."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from backup.agencies.ports import (
    METADATA,
    Asked,
    Brought,
    Capabilities,
    Cleared,
    Found,
    Healed,
    Held,
    Holding,
    Kept,
    KeptTwice,
    Place,
    Share,
)
from backup.repository import location
from backup.repository.care import checking
from backup.repository.care.checking import STRUCTURE_ONLY, Checking
from backup.repository.care.copying import twins
from backup.repository.care.pruning import Wish, prune
from backup.repository.care.removal import alone
from backup.repository.care.repairing import Repairing
from backup.repository.care.repairing_access import Opening
from backup.repository.format.keys import Holder, Scrypt
from backup.repository.locks import NO_PATIENCE, Lock, Patience
from backup.repository.ports import Kind, Store
from backup.repository.repository import Repository, create, open_repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.saving import Request, Saved, save
from backup.repository.save.scan import Losses
from backup.repository.save.walk import Way, ways
from backup.repository.stores.both import Both, Side
from ncia.core.base.clock import Clock
from ncia.core.base.errors import Refusal

NAME = "ncia"


class OwnEngine:
    """``store_of`` opens a URL; ``program`` is what snapshots say they were made by. ``patience``: with a lock that is
    somebody else's, but for forgetting, which is asked for again."""

    def __init__(
        self,
        store_of: Callable[[str], Store],
        clock: Clock,
        version: str,
        user: str = NAME,
        cost: Scrypt | None = None,
        patience: Patience = NO_PATIENCE,
    ) -> None:
        self._store_of = store_of
        self._clock = clock
        self._version = version
        self._user = user
        self._cost = cost
        self._patience = patience

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine=NAME,
            version=self._version,
            verifies_writes=True,
            verifies_restores=True,
            reads_all=True,
            reads_parts=True,
            makes_twins=True,
            writes_both=True,
            heals=True,
            forgets=True,
            prunes=True,
            retains=True,
            resumes_backups=True,
            resumes_restores=False,
            metadata=METADATA,
        )

    def init(self, place: Place, twin: Place | None = None) -> str:
        password, store = password_in(place), self._store_of(place.url)
        try:
            if twin is None:
                return create(store, password, self._holder(), self._clock.now(), self._cost).config.id
            with self._opened(twin) as other:
                return create(store, password, self._holder(), self._clock.now(), self._cost, other).config.id
        finally:
            store.close()

    def backup(self, place: Place, asked: Asked) -> Kept:
        with self._opened(place) as repository:
            return _kept(save(repository, self._request(asked), self._clock))

    def backup_both(self, one: Place, other: Place, asked: Asked) -> KeptTwice:
        sides = tuple(Side(self._store_of(place.url), place.url) for place in (one, other))
        both = Both(sides)
        try:
            repository = both.opened({place.url: partial(password_in, place) for place in (one, other)})
            saved = save(repository, self._request(asked), self._clock)
            missing = {
                side.where: side.fault or "it does not have the snapshot"
                for side in sides
                if not both.has(side, Kind.SNAPSHOTS, saved.snapshot.id)
            }
        finally:
            both.close()
        return KeptTwice(_kept(saved), missing)

    def snapshots(self, place: Place) -> Holding:
        with self._opened(place) as repository:
            found = tuple(
                Held(each.id, each.tree.hex(), each.time, each.hostname, each.tags, each.paths)
                for each in repository.snapshots()
            )
            return Holding(repository.config.id, found, tuple(repository.damaged))

    def restore(self, place: Place, snapshot: str, target: Path, paths: Sequence[str] = ()) -> Brought:
        with self._opened(place) as repository, self._lock(repository):
            repository.load_index(repository.packs_there())
            way = ways(map(os.fsencode, paths)) if paths else Way(whole=True)
            with Restoring(repository) as restoring:
                restored = restoring.run(repository.snapshot(snapshot), target, way)
        return Brought(told(restored.losses))

    def check(self, place: Place, share: Share | None = None) -> Found:
        with self._opened(place) as repository, self._lock(repository):
            checked = Checking(repository, _part(share)).run()
        return Found(tuple(checked.faults), share is not None, checked.bytes_read, checked.bytes)

    def forget(self, place: Place, snapshots: Sequence[str]) -> None:
        """Whoever is reading or writing there is waited for by whoever asks: it is refused meanwhile."""
        with self._opened(place) as repository, alone(repository, self._holder(), self._clock) as lock:
            for name in snapshots:
                lock.demand()
                repository.store.remove(Kind.SNAPSHOTS, name)

    def prune(self, place: Place) -> Cleared:
        """In two phases: what nobody needs is marked, and removed by a prune after its grace."""
        with self._opened(place) as repository, alone(repository, self._holder(), self._clock, self._patience) as lock:
            done = prune(repository, lock, self._clock.now(), Wish())
        return Cleared(done.marked, done.marked_bytes, done.removed, done.removed_bytes)

    def heal(self, place: Place, twin: Place, share: Share | None = None) -> Healed:
        """What is damaged is found by its length and by what the indexes tell; content is read where packs are odd, and
        all of that of a ``share``."""
        store, password = self._store_of(place.url), password_in(place)
        try:
            with self._opened(twin) as other:
                opening = Opening(store, password, other)
                repository = opening.run(self._holder(), self._clock.now(), self._cost)
                if not twins(repository, other):
                    what, why = f"mend {place.url} from {twin.url}", "it has another key"
                    raise Refusal("repository.no-twin", what, why, "ncia repo init --twin makes one")
                with self._lock(repository, exclusive=True) as lock:
                    repaired = Repairing(repository, other, lock.demand, _part(share)).run()
        finally:
            store.close()
        return Healed((*opening.mended, *repaired.mended), (*opening.lost, *repaired.lost))

    def _request(self, asked: Asked) -> Request:
        holder = Holder(self._user, asked.host)
        return Request(asked.paths, holder, asked.tags, program=f"{NAME} {self._version}", patience=self._patience)

    def _lock(self, repository: Repository, exclusive: bool = False) -> Lock:
        return Lock(repository, self._holder(), self._clock, exclusive, self._patience)

    def _holder(self) -> Holder:
        return Holder(self._user, socket.gethostname())

    @contextmanager
    def _opened(self, place: Place) -> Iterator[Repository]:
        password, store = password_in(place), self._store_of(place.url)
        try:
            yield open_repository(store, password)
        finally:
            store.close()


def _part(share: Share | None) -> checking.Share:
    return checking.Share(share.number, share.of) if share else STRUCTURE_ONLY


def password_in(place: Place) -> str:
    return location.password_in(place.password_file)


def _kept(saved: Saved) -> Kept:
    figures, snapshot = saved.figures, saved.snapshot
    return Kept(snapshot.id, snapshot.tree.hex(), figures.files, figures.bytes, told(saved.losses))


def told(losses: Losses) -> tuple[str, ...]:
    """Each that is named, and how many more there are."""
    more = sum(losses.counts.values()) - len(losses.named)
    return (*losses.named, f"and {more} more") if more else tuple(losses.named)
