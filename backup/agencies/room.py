"""Folders of this machine in which points are staged, and how much of its disk they may take.

What is staged is a copy of what a store or a repository holds: it is there for the time of one job. Several jobs may
stage at once, in several processes; between them they leave a share of the disk free, or one of them ends with a
sentence. What a job was promised stands in a file that it holds locked, for no longer than it lives.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from ncia.core.base.errors import NciaError

SPARE_SHARE = 0.05  # of the disk stays free, but no more than this:
SPARE_BYTES_MAX = 4 << 30
LOCK = ".lock"
PROMISED = ".promised"
ONE_AT_A_TIME = f".room{LOCK}"  # who is promised something looks at the disk and at the others first
HINT = "free some of that disk, or put the site's state on a larger one; it is tried again"


class Disk(Protocol):
    @property
    def total(self) -> int: ...

    @property
    def free(self) -> int: ...


class Room:
    """The folders below ``root``. What one job of this machine is promised there no other one gets."""

    def __init__(self, root: Path, disk_of: Callable[[Path], Disk] = shutil.disk_usage) -> None:
        self._root = root
        self._disk_of = disk_of

    @contextmanager
    def folder(self, name: str, what: str) -> Iterator[Path]:
        """A folder of that name, empty and ours alone; gone when the context ends, as is what crashed jobs left."""
        name = name.replace("/", "~")
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _held(self._root / f"{name}{LOCK}") as ours:
            if not ours:
                why = f"another job, or another attempt at this one, stages into {self._root / name}"
                raise NciaError("agency.staging-busy", what, why, "ask again when it has ended: ncia backup list")
            self._clear_others(name)
            folder = self._root / name
            try:
                _removed(folder)
                folder.mkdir(mode=0o700)
                yield folder
            except OSError as error:
                raise NciaError("agency.not-staged", what, f"{folder}: {error.strerror or error}", HINT) from error
            finally:
                with suppress(OSError):  # what is left goes with the next job
                    _removed(folder)

    @contextmanager
    def promise(self, name: str, size_bytes: int, what: str) -> Iterator[None]:
        """So much of the disk is for this job until the context ends; refused where it would take the share that stays
        free, or what another job was promised."""
        file = self._root / f"{name}{PROMISED}"
        with ExitStack() as promise:
            with _held(self._root / ONE_AT_A_TIME, wait=True):
                self._demand_free(size_bytes, self._promised_to_others(file), what)
                if not promise.enter_context(_held(file)):
                    why = f"another job, or another attempt at this one, stages as {name}"
                    raise NciaError("agency.staging-busy", what, why, "ask again when it has ended: ncia backup list")
                promise.callback(file.unlink, missing_ok=True)
                file.write_text(str(size_bytes), encoding="ascii")
            yield

    def demand_spare(self, what: str) -> None:
        """Ends a job that writes while somebody else fills the disk."""
        disk = self._disk_of(self._root)
        if disk.free < spare(disk):
            why = f"{_mb(disk.free)} are free at {self._root}, and {_mb(spare(disk))} stay free"
            raise NciaError("agency.no-room", what, why, HINT)

    def _demand_free(self, size_bytes: int, others: int, what: str) -> None:
        disk = self._disk_of(self._root)
        if size_bytes > disk.free - others - spare(disk):
            why = (
                f"it needs {_mb(size_bytes)}, and of the {_mb(disk.free)} that are free at {self._root} "
                f"{_mb(spare(disk))} stay free and {_mb(others)} are for other jobs"
            )
            raise NciaError("agency.no-room", what, why, HINT)

    def _promised_to_others(self, own: Path) -> int:
        """The bytes in the files of jobs that live; those of others go."""
        found = 0
        for file in self._root.glob(f"*{PROMISED}"):
            if file == own:
                continue
            with _held(file) as ended:
                if ended:
                    file.unlink(missing_ok=True)
                else:
                    with suppress(FileNotFoundError):  # it has just ended
                        found += int(file.read_text(encoding="ascii") or 0)
        return found

    def _clear_others(self, name: str) -> None:
        """Remove the folders of jobs that are at work no more."""
        for lock in self._root.glob(f"*{LOCK}"):
            other = lock.name.removesuffix(LOCK)
            if other != name and (self._root / other).exists():
                with _held(lock) as ours:
                    if ours:
                        _removed(self._root / other)


def spare(disk: Disk) -> int:
    return min(int(disk.total * SPARE_SHARE), SPARE_BYTES_MAX)


@contextmanager
def _held(lock: Path, wait: bool = False) -> Iterator[bool]:
    """Whether nobody else holds the lock, or with ``wait`` once nobody does; it ends with its holder, however that
    ends."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        yield False
    else:
        try:
            yield True
        finally:
            os.close(descriptor)


def _removed(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB"
