"""Small files: each one blob, kept in batches, by helper processes where there are many of them."""

from __future__ import annotations

import os
import queue
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from backup.repository.faults import Damaged
from backup.repository.format.seal import Key
from backup.repository.format.trees import Node
from backup.repository.save.helper import CORRUPT, FAILED, OTHER, READ, Helper, Sealed, Small
from backup.repository.save.pipeline import Packing
from backup.repository.save.scan import seen_again

BATCH_FILES = 300  # each batch is two turns of the interpreter's lock
BATCH_BYTES = 2 << 20
BATCHES_MAX = 8  # that are on their way
HELPED_FROM = 1500  # files; to start helpers takes as long as to read so many here
PIECE_BYTES = 1 << 20  # of a file that is not small any more when it is read

File = tuple[bytes, Node]


class Outcome(NamedTuple):
    """What became of a file: its content, and its node as it was when it was read. ``fault``: it could not be read."""

    node: Node
    content: list[bytes]
    moved: bool = False
    fault: str = ""


@dataclass
class Batch:
    """Files that one turn of a worker keeps."""

    files: list[File] = field(default_factory=list)
    size: int = 0
    outcomes: Future[list[Outcome]] | None = None

    @cached_property
    def told(self) -> list[Outcome]:
        """What became of them, once that is known."""
        if self.outcomes is None:
            raise RuntimeError("the batch was not sent")
        return self.outcomes.result()

    def known(self) -> bool:
        return self.outcomes is not None and self.outcomes.done()


class SmallFiles:
    """:meth:`add` and :meth:`flush` are for one thread; ``workers`` do the rest, at most ``helpers_max`` at a time."""

    def __init__(self, packing: Packing, key: Key, verify: bool, workers: ThreadPoolExecutor) -> None:
        self._packing = packing
        self._new_helper: Callable[[], Helper] = lambda: Helper(key, verify)
        self._workers = workers
        self._idle: queue.SimpleQueue[Helper] = queue.SimpleQueue()
        self._helpers: list[Helper] = []
        self._batch = Batch()
        self._sent: deque[Future[list[Outcome]]] = deque()
        self._count = 0

    def add(self, path: bytes, node: Node) -> tuple[Batch, int]:
        """The batch in which a file's outcome will be, and at which place."""
        batch, at = self._batch, len(self._batch.files)
        batch.files.append((path, node))
        batch.size += node.size
        if at + 1 >= BATCH_FILES or batch.size >= BATCH_BYTES:
            self.flush()
        return batch, at

    def flush(self) -> None:
        """Send what there is to a worker; waits where too much is on its way."""
        if not self._batch.files:
            return
        batch, self._batch = self._batch, Batch()
        self._count += len(batch.files)
        keep = self._with_help if self._count > HELPED_FROM else self._alone
        batch.outcomes = self._workers.submit(keep, batch.files)
        self._sent.append(batch.outcomes)
        if len(self._sent) > BATCHES_MAX:
            self._sent.popleft().result()

    def close(self) -> None:
        """End the helpers; the workers have ended before."""
        for helper in self._helpers:
            helper.close()

    def _alone(self, files: list[File]) -> list[Outcome]:
        return [self._read(path, node) for path, node in files]

    def _with_help(self, files: list[File]) -> list[Outcome]:
        try:
            helper = self._idle.get_nowait()
        except queue.Empty:
            helper = self._new_helper()
            self._helpers.append(helper)
        sealed = helper.seal([Small(path, node.inode, node.mtime_ns, node.size) for path, node in files])
        self._packing.place(sealed, helper.slab)
        self._idle.put(helper)
        return [
            Outcome(node, [each.id]) if each.length else self._outcome(path, node, each)
            for (path, node), each in zip(files, sealed, strict=True)
        ]

    def _outcome(self, path: bytes, node: Node, sealed: Sealed) -> Outcome:
        """Of a file that left no blob."""
        if sealed.state == OTHER:
            return self._read(path, node)
        if sealed.state == FAILED:
            return Outcome(node, [], fault=os.strerror(sealed.plain_bytes))
        if sealed.state == CORRUPT:
            why = "it did not open to what was sealed: look at this machine's memory"
            raise Damaged("verify a blob before it is kept", why)
        return Outcome(node, [])

    def _read(self, path: bytes, node: Node) -> Outcome:
        """Read a file here, whatever it has become since it was looked at."""
        try:
            descriptor = os.open(path, READ)
        except OSError as error:
            return Outcome(node, [], fault=error.strerror or str(error))
        try:
            begun = os.fstat(descriptor)
            if not stat.S_ISREG(begun.st_mode):
                return Outcome(node, [], fault="it became something else while it was looked at")
            node = seen_again(node, begun)
            content: list[bytes] = []
            size = 0
            while piece := os.read(descriptor, max(PIECE_BYTES, node.size + 1) if size else node.size + 1):
                content.append(self._packing.keep(piece))
                size += len(piece)
            moved = size != node.size or os.fstat(descriptor).st_mtime_ns != node.mtime_ns
            return Outcome(node if size == node.size else node._replace(size=size), content, moved)
        except OSError as error:
            return Outcome(node, [], fault=error.strerror or str(error))
        finally:
            os.close(descriptor)
