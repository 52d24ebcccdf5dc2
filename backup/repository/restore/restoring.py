"""A snapshot back into files: walked by one thread, read, verified and written by several (and by processes, where
there is much), bounded throughout.

Each blob is hashed before a byte of it is written. Files that follow one another lie side by side in their packs, so
they are read in one go. A blob that is lost or damaged costs its place in its files, is named, and ends nothing else.
Of a file that is there already only those blobs are read and written that it does not hold.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from backup.repository.care.reaching import ByPath, nodes_of
from backup.repository.faults import Damaged
from backup.repository.format.index import runs_needed
from backup.repository.format.packs import Blob, span_of
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import DIR, FILE, SOCKET, Node
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from backup.repository.restore.existing import Overwrite, Treatment, holds, open_file_in, remove_in, same_metadata
from backup.repository.restore.fillers import Fillers
from backup.repository.restore.filling import Batch, Piece, Target, parts_of, pieces_of
from backup.repository.restore.placing import Place, Placing
from backup.repository.restore.writing import close, untimed, write_all, write_new
from backup.repository.save.scan import Losses
from backup.repository.save.walk import Way
from ncia.core.base.errors import Unreachable

BATCHES_MAX = 6
WORKERS_MIN = 5  # a store may be far away: while one is asked, the others are too
SMALL_BYTES = 64 << 10  # files below it take longer to be made than to be filled


@dataclass
class Restored:
    """What came back."""

    files: int = 0
    folders: int = 0
    others: int = 0
    links: int = 0
    bytes: int = 0
    kept: int = 0  # entries that were there and stay as they are
    bytes_found: int = 0  # of files that were there and hold them
    losses: Losses = field(default_factory=Losses)

    @property
    def partial(self) -> bool:
        return bool(self.losses)


class Restoring:
    """One restore. Use it as a context: what it began is stopped when it fails."""

    def __init__(
        self,
        repository: Repository,
        workers: int = 0,
        tell: Callable[[Restored], None] = lambda _: None,
        overwrite: Overwrite | None = None,
        fillers: Fillers | None = None,
    ) -> None:
        self.restored = Restored()
        self._repository = repository
        self._placing = Placing(self.restored.losses, overwrite)
        self._workers = ThreadPoolExecutor(workers or max(WORKERS_MIN, os.cpu_count() or 1), "restore worker")
        self._overwrite = overwrite
        self._fillers = fillers or Fillers(repository)
        self._running: deque[Future[None]] = deque()
        self._batch = Batch()
        self._first: dict[tuple[int, int], bytes] = {}  # a file with several names -> the first one
        self._counting = threading.Lock()
        self._zeros: set[bytes] = set()  # blobs that were read and are nothing but zeros: a hole is not read again
        self._making = threading.Lock()
        self._tell = tell

    def __enter__(self) -> Restoring:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._fillers.crew.kill()  # a worker may wait for one that waits for a disk
        self._workers.shutdown(cancel_futures=True)
        self._fillers.crew.close()
        self._placing.close()

    def run(self, snapshot: Snapshot, target: Path, way: Way) -> Restored:
        """Bring back what ``way`` names. Raises :class:`Hostile` at a tree that no honest backup holds; by then
        nothing but earlier entries has been written, and all of it below the target."""
        place, by_path = self._placing.open(target), ByPath(self._repository, snapshot.tree)
        walks = [(place, self._nodes(snapshot.tree, place, way), way)]
        while walks:
            place, nodes, way = walks[-1]
            node = next(nodes, None)
            if node is None:
                walks.pop()
                self._placing.came(place)
                self._tell(self.restored)
                continue
            below = way if way.whole else way.parts.get(node.name)
            if below is None:
                continue
            deeper = self._entry(place, node)
            if deeper is not None:
                by_path.into(node.subtree, len(walks))
                walks.append((deeper, self._nodes(node.subtree, deeper, below), below))
        self._send()
        while self._running:
            self._running.popleft().result()
        return self.restored

    def _nodes(self, tree: bytes, place: Place, way: Way) -> Iterator[Node]:
        try:
            nodes = nodes_of(self._repository, tree)
        except (Damaged, Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            self._placing.note("everything in the folder", place.path, error.why)
            return iter(())
        folders = [node.name for node in nodes if node.type == DIR and (way.whole or node.name in way.parts)]
        self._placing.make_folders(place, folders)
        return iter(nodes)

    def _entry(self, place: Place, node: Node) -> Place | None:
        if node.type == DIR:
            self.restored.folders += 1
            return self._placing.folder(place, node)
        if node.type == FILE:
            self._file(place, node)
        elif node.type != SOCKET:
            self.restored.others += 1
            self._placing.special(place, node)
        return None

    def _file(self, place: Place, node: Node) -> None:
        target = Target(place, node)
        if node.links > 1 and self._linked(target):
            return
        pieces = self._pieces(target)
        if not self._meet(target, pieces):
            return
        if node.links > 1:  # made now, so that others can be linked to it
            if not target.made and not self._make(target):
                return
            self._first[node.device_id, node.inode] = target.path
        parts = list(parts_of([] if target.same else pieces)) or [[]]
        if len(parts) > 1 and not target.made and not self._make(target):
            return
        target.left = len(parts)
        self.restored.files += 1
        self._placing.expect(place)
        for part in parts:
            self._batch.parts.append((target, part))
            self._batch.size += sum(piece.where.blob.plain_bytes for piece in part)
            self._batch.folders.add(place.descriptor)
            if self._batch.full:
                self._send()

    def _linked(self, target: Target) -> bool:
        """Is it one more name for a file that came before?"""
        first = self._first.get((target.node.device_id, target.node.inode))
        if first is None:
            return False
        self.restored.links += 1
        self._placing.link(target.place, target.node, first)
        return True

    def _meet(self, target: Target, pieces: Sequence[Piece]) -> bool:
        """Is there anything to do, after a look at what is in its place?"""
        place, node = target.place, target.node
        try:
            verdict, found = self._placing.met(place, node)
            if verdict is Treatment.KEEP:
                self.restored.kept += 1
                return False
            if found is not None and found.st_nlink > 1:  # another name may be anywhere: it is right, or not touched
                if self._is_right(target, pieces):
                    self._first[node.device_id, node.inode] = target.path
                    self.restored.files += 1
                    return False
                remove_in(place.descriptor, node.name)
                found = None
        except OSError as error:
            self._placing.note("file", target.path, error)
            return False
        target.made = target.met = found is not None
        target.same = verdict is Treatment.SAME
        return True

    def _is_right(self, target: Target, pieces: Sequence[Piece]) -> bool:
        node = target.node
        file = open_file_in(target.place.descriptor, node.name, node.links)
        try:
            found = os.fstat(file)
            if found.st_size != node.size or not same_metadata(node, found, file):
                return False
            return not self._differing(file, pieces)
        finally:
            os.close(file)

    def _differing(self, file: int, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces that a file that was met does not hold."""
        found = [holds(file, piece.at, piece.where.blob.plain_bytes, piece.where.blob.id) for piece in pieces]
        with self._counting:
            self.restored.bytes_found += sum(
                piece.where.blob.plain_bytes for piece, held in zip(pieces, found, strict=True) if held
            )
        return [piece for piece, held in zip(pieces, found, strict=True) if not held]

    def _make(self, target: Target) -> bool:
        try:
            os.close(self._placing.make(target.place, target.node.name))
        except OSError as error:
            self._placing.note("file", target.path, error)
            return False
        target.made = True
        return True

    def _pieces(self, target: Target) -> list[Piece]:
        """Those of a file; what no index tells of costs its place in it."""
        pieces, amiss = pieces_of(target, self._repository)
        for why in amiss:
            self._placing.note("content", target.path, why)
        return pieces

    def _send(self) -> None:
        batch, self._batch = self._batch, Batch()
        if batch.parts:
            self._fillers.expect(len(batch.parts), batch.size)
            self._running.append(self._workers.submit(self._write, batch))
        while self._running and (len(self._running) > BATCHES_MAX or self._running[0].done()):
            self._running.popleft().result()

    def _write(self, batch: Batch) -> None:
        """A worker's turn: read what the batch needs, and write its parts."""
        new = [(target, part) for target, part in batch.parts if not target.made]
        if (answer := self._fillers.fill(new, self._overwrite)) is not None:
            with self._counting:
                self.restored.bytes += answer.written
            self._placing.lose(answer.losses)
            for target, _ in new:
                self._placing.came(target.place)
            new = []
        old = [(target, self._left(target, part)) for target, part in batch.parts if target.made]
        plains = self._load([piece for _, part in (*new, *old) for piece in part])
        # two threads that make files in one folder wait for each other in the kernel, and for one interpreter here
        with self._making if batch.size < SMALL_BYTES * len(batch.parts) else nullcontext():
            self._write_new(new, plains)
        self._write_old(old, plains)

    def _write_new(self, parts: list[tuple[Target, list[Piece]]], plains: dict[bytes, bytes]) -> None:
        for target, part in parts:
            content = [(piece.at, plains.get(piece.where.blob.id)) for piece in part]
            written = write_new(self._placing, target.place, target.node, content, target.lacking)
            with self._counting:
                self.restored.bytes += written
            self._placing.came(target.place)

    def _write_old(self, parts: list[tuple[Target, list[Piece]]], plains: dict[bytes, bytes]) -> None:
        for target, part in parts:
            place = target.place
            last = False
            try:
                descriptor = _open_met(target) if target.met else self._placing.reopen(place, target.node.name)
            except OSError as error:
                self._placing.note("file", target.path, error)
                target.lacking = True
                last = target.part_done()
            else:
                try:
                    last = self._write_part(descriptor, target, part, plains)
                finally:
                    close(self._placing, place, target.node, descriptor)
            if last:
                self._placing.came(place)

    def _left(self, target: Target, part: list[Piece]) -> list[Piece]:
        """What a file that was made or met does not hold of a part."""
        if not target.met:
            left = [piece for piece in part if piece.where.blob.id not in self._zeros] if self._zeros else part
            with self._counting:
                self.restored.bytes += sum(piece.where.blob.plain_bytes for piece in part)
                self.restored.bytes -= sum(piece.where.blob.plain_bytes for piece in left)
            return left
        try:
            file = _open_met(target)
        except OSError:  # told when it is to be written
            return part
        try:
            return self._differing(file, part)
        finally:
            os.close(file)

    def _write_part(self, descriptor: int, target: Target, part: list[Piece], plains: dict[bytes, bytes]) -> bool:
        """True when it was the last one: then the file has its length and its metadata."""
        written, last = 0, False
        try:
            for piece in part:
                plain = plains.get(piece.where.blob.id)
                if plain is None:
                    continue
                written += len(plain)
                if target.met or plain.strip(b"\0"):  # zeros of a big file stay a hole
                    write_all(descriptor, plain, piece.at)
                else:
                    self._zeros.add(piece.where.blob.id)
            last = target.part_done()
            if last:
                os.ftruncate(descriptor, target.node.size if target.node.content else 0)
        except (OSError, OverflowError) as error:
            target.lacking = True
            self._placing.note("content", target.path, error)
            last = last or target.part_done()
        with self._counting:
            self.restored.bytes += written
        if last:
            node = target.node
            if target.lacking:
                node = untimed(node)
            self._placing.finish(descriptor, target.path, node)
        return last

    def _load(self, pieces: list[Piece]) -> dict[bytes, bytes]:
        """The plain bytes of all blobs of the pieces; those that are lost or damaged are noted, by file."""
        plains: dict[bytes, bytes] = {}
        lost: dict[bytes, str] = {}
        for pack, run in runs_needed(piece.where for piece in pieces):
            self._load_run(pack, run, plains, lost)
        for piece in pieces if lost else ():
            if (why := lost.get(piece.where.blob.id)) is not None:
                piece.target.lacking = True
                self._placing.note("content", piece.target.path, f"{piece.where.blob.plain_bytes} bytes: {why}")
        return plains

    def _load_run(self, pack: bytes, run: Sequence[Blob], plains: dict[bytes, bytes], lost: dict[bytes, str]) -> None:
        begin, length = span_of(run)
        try:
            data = memoryview(self._repository.store.load(Kind.DATA, pack.hex(), begin, length))
        except (Missing, StoreFault) as error:
            if isinstance(error, Unreachable):
                raise
            lost.update((blob.id, error.why) for blob in run)
            return
        for blob in run:
            try:
                sealed = data[blob.offset - begin : blob.offset - begin + blob.length]
                plains[blob.id] = self._repository.open_blob(blob, sealed)
            except Damaged as error:
                lost[blob.id] = error.why


def _open_met(target: Target) -> int:
    return open_file_in(target.place.descriptor, target.node.name, max(target.node.links, 1))
