"""Folders into trees: one thread walks and reads, others hash, compress and seal what it read.

What was read becomes nodes in the order in which it was read; a folder's tree is kept once all that is in it is, so
that memory holds the folders on the way and a bounded number of contents. A file whose metadata are those of the
parent snapshot's node, letter by letter, is not read again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from backup.repository.format.bounds import BLOB_BYTES_MAX
from backup.repository.format.trees import (
    DIR,
    FILE,
    HEAD_END,
    SOCKET,
    Node,
    content_text,
    head_text,
    node_text,
    shown,
    tree_text,
)
from backup.repository.repository import Repository
from backup.repository.save.cutting import CHUNK_MIN, Chunks, Cutter
from backup.repository.save.excluding import LeftOut
from backup.repository.save.helper import READ
from backup.repository.save.looking import Entry, Looking, joined
from backup.repository.save.parent import Before, all_kept, before_of, name_of
from backup.repository.save.pipeline import Packing
from backup.repository.save.scan import Losses, seen_again
from backup.repository.save.small import Batch, SmallFiles
from backup.repository.save.walk import Way
from ncia.core.base.errors import NciaError

TREES_MAX = 64
BLOCK_BYTES = 512  # of what the system counts as held by a file
TWINS_MAX = 20
DONE_MAX = 1000  # entries that were read and are not written down yet: beyond it those that wait are sent at once,
WAITING_MAX = 50_000  # then it is waited for the first of them
DONE_LOOKS = 100  # and each so many it is looked whether the first of them is kept by now


@dataclass
class Figures:
    """How much was there, and how much of it was read."""

    files: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    folders: int = 0
    others: int = 0
    sockets: int = 0  # of no use to anybody once their process is gone; not kept, as with restic
    bytes: int = 0
    excluded: int = 0  # entries that were left out because it was asked for, a folder as one
    recovered: int = 0  # packs that an interrupted backup had kept and not named yet
    moved: int = 0  # files that were written to while they were read
    twins: list[str] = field(default_factory=list)  # names that look the same and are not; kept apart, the first told


@dataclass
class Folder:
    """A folder on the way: what is still to be looked at, and the texts of what was."""

    path: bytes
    node: Node
    entries: Iterator[Entry]
    before: Before
    texts: list[str] = field(default_factory=list)
    above: Folder | None = None


@dataclass(slots=True)
class Ending:
    """An entry that was looked at. ``text`` is all that is to be written of it, or what comes before its ``chunks``."""

    folder: Folder
    text: str
    chunks: Chunks | None = None


@dataclass(slots=True)
class Run:
    """Small files that follow each other in a folder, and in a batch from ``at`` on."""

    folder: Folder
    batch: Batch
    at: int
    count: int = 1


class Reading:
    """One walk. Use it as a context: what it began is stopped when it fails."""

    def __init__(
        self,
        repository: Repository,
        workers: int,
        verify: bool,
        guard: Callable[[], None],
        looking: Looking,
        tell: Callable[[Figures], None] = lambda _: None,
    ) -> None:
        self.figures = Figures()
        self.packing = Packing(repository, verify, guard)
        self._repository = repository
        self._looking = looking
        self._losses: Losses = looking.losses
        self._tell = tell
        self._workers = ThreadPoolExecutor(workers or os.cpu_count() or 1, "backup worker")
        self._cutter = Cutter(repository.config.chunker_polynomial, self._chunk)
        self._done: deque[Ending | Run | Folder] = deque()  # what was read, in its order
        self._waiting = 0  # so many entries are in it
        self._small = SmallFiles(self.packing, repository, verify, self._workers)
        self._trees: deque[Future[None]] = deque()
        self._root = b""

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._small.crew.kill()  # a worker may wait for one that waits for a disk
        self._workers.shutdown(cancel_futures=True)
        self._small.crew.close()
        self.packing.abandon()

    def run(self, way: Way, parent: bytes | None) -> bytes:
        """The id of the root's tree, once everything below it is durable and named."""
        nowhere = Node(b"", DIR, 0, 0, 0, 0, 0, 0)
        if parent is None:
            self._looking.stop()  # whoever reads a new file looks at it
            self._small.expect(self._looking.seen_ahead)
        folder: Folder | None = self._enter(b"/", nowhere, way, self._before_of(parent), None)
        if folder is None:
            raise NciaError("repository.no-source", "back up /", "it cannot be listed")
        while folder is not None:
            deeper = next((each for entry in folder.entries if (each := self._entry(folder, entry))), None)
            if deeper is None:
                self._ended(folder)
            folder = deeper or folder.above
        self._settle(all_of_it=True)
        while self._trees:
            self._trees.popleft().result()
        self.packing.finish()
        return self._root

    def _before_of(self, tree: bytes | None) -> Before:
        return before_of(self._repository, tree, self.packing.distrust)

    def _enter(self, path: bytes, node: Node, way: Way, before: Before, above: Folder | None) -> Folder | None:
        try:
            entries = list(self._looking.entries(path, way))
        except OSError as error:
            self._losses.note("folder", path, error.strerror or str(error))
            return None
        self._tell_twins(path, [name for name, _, _ in entries])
        return Folder(path, node, iter(entries), before, above=above)

    def _tell_twins(self, path: bytes, names: list[bytes]) -> None:
        """One name composed in two ways (Hangul of macOS and of Linux) is two files, which people take for one."""
        seen: dict[str, bytes] = {}
        for name in names:
            if not name.isascii():
                twin = seen.setdefault(unicodedata.normalize("NFC", name.decode("utf-8", "surrogateescape")), name)
                if twin is not name and len(self.figures.twins) < TWINS_MAX:
                    both = f"{shown(name)} ({name.hex()}, {twin.hex()})"
                    self.figures.twins.append(f"{shown(path)} holds two entries that look like {both}")

    def _entry(self, folder: Folder, entry: Entry) -> Folder | None:
        """Look at one entry; returns it where it is a folder that is to be gone through."""
        name, way, seen = entry
        path = joined(folder.path, name)
        try:
            if seen is not None:
                self._file(folder, path, way, *seen)
                return None
            found = self._looking.stat(path, way)
            if not folder.before.rests and self._looking.excluding is None and _is_small(found):
                self._small_file(folder, path, found.st_size)  # whoever reads it looks at the rest of it
                return None
            losses = Losses()
            node = self._looking.node(path, way, found, losses)
            if node.type == FILE and self._file(folder, path, way, node.size, head_text(node), node):
                return None  # whoever reads it tells what is lost of it
            if losses:
                self._losses.add(losses)
            if node.type == FILE:
                return None
            if node.type == DIR:
                return self._folder(folder, path, node, way)
            if node.type == SOCKET:
                self.figures.sockets += 1
            else:
                self.figures.others += 1
                self._add(Ending(folder, node_text(node)))
        except LeftOut:
            self._looking.excluded += 1
        except OSError as error:
            self._losses.note("entry", path, error.strerror or str(error))
        return None

    def _folder(self, above: Folder, path: bytes, node: Node, way: Way) -> Folder | None:
        self.figures.folders += 1
        before = above.before.folders.get(name_of(head_text(node))) if above.before.folders else None
        return self._enter(path, node, way, self._before_of(before), above)

    def _file(self, folder: Folder, path: bytes, way: Way, size: int, head: str, node: Node | None = None) -> bool:
        """True for a small one that is read: all else was looked at already, or is now."""
        before = folder.before
        rest = before.rests.get(head) if before.rests else None
        if rest is not None and all_kept(self._repository.index, rest):
            self.figures.files += 1
            self.figures.unchanged += 1
            self.figures.bytes += size
            text = f"{head}{HEAD_END}{rest}"
            if self._done:
                self._add(Ending(folder, text))
            else:  # nothing is waited for, so that it is its turn
                folder.texts.append(text)
        elif size > CHUNK_MIN:
            node = node or self._looking.node(path, way, self._looking.stat(path, way))
            self._add(self._read(folder, path, node))
        else:
            self._small_file(folder, path, size)
            return True
        return False

    def _small_file(self, folder: Folder, path: bytes, size: int) -> None:
        batch, at = self._small.add(path, size)
        last = self._done[-1] if self._done else None
        if isinstance(last, Run) and last.batch is batch and last.folder is folder:
            last.count += 1
            self._waited()
        else:
            self._add(Run(folder, batch, at))

    def _read(self, folder: Folder, path: bytes, node: Node) -> Ending:
        """A big file, in chunks."""
        descriptor = os.open(path, READ)
        counted = self.figures.bytes
        try:
            begun = os.fstat(descriptor)
            if not stat.S_ISREG(begun.st_mode):
                raise OSError(0, "it became something else while it was looked at")
            read = seen_again(node, begun)
            chunks, size = self._cutter.cut(descriptor, begun.st_blocks * BLOCK_BYTES < begun.st_size)
            self.figures.bytes = counted + size  # its holes as well
            self.figures.moved += size != read.size or os.fstat(descriptor).st_mtime_ns != read.mtime_ns
        except OSError:
            self.figures.bytes = counted
            raise
        finally:
            os.close(descriptor)
        head = head_text(read._replace(size=size))
        self._count(folder, head)
        return Ending(folder, head, chunks)

    def _count(self, folder: Folder, text: str) -> None:
        """One file that was read."""
        known = bool(folder.before.files) and name_of(text) in folder.before.files
        self.figures.files += 1
        self.figures.changed += known
        self.figures.new += not known

    def _add(self, ending: Ending | Run) -> None:
        self._done.append(ending)
        self._waited()

    def _waited(self) -> None:
        """One more entry waits to be written down."""
        self._waiting += 1
        if self._waiting > DONE_MAX and not self._waiting % DONE_LOOKS:
            self._settle()
        if self._waiting > WAITING_MAX:
            self._await_first()
            self._settle()

    def _await_first(self) -> None:
        """Wait for what holds all others up: a big file, or a batch, on its way to a slow store."""
        self._small.flush()
        first = self._done[0]
        if isinstance(first, Run):
            _ = first.batch.told
        elif isinstance(first, Ending):
            for chunk in first.chunks or ():
                if not isinstance(chunk, bytes):
                    chunk.result()

    def _say(self) -> None:
        try:
            self._tell(self.figures)
        except OSError:  # whoever looked on is gone
            self._tell = lambda _: None

    def _chunk(self, chunk: memoryview) -> Future[bytes]:
        self.figures.bytes += len(chunk)
        self._say()
        return self._workers.submit(self.packing.keep, chunk)

    def _ended(self, folder: Folder) -> None:
        self._done.append(folder)
        self._settle()
        self._say()

    def _settle(self, all_of_it: bool = False) -> None:
        """Write down what is kept, in the order in which it was read; ``all_of_it``: wait for what is not yet."""
        if all_of_it or (self._waiting > DONE_MAX and _is_unsent(self._done[0])):
            self._small.flush()  # else those behind it would wait until there are more small files
        while self._done and (all_of_it or _is_kept(self._done[0])):
            done = self._done.popleft()
            if isinstance(done, Folder):
                self._close(done)
            elif isinstance(done, Run):
                self._write_run(done)
            else:
                self._write_down(done)

    def _write_down(self, done: Ending) -> None:
        self._waiting -= 1
        text = done.text
        if done.chunks is not None:
            ids = [chunk if isinstance(chunk, bytes) else chunk.result() for chunk in done.chunks]
            text = f"{text}{HEAD_END}{content_text(ids)}}}"
        done.folder.texts.append(text)

    def _write_run(self, run: Run) -> None:
        self._waiting -= run.count
        told, part = run.batch.told, slice(run.at, run.at + run.count)
        if told.losses or told.moved:
            self._losses.add(told.losses)
            self.figures.moved += told.moved
            told.losses, told.moved = Losses(), 0  # it may hold other runs
        texts = told.texts[part] if all(told.texts[part]) else list(filter(None, told.texts[part]))
        self.figures.bytes += sum(told.sizes[part])
        if run.folder.before.files:
            for text in texts:
                self._count(run.folder, text)
        else:
            self.figures.files += len(texts)
            self.figures.new += len(texts)
        run.folder.texts += texts

    def _close(self, folder: Folder) -> None:
        text = tree_text(folder.texts)
        folder.texts.clear()
        if len(text) > BLOB_BYTES_MAX:
            self._losses.note("folder", folder.path, "it holds more than one tree can tell")
            text = tree_text(())
        id_ = hashlib.sha256(text).digest()
        self._trees.append(self._workers.submit(self.packing.keep_as, id_, text, True))
        if len(self._trees) > TREES_MAX:
            self._trees.popleft().result()
        if folder.above is None:
            self._root = id_
        else:
            folder.above.texts.append(node_text(folder.node._replace(subtree=id_)))


def _is_kept(done: Ending | Run | Folder) -> bool:
    if isinstance(done, Run):
        return done.batch.known()
    if isinstance(done, Folder) or done.chunks is None:
        return True
    return all(isinstance(chunk, bytes) or chunk.done() for chunk in done.chunks)


def _is_unsent(done: Ending | Run | Folder) -> bool:
    return isinstance(done, Run) and done.batch.outcome is None


def _is_small(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size <= CHUNK_MIN
