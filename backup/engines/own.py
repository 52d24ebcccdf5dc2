"""Our own engine: :mod:`backup.repository` behind the port of engines."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from backup.agencies.ports import METADATA, Asked, Brought, Capabilities, Found, Held, Holding, Kept, Place, Share
from backup.repository import checking
from backup.repository.checking import STRUCTURE_ONLY, Checking
from backup.repository.keys import Holder, Scrypt
from backup.repository.locks import Lock
from backup.repository.ports import Store
from backup.repository.repository import Repository, create, open_repository
from backup.repository.restoring import Restoring
from backup.repository.saving import Request, save
from backup.repository.scan import Losses
from backup.repository.walk import Way
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError

NAME = "ncia"


class OwnEngine:
    """``store_of`` opens a URL; ``program`` is what snapshots say they were made by."""

    def __init__(
        self,
        store_of: Callable[[str], Store],
        clock: Clock,
        version: str,
        user: str = NAME,
        cost: Scrypt | None = None,
    ) -> None:
        self._store_of = store_of
        self._clock = clock
        self._version = version
        self._user = user
        self._cost = cost

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine=NAME,
            version=self._version,
            verifies_writes=True,
            verifies_restores=True,
            reads_all=True,
            reads_parts=True,
            makes_twins=True,
            writes_both=False,
            heals=False,
            forgets=False,
            prunes=False,
            retains=False,
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
        holder = Holder(self._user, asked.host)
        with self._opened(place) as repository:
            request = Request(asked.paths, holder, asked.tags, program=f"{NAME} {self._version}")
            saved = save(repository, request, self._clock)
        figures, snapshot = saved.figures, saved.snapshot
        return Kept(snapshot.id, snapshot.tree.hex(), figures.files, figures.bytes, told(saved.losses))

    def snapshots(self, place: Place) -> Holding:
        with self._opened(place) as repository:
            found = tuple(
                Held(each.id, each.tree.hex(), each.time, each.hostname, each.tags, each.paths)
                for each in repository.snapshots()
            )
            return Holding(repository.config.id, found, tuple(repository.damaged))

    def restore(self, place: Place, snapshot: str, target: Path) -> Brought:
        with self._opened(place) as repository, Lock(repository, self._holder(), self._clock):
            repository.load_index()
            with Restoring(repository) as restoring:
                restored = restoring.run(repository.snapshot(snapshot), target, Way(whole=True))
        return Brought(told(restored.losses))

    def check(self, place: Place, share: Share | None = None) -> Found:
        part = checking.Share(share.number, share.of) if share else STRUCTURE_ONLY
        with self._opened(place) as repository, Lock(repository, self._holder(), self._clock):
            checked = Checking(repository, part).run()
        return Found(tuple(checked.faults), share is not None)

    def forget(self, place: Place, snapshots: Sequence[str]) -> None:
        self.capabilities().demand("forgets", f"forget {len(snapshots)} snapshots at {place.url}")

    def _holder(self) -> Holder:
        return Holder(self._user, socket.gethostname())

    @contextmanager
    def _opened(self, place: Place) -> Iterator[Repository]:
        password, store = password_in(place), self._store_of(place.url)
        try:
            yield open_repository(store, password)
        finally:
            store.close()


def password_in(place: Place) -> str:
    """The password, without the end of its line."""
    what = f"read the password in {place.password_file}"
    try:
        text = place.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise NciaError("repository.no-password", what, why) from error
    if not text:
        raise NciaError("repository.no-password", what, "it is empty")
    return text


def told(losses: Losses) -> tuple[str, ...]:
    """Each that is named, and how many more there are."""
    more = sum(losses.counts.values()) - len(losses.named)
    return (*losses.named, f"and {more} more") if more else tuple(losses.named)
