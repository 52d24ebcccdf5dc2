"""Snapshots into a repository of another key: their blobs are read, verified and kept anew, as ``restic copy`` does.

Trees and blobs have the same ids there, for an id is the hash of what is sealed; the snapshot is another file, which
tells its ``original``. What the other one has already is not read. A snapshot is written when all it needs is durable.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from backup.repository.care.copying import Copied, Tell
from backup.repository.care.reaching import reached
from backup.repository.faults import Damaged, Hostile
from backup.repository.format.index import runs_needed
from backup.repository.format.packs import Blob, span_of
from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from backup.repository.save.pipeline import Packing
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SHORT

RUNS_MAX = 4  # that are on their way
SEVERAL_BYTES = 1 << 30  # so much is kept before the snapshots that need it are written

Run = tuple[bytes, list[Blob]]  # blobs of one pack that are read in one go


class CopyingBlobs:
    """One copy from ``one`` to ``other``; the indexes of both are loaded. ``guard`` as with a backup."""

    def __init__(
        self, one: Repository, other: Repository, guard: Callable[[], None], tell: Tell = lambda _: None
    ) -> None:
        self.copied = Copied()
        self._one = one
        self._other = other
        self._guard = guard
        self._tell = tell
        self._trees: set[bytes] = set()  # whose blobs are all on their way, or there
        self._packing = Packing(other, verify=True, guard=guard)
        self._waiting: list[Snapshot] = []  # all they need is kept, and not durable yet

    def run(self, snapshots: Sequence[Snapshot]) -> Copied:
        """Oldest first; those that were copied before are passed over."""
        there = {each.original for each in self._other.snapshots()}
        try:
            with ThreadPoolExecutor(os.cpu_count() or 1, "copy") as pool:
                for snapshot in snapshots:
                    if original_of(snapshot) not in there:
                        self._copy(pool, snapshot)
                    if self._packing.added.packed_bytes > SEVERAL_BYTES:
                        self._settle()
            self._settle()
        finally:
            self._packing.abandon()
        return self.copied

    def _copy(self, pool: ThreadPoolExecutor, snapshot: Snapshot) -> None:
        seen = set(self._trees)
        try:
            runs = self._wanted(snapshot, seen)
        except (Damaged, Missing, Hostile) as error:
            self._fault(snapshot, error)
            return
        self.copied.bytes_all += sum(blob.length for _, blobs in runs for blob in blobs)
        faults: list[NciaError] = []
        running: deque[tuple[Run, Future[NciaError | None]]] = deque()
        for run in runs:
            running.append((run, pool.submit(self._run, run)))
            if len(running) > RUNS_MAX:
                self._came(*running.popleft(), faults)
        for first, came in running:
            self._came(first, came, faults)
        if faults:
            self._fault(snapshot, faults[0])
        else:
            self._trees = seen
            self._waiting.append(snapshot)

    def _came(self, run: Run, future: Future[NciaError | None], faults: list[NciaError]) -> None:
        if (fault := future.result()) is not None:
            faults.append(fault)
            return
        self.copied.blobs += len(run[1])
        self.copied.bytes += sum(blob.length for blob in run[1])
        self._tell(self.copied)

    def _wanted(self, snapshot: Snapshot, seen: set[bytes]) -> list[Run]:
        """What the other one does not have of a snapshot, by pack, in the order in which it lies there."""
        return runs_needed(
            self._one.demand(id_, tree)
            for id_, tree in reached(self._one, (snapshot.tree,), seen)
            if not self._other.index.has(id_, tree)
        )

    def _run(self, run: Run) -> NciaError | None:
        """Read, verify and keep; what is wrong with the first of them that cannot be read."""
        pack, blobs = run
        begin, length = span_of(blobs)
        try:
            content = memoryview(self._one.store.load(Kind.DATA, pack.hex(), begin, length))
        except (Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            return error
        for blob in blobs:
            at = blob.offset - begin
            try:
                plain = self._one.open_blob(blob, content[at : at + blob.length])
            except Damaged as error:
                return error
            self._packing.keep(plain, blob.tree)
        return None

    def _settle(self) -> None:
        """What was kept is durable and named; then the snapshots that need it."""
        self._packing.finish()
        for snapshot in self._waiting:
            self._guard()
            self._other.save_file(Kind.SNAPSHOTS, self._told_anew(snapshot))
            self.copied.snapshots.append(snapshot.id)
        self._waiting.clear()
        self._packing = Packing(self._other, verify=True, guard=self._guard)

    def _told_anew(self, snapshot: Snapshot) -> bytes:
        """Everything that the original tells, also what we do not know; its parent means nothing at another place."""
        told = json.loads(self._one.load_file(Kind.SNAPSHOTS, snapshot.id))
        told.pop("parent", None)
        return json.dumps({**told, "original": original_of(snapshot)}, separators=(",", ":")).encode()

    def _fault(self, snapshot: Snapshot, error: NciaError) -> None:
        self.copied.faults.append(f"snapshot {snapshot.id[:SHORT]}: {error.what}: {error.why}")


def original_of(snapshot: Snapshot) -> str:
    return snapshot.original or snapshot.id
