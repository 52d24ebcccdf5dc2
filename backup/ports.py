"""What protecting needs from the world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import DatasetId
from ncia.core.estate.model import Address, Dataset
from ncia.core.journal.entries import BackupFinished, Body, PointCopied, TableSum
from ncia.core.journal.entries_care import SetAside
from ncia.core.work.jobs import JobId

POINT_FILE = "point.json"


class CopyDamaged(NciaError):
    """A copy is not what was written when it was taken: a finding about the copy, not a failure to look."""


@dataclass(frozen=True)
class Origin:
    """The live cluster of a dataset as the store's host dials it. ``passfile`` is a libpq password file's text."""

    dataset: DatasetId
    server: Address
    user: str
    passfile: str

    def __repr__(self) -> str:
        return f"Origin({self.dataset} at {self.server})"  # the password is nobody's to print


@dataclass(frozen=True)
class ComparePoint:
    """What every table of a dataset held at ``lsn``. WAL up to ``end_lsn`` (beyond ``lsn``) is on the source's disk."""

    lsn: str
    end_lsn: str
    tables: tuple[TableSum, ...]


@dataclass(frozen=True)
class BaseBackup:
    """A base backup that was verified against its own manifest."""

    size_bytes: int
    files: int
    start_lsn: str
    stop_lsn: str
    manifest_sha256: str


class Source(Protocol):
    """The live cluster of one dataset."""

    origin: Origin

    def hold(self, slot: str) -> None:
        """From now on the source keeps its WAL for ``slot``. What earlier, crashed jobs held is released."""
        ...

    def release(self, slot: str) -> None:
        """The source keeps WAL for ``slot`` no longer; well where there is none."""
        ...

    def compare_point(self) -> ComparePoint:
        """Sum up every table as of one LSN. Writers wait for some milliseconds; nobody is refused.

        Raises :class:`~ncia.core.base.errors.NciaError` where no such moment could be had.
        """
        ...


class Sources(Protocol):
    def of(self, dataset: Dataset, site: str) -> Source:
        """The dataset's live cluster at ``site``."""
        ...


class RestoredCopy(Protocol):
    """A copy that runs on scratch, recovered to the LSN that was asked for, and answers questions."""

    reached_lsn: str

    def tables(self) -> tuple[TableSum, ...]:
        """Sum up every table."""
        ...


class Store(Protocol):
    """Where copies are kept: ``<dataset>/<point>/{data,wal,point.json}`` under the store's root."""

    def take(self, job: str, origin: Origin, slot: str) -> BaseBackup:
        """Take a base backup into a place of the job's own, and verify it against its manifest."""
        ...

    def join_wal(self, job: str, origin: Origin, slot: str, end_lsn: str) -> None:
        """Put the WAL that ``slot`` holds, up to ``end_lsn``, beside the base backup."""
        ...

    def publish(self, job: str, dataset: DatasetId, point: str, description: bytes) -> str:
        """Make the job's copy the recovery point ``point``, at once and durably; answers its path under the root."""
        ...

    def fetch(self, job: str, point: BackupFinished) -> str:
        """Bring the other site's point here, compare its base backup with its manifest, and keep it under the same
        path; answers that. Raises :class:`CopyDamaged` where what came is not what was written."""
        ...

    def discard(self, job: str, dataset: DatasetId) -> None:
        """Remove what the job left; well where there is nothing."""
        ...

    def restore(
        self, job: str, path: str, database: str, lsn: str, manifest_sha256: str
    ) -> AbstractContextManager[RestoredCopy]:
        """Verify the point at ``path``, restore it on scratch and recover it to ``lsn``; gone when the context ends.

        Raises :class:`CopyDamaged` where it is not the copy that was taken."""
        ...

    def reread(self, path: str, manifest_sha256: str) -> None:
        """Read every file of the point at ``path``; raises :class:`CopyDamaged` where it is not what was written, and
        another :class:`NciaError` where it could not be read."""
        ...

    def remove(self, path: str) -> None:
        """Delete a recovery point; well where it is gone already."""
        ...

    def present(self, paths: Sequence[str]) -> tuple[str, ...]:
        """Which of these recovery points are there."""
        ...

    def abandon(self, job: str) -> None:
        """Stop and remove what an attempt at restoring left on scratch; well where there is nothing."""
        ...

    def sweep(self, kept: Callable[[], Collection[str]]) -> tuple[str, ...]:
        """Remove what crashed jobs left: partial copies, scratch and what runs on it; answers what is gone.

        ``kept`` is asked after the looking: whatever has one of its answers in its name stays. So what a job begins
        meanwhile is never taken for a leftover."""
        ...

    def aside(self) -> Sequence[SetAside]:
        """What was damaged where it lay and is kept aside; ``size_bytes`` -1 where its disk does not tell."""
        ...


class Passage(Protocol):
    """The same store, as points go out of it to here, and come back."""

    def read(self, point: BackupFinished, take: Callable[[bytes], object]) -> None:
        """Hand over, a piece at a time: a line for each entry of the point (``f`` or ``d``, size, ``./name``), an empty
        line, then what the files hold, in the order of the lines."""
        ...

    def is_whole(self, point: BackupFinished) -> bool:
        """Whether the point is there under its own name, every file of its base backup as it was written."""
        ...

    def put_back(self, job: str, point: BackupFinished, archive: Iterable[bytes]) -> bool:
        """Make what is in a tar archive that point, under its own name, once its base backup was compared with its
        manifest. What is there under that name and damaged is kept aside, and then this is true; what is there and
        whole stays. Raises :class:`CopyDamaged` where what came is not what was written."""
        ...

    def discard(self, job: str, dataset: DatasetId) -> None:
        """As :meth:`Store.discard`."""
        ...

    def present(self, paths: Sequence[str]) -> tuple[str, ...]:
        """As :meth:`Store.present`."""
        ...

    def holds_points(self) -> bool:
        """Whether any point at all is in the store: one that is not mounted looks like one that burnt."""
        ...


class Ledger(Protocol):
    """The controller's journal, as the jobs of this site write it: from its own process, or a worker's."""

    def append(self, job: JobId, fence: int, body: Body, by: str) -> None:
        """Write ``body`` for the job that runs under ``fence``, once: what is written already is not written again.

        Raises :class:`~ncia.core.work.jobs.Fenced` where another executor has the job by now."""
        ...

    def retired(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        """The dataset's points at that store that may be deleted now."""
        ...

    def needless_copies(self, dataset: str, store_site: str) -> tuple[PointCopied, ...]:
        """Copies in that store of the other store's points that may be deleted now, and those of which the deletion is
        written: whether it was carried out the journal does not say."""
        ...

    def let_go(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        """The newest of those whose deletion is written; whether it was carried out the journal does not say: it is
        refused where no second place hears of it."""
        ...
