"""What a mirror has not brought yet, when the site that it pulls from writes no more: compared, and brought here.

For a planned move. The giving site is held, so its stores stand still for this system; after the move nobody pulls from
them any more. Everything older than the mark at our store less a margin is here already (a mark follows last), so only
younger folders of time are compared; without folders of time, or after a long silence, everything that there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from backup.replicate.perform import Mirror
from backup.replicate.plan import CLOCK_GRAIN_SECONDS, Copy, copies
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import BucketCopy, Dataset, Estate, Replication, TreeCopy
from ncia.core.work.documents import MARK, Documents, Folder, Mark, Seen, time_folder

MARGIN = timedelta(seconds=60)  # a document may reach its folder late, by a clock that is not the canary's
COPIERS = 8  # requests of one drain on their way at once

StoreOf = Callable[[TreeCopy | BucketCopy], Documents]


@dataclass(frozen=True)
class Compared:
    """One system's documents at the giving site against ours. ``looked_at``: how many lie there in the time that can
    matter; ``lacking``: those that we lack or have with other bytes, as ``dataset: name``; ``refused``: names there
    that nobody may copy."""

    looked_at: int = 0
    lacking: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Lacking:
    """Of one dataset, what must be brought."""

    dataset: Dataset
    mirror: Mirror
    looked_at: int
    copies: tuple[Copy, ...]
    refused: tuple[str, ...]


class DocumentDrain:
    """The drain into ``site``; ``store_of`` opens the store of a copy. Keeps nothing between two calls."""

    def __init__(self, estate: Estate, site: SiteId, store_of: StoreOf) -> None:
        self._estate = estate
        self._site = site
        self._store_of = store_of

    def behind(self, system: SystemId) -> dict[str, float | None]:
        """By dataset: by how many seconds our canary is older than the giving site's; ``None`` where one has none."""
        found: dict[str, float | None] = {}
        for dataset in self._estate.system(system).documents:
            there, here = (_mark(self._store_of(copy)) for copy in self._copies(dataset))
            found[dataset.id] = (there.written_at - here.written_at).total_seconds() if there and here else None
        return found

    def compare(self, system: SystemId) -> Compared:
        """Look at both stores of each dataset and change nothing. Raises :class:`NciaError` where one did not answer
        or holds no canary: what was not looked at is never told as the same."""
        with ThreadPoolExecutor(COPIERS, "drain") as pool:
            return _told(self._found(system, pool))

    def bring(self, system: SystemId, now: datetime) -> int:
        """Copy what is lacking, each document read back and compared; how many there were. May be called again."""
        with ThreadPoolExecutor(COPIERS, "drain") as pool:
            waiting = [
                pool.submit(found.mirror.copy, copy, now)
                for found in self._found(system, pool)
                for copy in found.copies
            ]
            for future in waiting:
                future.result()
        return len(waiting)

    def _found(self, system: SystemId, pool: Executor) -> list[_Lacking]:
        return [self._lacking(dataset, pool) for dataset in self._estate.system(system).documents]

    def _copies(self, dataset: Dataset) -> tuple[TreeCopy | BucketCopy, TreeCopy | BucketCopy]:
        """The giving site's, ours."""
        return dataset.documents[self._estate.peer_of(self._site)], dataset.documents[self._site]

    def _lacking(self, dataset: Dataset, pool: Executor) -> _Lacking:
        source, target = (self._store_of(copy) for copy in self._copies(dataset))
        mirror = Mirror(
            source,
            target,
            by_time=dataset.partition == "time",
            direct=dataset.replication is Replication.SYNCHRONOUS,
            pool=pool,
        )
        since = _marked(dataset, mirror.target) - MARGIN
        _marked(dataset, mirror.source)
        there = dict(_walk(mirror.source, pool, since if mirror.by_time else None))
        here = dict(zip(there, pool.map(mirror.target.look, there), strict=True))
        planned, judging = list[Copy](), list[Seen]()
        for folder, listed in there.items():
            held = {seen.name: seen for seen in here[folder].documents}
            certain = copies(listed.documents, held)
            planned += certain
            certain_names = {copy.seen.name for copy in certain}
            judging += [seen for seen in listed.documents if seen.name not in certain_names and _unsure(seen, held)]
        unlike = pool.map(mirror.differs, [seen.name for seen in judging])
        planned += [Copy(seen, "ahead") for seen, other in zip(judging, unlike, strict=True) if other]
        return _Lacking(
            dataset,
            mirror,
            looked_at=sum(len(listed.documents) for listed in there.values()),
            copies=tuple(planned),
            refused=tuple(name for listed in there.values() for name in listed.refused),
        )


def _unsure(seen: Seen, held: Mapping[str, Seen]) -> bool:
    """Whether two listings do not tell that a name has the same bytes: no digests, and a time that is no copy's."""
    ours = held[seen.name]
    return not (seen.tag and ours.tag) and abs(seen.modified_at - ours.modified_at) >= CLOCK_GRAIN_SECONDS


def _mark(store: Documents) -> Mark | None:
    content = store.get(MARK)
    return Mark.from_bytes(content) if content else None


def _marked(dataset: Dataset, store: Documents) -> datetime:
    mark = _mark(store)
    if mark is None:
        what = f"compare {dataset.id} with {store.where}"
        why = f"{store.where} holds no canary: it is empty, not the store that it was, or was never complete"
        raise NciaError("documents.no-canary", what, why, "is its disk there, and does its mirror follow?")
    return mark.written_at


def _walk(store: Documents, pool: Executor, since: datetime | None) -> Iterator[tuple[str, Folder]]:
    """Every folder of ``store``, or those that can hold what was taken since then; one depth after the other."""
    level: Iterable[str] = ("",)
    low = time_folder(since) if since else ""
    while level:
        folders = tuple(level)
        seen = tuple(pool.map(store.look, folders))
        yield from zip(folders, seen, strict=True)
        level = [each for listed in seen for each in listed.folders if each >= low[: len(each)]]


def _told(found: Iterable[_Lacking]) -> Compared:
    told = Compared()
    for each in found:
        told = replace(
            told,
            looked_at=told.looked_at + each.looked_at,
            lacking=(*told.lacking, *(f"{each.dataset.id}: {copy.seen.name}" for copy in each.copies)),
            refused=(*told.refused, *each.refused),
        )
    return told
