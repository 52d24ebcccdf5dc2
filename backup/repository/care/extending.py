"""Retention of what is still needed, extended before it ends: a pack that newer snapshots reuse was saved long ago.

Once a backup. Whatever an index names is needed by a snapshot that is kept, or will soon be pruned; so no tree is
walked. A listing tells what was saved lately, which is most of it or all; only what is older is asked for its end, and
only what has less than half of its time left is extended. So everything is retained for half of the days at least.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TypeVar

from backup.repository.ports import Kind, Missing
from backup.repository.retaining import File, Retaining, Retention

WORKERS = 8
TOGETHER = 1000
NEEDED = (Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS, Kind.KEYS, Kind.CONFIG)

T = TypeVar("T")


@dataclass(frozen=True)
class Extended:
    """``old``: how many files were asked for their end; ``extended``: how many of them had less than half left."""

    old: int = 0
    extended: int = 0


@dataclass(frozen=True)
class Survey:
    """Of the ``old`` ones that are needed: those that nothing retains any more, and when the next one's time ends."""

    old: int = 0
    unretained: tuple[File, ...] = ()
    soonest: datetime | None = None


def extend_due(store: Retaining, packs: Container[bytes], now: datetime) -> Extended:
    """Extend what has less than half of its time left, and of the packs only ``packs``. Raises StoreFault."""
    retention = store.retention()
    if retention is None:
        return Extended()
    half, until = half_of(retention), retention.until(now)

    def extend(file: File) -> bool:
        try:
            held = store.retained_until(*file)
            if held is not None and held - now > half:
                return False
            store.extend(*file, until)
        except Missing:  # removed since it was listed
            return False
        return True

    done = list(_each(extend, _old(store, packs, now - half)))
    return Extended(len(done), sum(done))


def survey(store: Retaining, packs: Container[bytes], now: datetime) -> Survey:
    """How what is needed is retained just now; what was saved lately has more than half of its time left."""
    retention = store.retention()
    if retention is None:
        return Survey()

    def look(file: File) -> tuple[File, datetime | None] | None:
        try:
            return file, store.retained_until(*file)
        except Missing:
            return None

    seen = [each for each in _each(look, _old(store, packs, now - half_of(retention))) if each is not None]
    bare = tuple(file for file, until in seen if until is None or until <= now)
    return Survey(len(seen), bare, min((until for _, until in seen if until is not None), default=None))


def half_of(retention: Retention) -> timedelta:
    return timedelta(days=retention.days) / 2


def _old(store: Retaining, packs: Container[bytes], before: datetime) -> Iterator[File]:
    for kind in NEEDED:
        for name in store.saved_before(kind, before):
            if kind is not Kind.DATA or bytes.fromhex(name) in packs:
                yield kind, name


def _each(ask: Callable[[File], T], files: Iterator[File]) -> Iterator[T]:
    """Many at once, and never all of them in memory."""
    with ThreadPoolExecutor(WORKERS, "retention") as pool:
        while together := list(islice(files, TOGETHER)):
            yield from pool.map(ask, together)
