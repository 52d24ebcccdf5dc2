"""Small files: each one blob, kept in batches, by helper processes where there are many of them."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

from backup.repository.faults import Damaged
from backup.repository.format.trees import HEAD_END, content_text, head_text
from backup.repository.process import Crew
from backup.repository.repository import Repository
from backup.repository.save.helper import CORRUPT, FAILED, OTHER, READ, Helper, Sealed
from backup.repository.save.pipeline import Packing
from backup.repository.save.scan import Losses, Owners, node_of

BATCH_FILES = 300  # each batch is two turns of the interpreter's lock
BATCH_BYTES = 2 << 20
BATCHES_MAX = 8  # that are on their way
HELPED_FROM = 1500  # files; to start helpers takes as long as to read so many here
PIECE_BYTES = 1 << 20  # of a file that is not small any more when it is read


@dataclass
class Outcome:
    """What became of the files of a batch: each one's node as text, as it was when it was read, and its size.

    There is no text of one that could not be read."""

    texts: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    moved: int = 0
    losses: Losses = field(default_factory=Losses)

    def note(self, text: str, size: int) -> None:
        self.texts.append(text)
        self.sizes.append(size)

    def lose(self, path: bytes, why: str) -> None:
        self.losses.note("entry", path, why)
        self.note("", 0)


@dataclass
class Batch:
    """Files that one turn of a worker keeps."""

    paths: list[bytes] = field(default_factory=list)
    size: int = 0
    outcome: Future[Outcome] | None = None

    @cached_property
    def told(self) -> Outcome:
        """What became of them, once that is known."""
        if self.outcome is None:
            raise RuntimeError("the batch was not sent")
        return self.outcome.result()

    def known(self) -> bool:
        return self.outcome is not None and self.outcome.done()


class SmallFiles:
    """:meth:`add` and :meth:`flush` are for one thread. ``workers`` do the rest, each with a helper of its own once
    there are many files."""

    def __init__(
        self,
        packing: Packing,
        repository: Repository,
        verify: bool,
        workers: ThreadPoolExecutor,
        begin: Callable[[], Helper] | None = None,
    ) -> None:
        self._packing = packing
        self._workers = workers
        self.crew = Crew(begin or (lambda: Helper(repository.key, repository.compression, verify)))
        self._batch = Batch()
        self._sent: deque[Future[Outcome]] = deque()
        self._count = self._expected = 0

    def expect(self, files: int) -> None:
        """So many will come at least."""
        self._expected = files

    def add(self, path: bytes, size: int) -> tuple[Batch, int]:
        """The batch in which a file's outcome will be, and at which place."""
        batch, at = self._batch, len(self._batch.paths)
        batch.paths.append(path)
        batch.size += size
        if at + 1 >= BATCH_FILES or batch.size >= BATCH_BYTES:
            self.flush()
        return batch, at

    def flush(self) -> None:
        """Send what there is to a worker; waits where too much is on its way."""
        if not self._batch.paths:
            return
        batch, self._batch = self._batch, Batch()
        self._count += len(batch.paths)
        keep = self._with_help if max(self._count, self._expected) > HELPED_FROM else self._alone
        batch.outcome = self._workers.submit(keep, batch.paths)
        self._sent.append(batch.outcome)
        if len(self._sent) > BATCHES_MAX:
            self._sent.popleft().result()

    def _alone(self, paths: list[bytes]) -> Outcome:
        outcome, owners = Outcome(), Owners()
        for path in paths:
            self._read(path, owners, outcome)
        return outcome

    def _with_help(self, paths: list[bytes]) -> Outcome:
        with self.crew.member() as helper:
            if helper is None:
                return self._alone(paths)
            sealed, texts = helper.seal(paths)
            self._packing.place(sealed, helper.slab)
        if all(texts):
            return Outcome(texts, [each.plain_bytes for each in sealed])
        outcome, owners = Outcome(), Owners()
        for path, text, each in zip(paths, texts, sealed, strict=True):
            if text:
                outcome.note(text, each.plain_bytes)
            else:
                self._unread(path, each, owners, outcome)
        return outcome

    def _unread(self, path: bytes, sealed: Sealed, owners: Owners, outcome: Outcome) -> None:
        """Of a file that the helper did not keep."""
        if sealed.state == OTHER:
            self._read(path, owners, outcome)
        elif sealed.state == FAILED:
            outcome.lose(path, os.strerror(sealed.plain_bytes))
        elif sealed.state == CORRUPT:
            why = "it did not open to what was sealed: look at this machine's memory"
            raise Damaged("verify a blob before it is kept", why)

    def _read(self, path: bytes, owners: Owners, outcome: Outcome) -> None:
        """Read a file here, whatever it has become since it was looked at."""
        try:
            descriptor = os.open(path, READ)
        except OSError as error:
            outcome.lose(path, error.strerror or str(error))
            return
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                outcome.lose(path, "it became something else while it was looked at")
                return
            node = node_of(path.rpartition(b"/")[2], path, found, owners, outcome.losses, descriptor)
            content: list[bytes] = []
            size = 0
            while piece := os.read(descriptor, max(PIECE_BYTES, node.size + 1) if size else node.size + 1):
                content.append(self._packing.keep(piece))
                size += len(piece)
            outcome.moved += size != node.size or os.fstat(descriptor).st_mtime_ns != node.mtime_ns
            outcome.note(f"{head_text(node._replace(size=size))}{HEAD_END}{content_text(content)}}}", size)
        except OSError as error:
            outcome.lose(path, error.strerror or str(error))
        finally:
            os.close(descriptor)
