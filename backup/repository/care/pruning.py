"""Prune, in two phases: what nobody needs is marked and no longer counted on; it is removed once its grace is over.

Between the two lies more time than any backup takes. One that was frozen, that came from the other site, that took no
lock or lost it may have counted on a pack that is marked by now: the next prune sees that a snapshot needs it and
brings it back. Until then whoever reads finds it where the mark tells.

The order: packs that hold the copies; new indexes; away with the old ones; away with the packs. Whatever call is the
last one, each blob that a snapshot needs is in a pack that is there and that an index names or marks (decision 0020).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from backup.repository.care.pruning_plan import Held, Plan, Spare, plan_of
from backup.repository.care.repacking import Repacking
from backup.repository.care.used import CHECK_FIRST, Used, use
from backup.repository.format.index import Mark, Pack, index_text
from backup.repository.format.packs import Blob, pack_bytes
from backup.repository.locks import Lock
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from backup.repository.save.pipeline import INDEX_BLOBS_MAX
from backup.repository.strays import header_of
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import SHORT

GRACE = timedelta(days=7)
UNUSED_SHARE = 0.05  # as restic
LOOKED, COPIED, REMOVED = "snapshots looked into", "bytes copied", "packs removed"

Tell = Callable[[str, int, int], None]  # what is done just now, how much of it, and of how much


@dataclass(frozen=True)
class Wish:
    """``grace``: how long a pack is marked before it is removed; none at all: it goes at once, as with restic.
    ``unused_share``: of what stays, how much may be needed by nobody. ``empty``: also where no snapshot is left."""

    grace: timedelta = GRACE
    unused_share: float = UNUSED_SHARE
    empty: bool = False


@dataclass
class Pruned:
    """What was done, or with ``dry`` would be. Bytes are those of packs."""

    dry: bool = False
    snapshots: int = 0
    packs: int = 0
    marked: int = 0
    marked_bytes: int = 0
    waiting: int = 0
    repacked: int = 0
    copied_bytes: int = 0
    back: int = 0
    removed: int = 0
    removed_bytes: int = 0
    lost: int = 0  # packs that an index names and nobody has or needs


@dataclass
class Known:
    """What the indexes and the store tell. ``files``: of each index file, which packs it names and which it marks.
    ``marks``: since when a pack is marked. ``strays``: in no index. ``lost``: named, and not there whole."""

    sizes: dict[bytes, int]
    held: dict[bytes, Held] = field(default_factory=dict)
    marks: dict[bytes, datetime | None] = field(default_factory=dict)
    files: dict[str, tuple[frozenset[bytes], frozenset[bytes]]] = field(default_factory=dict)
    strays: frozenset[bytes] = frozenset()
    lost: set[bytes] = field(default_factory=set)

    @property
    def void(self) -> set[bytes]:
        """Marks of packs that an index names as well, or that are gone: a prune that was stopped leaves such."""
        return {pack for pack in self.marks if pack in self.held or pack not in self.sizes}

    def touched(self, changing: Set[bytes]) -> list[str]:
        return [name for name, (packs, marks) in self.files.items() if packs & changing or marks & changing]


def prune(repository: Repository, lock: Lock, now: datetime, wish: Wish, tell: Tell = lambda *_: None) -> Pruned:
    """Under a lock that nobody shares. Refuses where an index, a snapshot or a tree cannot be read."""
    known, used, plan = _planned(repository, now, wish, tell)
    told = _told(known, used, plan, wish)
    made, told.copied_bytes = _repacked(repository, lock, known, used, plan, tell)
    old = known.touched(plan.changing | known.lost | known.void)
    if old or made or plan.again or plan.back:
        writing = Reindexing(repository, lock, known, plan, now, keeps=wish.grace > timedelta(0))
        writing.run(old, made)
    _demand_nobody_else(repository, used)
    for name in old:
        lock.demand()
        repository.store.remove(Kind.INDEX, name)
    _demand_gone(repository, old)
    over = sorted(_over(plan, wish))
    for number, pack in enumerate(over, 1):
        lock.demand()
        repository.store.remove(Kind.DATA, pack.hex())
        tell(REMOVED, number, len(over))
    return told


def rehearse(repository: Repository, now: datetime, wish: Wish, tell: Tell = lambda *_: None) -> Pruned:
    """What :func:`prune` would do; nothing is written."""
    known, used, plan = _planned(repository, now, wish, tell)
    told = _told(known, used, plan, wish)
    told.dry = True
    told.copied_bytes = sum(used.packs[pack].bytes for pack in plan.repack)
    return told


class Reindexing:
    """Index files written anew, some blobs at a time, from those that speak of anything that changes. ``keeps``: what
    leaves is marked; without grace it goes at once."""

    def __init__(
        self, repository: Repository, lock: Lock, known: Known, plan: Plan, now: datetime, keeps: bool
    ) -> None:
        self._repository = repository
        self._lock = lock
        self._known = known
        self._plan = plan
        self._now = now
        self._keeps = keeps
        self._seen: set[bytes] = set()
        self._packs: list[Pack] = []
        self._marks: list[Mark] = []
        self._blobs = 0

    def run(self, old: Iterable[str], made: Iterable[Pack]) -> None:
        for pack, blobs in made:
            self._name(pack, blobs)
        for name in old:
            packs, marks = self._repository.index_whole(name)
            for pack, blobs in packs:
                if pack not in self._known.lost:
                    self._placed(pack, blobs)
            for mark in marks:
                if mark.pack in self._known.sizes and mark.pack not in self._known.held:
                    self._spare(mark.pack, mark.blobs)
        for stray in self._known.strays & (self._plan.back | self._plan.again):
            self._spare(stray, header_of(self._repository, stray, self._known.sizes[stray]))
        self._flush()

    def _placed(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        if pack not in self._plan.leaving:
            self._name(pack, blobs)
        elif self._keeps:
            self._mark(pack, blobs, self._now)

    def _spare(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        if pack in self._plan.back:
            self._name(pack, blobs)
        elif pack in self._plan.again:
            self._mark(pack, blobs, self._now)
        elif pack not in self._plan.over:
            self._mark(pack, blobs, self._known.marks[pack])

    def _name(self, pack: bytes, blobs: Sequence[Blob]) -> None:
        if self._is_new(pack, blobs):
            self._packs.append((pack, blobs))

    def _mark(self, pack: bytes, blobs: Sequence[Blob], at: datetime | None) -> None:
        if self._is_new(pack, blobs):
            self._marks.append(Mark(pack, blobs, at))

    def _is_new(self, pack: bytes, blobs: Sequence[Blob]) -> bool:
        if pack in self._seen:
            return False
        self._seen.add(pack)
        if self._blobs + len(blobs) > INDEX_BLOBS_MAX:
            self._flush()
        self._blobs += len(blobs)
        return True

    def _flush(self) -> None:
        if self._packs or self._marks:
            self._lock.demand()
            self._repository.save_file(Kind.INDEX, index_text(self._packs, self._marks))
        self._packs, self._marks, self._blobs = [], [], 0


def _planned(repository: Repository, now: datetime, wish: Wish, tell: Tell) -> tuple[Known, Used, Plan]:
    """Snapshots first: whatever one of these needs was there before it."""
    snapshots = repository.snapshots()
    known, used = _looked(repository), Used()
    if repository.damaged:
        raise Refusal("repository.unsure", "prune", "; ".join(repository.damaged), CHECK_FIRST)
    if known.held and not snapshots and not wish.empty:
        why = "it has packs and no snapshot, so that nobody would need anything: were its snapshots removed or hidden?"
        hint = "bring them back (ncia repo copy, repair --from, undelete); --empty if it is to be emptied"
        raise Refusal("repository.no-snapshots", "prune", why, hint)
    use(repository, used, snapshots, lambda count: tell(LOOKED, count, len(snapshots)))
    for pack, share in used.packs.items():
        if pack in known.held:
            known.held[pack] = replace(known.held[pack], used_blobs=share.blobs, used_bytes=share.bytes)
    spare = {pack: Spare(pack in used.packs, at) for pack, at in known.marks.items() if pack not in known.void}
    spare |= {pack: Spare(pack in used.packs, None) for pack in known.strays}
    return known, used, plan_of(known.held, spare, now, wish.grace, wish.unused_share)


def _looked(repository: Repository) -> Known:
    """First every pack, then every index; a pack that came between the two is asked for by its name. Fills what the
    repository knows of both."""
    known = Known({bytes.fromhex(each.name): each.size for each in repository.store.names(Kind.DATA)})
    marks: dict[bytes, Mark] = {}
    for name, packs, marked in repository.index_wholes():
        known.files[name] = (frozenset(pack for pack, _ in packs), frozenset(mark.pack for mark in marked))
        for pack, blobs in packs:
            if pack in known.held or pack in known.lost:
                continue
            if _size(repository, known, pack) != pack_bytes(blobs):
                known.lost.add(pack)
                continue
            known.held[pack] = Held(len(blobs), sum(blob.length for blob in blobs))
            repository.index.add(pack, blobs)
        for mark in marked:
            before = known.marks.get(mark.pack, mark.at)
            known.marks[mark.pack] = None if before is None or mark.at is None else max(before, mark.at)
            marks[mark.pack] = mark
    known.strays = frozenset(known.sizes.keys() - known.held.keys() - known.marks.keys() - known.lost)
    for pack in known.strays:
        marks[pack] = Mark(pack, header_of(repository, pack, known.sizes[pack]), None)
    for pack, mark in marks.items():
        if pack not in known.held and mark.blobs and _size(repository, known, pack) == pack_bytes(mark.blobs):
            repository.marked.add(pack, mark.blobs)
    return known


def _size(repository: Repository, known: Known, pack: bytes) -> int | None:
    if pack not in known.sizes:
        try:
            known.sizes[pack] = repository.store.size(Kind.DATA, pack.hex())
        except Missing:
            return None
    return known.sizes[pack]


def _repacked(
    repository: Repository, lock: Lock, known: Known, used: Used, plan: Plan, tell: Tell
) -> tuple[list[Pack], int]:
    """The packs that hold what is needed of those that are repacked, and their bytes."""
    repacking, left = Repacking(repository, lock.demand), set(plan.repack)
    whole, done = sum(used.packs[pack].bytes for pack in plan.repack), 0
    for name in known.touched(plan.repack):
        for pack, blobs in repository.index_file(name):
            if pack not in left:
                continue
            left.discard(pack)
            wanted = {(blob.id, blob.tree): blob for blob in blobs if used.has(blob.id, blob.tree)}
            here = [blob for key, blob in wanted.items() if _is_in(repository, key, pack)]
            repacking.copy(pack, here)
            done += sum(blob.length for blob in here)
            tell(COPIED, done, whole)
    return repacking.finish(), repacking.bytes


def _is_in(repository: Repository, key: tuple[bytes, bool], pack: bytes) -> bool:
    where = repository.where(*key)
    return where is not None and where.pack == pack


def _demand_nobody_else(repository: Repository, used: Used) -> None:
    """Before anything goes: has somebody who had no lock kept a snapshot since?"""
    late = {each.name for each in repository.store.names(Kind.SNAPSHOTS)} - used.snapshots
    if late:
        why = f"snapshot {min(late)[:SHORT]} was written meanwhile by somebody who had no lock"
        raise Refusal("repository.not-alone", "prune", why, "nothing was removed; prune again")


def _demand_gone(repository: Repository, old: Iterable[str]) -> None:
    """Before packs go: does no index name them any more? A store may answer that it removed what it still has."""
    left = {each.name for each in repository.store.names(Kind.INDEX)} & set(old)
    if left:
        what, why = f"remove index {min(left)[:SHORT]}", "the store answered that it did, and still has it"
        raise StoreFault(
            "repository.not-removed", what, why, "no pack was removed; look at the store, then prune again"
        )


def _over(plan: Plan, wish: Wish) -> frozenset[bytes]:
    return plan.over if wish.grace > timedelta(0) else plan.over | plan.leaving


def _told(known: Known, used: Used, plan: Plan, wish: Wish) -> Pruned:
    over, marked = _over(plan, wish), (plan.leaving | plan.again) - _over(plan, wish)
    return Pruned(
        snapshots=len(used.snapshots),
        packs=len(known.sizes),
        marked=len(marked),
        marked_bytes=sum(known.sizes[pack] for pack in marked),
        waiting=len(known.marks.keys() - known.void - plan.back - plan.over - plan.again),
        repacked=len(plan.repack),
        back=len(plan.back),
        removed=len(over),
        removed_bytes=sum(known.sizes[pack] for pack in over),
        lost=len(known.lost),
    )
