"""A repository in a folder of this machine: whole files that survive a power cut, or none.

A file is written beside its place under a name that no reader takes for one, made durable, given its name by a hard
link (which refuses a name that is taken; renamed where the file system has no links), and the folder is made durable.
Folders are made by :meth:`FolderStore.create`, or where a repository is: an empty mount point is not written into.
"""

from __future__ import annotations

import errno
import os
import secrets as entropy
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.repository.format.layout import demand_range, folders, name_of, path_of, told
from backup.repository.ports import Kind, Missing, Stored, StoreFault
from ncia.core.base.errors import NciaError

PIECE_BYTES = 1 << 20
FILE_MODE, FOLDER_MODE = 0o400, 0o700
GROUP_FILE, GROUP_FOLDER = 0o040, 0o050  # as restic: where the configuration may be read by its group
FULL = (errno.ENOSPC, errno.EDQUOT)
DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP)  # file systems that have nothing to make durable say so
# A removal that a power cut undoes: a pack or lock that comes back is known for what it is; these would be believed.
REMOVED_FOR_GOOD = (Kind.INDEX, Kind.SNAPSHOTS, Kind.KEYS)


def sync(file: int) -> None:
    """What was written to an open file, or happened in an open folder, outlives a power cut when this returns."""
    try:
        os.fsync(file)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise


class FolderStore:
    """The folder ``root`` as :class:`~backup.repository.ports.Store`. ``sync`` is how a file is made durable, ``link``
    how it gets its name: file systems differ in both."""

    def __init__(
        self, root: Path, sync: Callable[[int], None] = sync, link: Callable[[Path, Path], None] = os.link
    ) -> None:
        self._root = root
        self._sync = sync
        self._link = link

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        path = self._root / path_of(kind, name)
        content = memoryview(data).cast("B")
        what = f"save {told(kind, name)} in {self._root}"
        with self._asking(what):
            if self._settled(what, path, content):
                return
            temporary = path.with_name(f"{path.name}-tmp-{entropy.token_hex(6)}")
            try:
                try:
                    self._write(temporary, content)
                except FileNotFoundError:
                    self._make_folders(what, path.parent)
                    self._write(temporary, content)
                taken = not self._named(temporary, path)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()
            if taken:  # another writer was quicker
                self._settled(what, path, content)
            self._sync_folder(path.parent)

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        what = f"load {told(kind, name)} from {self._root}"
        demand_range(what, offset, length)
        with self._asking(what), _opened(self._root / path_of(kind, name)) as (file, size):
            left = max(0, size - offset if length is None else min(length, size - offset))
            pieces: list[bytes] = []
            while left:
                piece = os.pread(file, left, offset)
                if not piece:
                    break
                pieces.append(piece)
                offset, left = offset + len(piece), left - len(piece)
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def size(self, kind: Kind, name: str) -> int:
        with self._asking(f"look at {told(kind, name)} in {self._root}"):
            return (self._root / path_of(kind, name)).lstat().st_size

    def names(self, kind: Kind) -> Iterator[Stored]:
        with self._asking(f"list {kind} of {self._root}"):
            if kind is Kind.CONFIG:
                with suppress(FileNotFoundError):
                    yield Stored("", (self._root / kind).stat().st_size)
                return
            top = self._root / kind
            if not top.is_dir():
                self._demand_repository(f"list {kind} of {self._root}")
                return
            for folder in sorted(self._shelves(top)) if kind is Kind.DATA else (str(kind),):
                yield from self._in(folder, kind)

    def remove(self, kind: Kind, name: str) -> None:
        path = self._root / path_of(kind, name)
        with self._asking(f"remove {told(kind, name)} from {self._root}"), suppress(FileNotFoundError):
            path.unlink()
            if kind in REMOVED_FOR_GOOD:
                self._sync_folder(path.parent)

    def create(self) -> None:
        what = f"make a repository in {self._root}"
        with self._asking(what):
            if (self._root / Kind.CONFIG).exists():
                raise StoreFault("repository.exists", what, "there is one already", "choose another folder")
            self._make_durably(self._root)
            for folder in folders():
                with suppress(FileExistsError):
                    (self._root / folder).mkdir(FOLDER_MODE)
            self._sync_folder(self._root / Kind.DATA)
            self._sync_folder(self._root)

    def close(self) -> None:
        """Nothing is held open."""

    def _settled(self, what: str, path: Path, content: memoryview) -> bool:
        """Whether the same bytes are there, durable; a fault where others are."""
        try:
            with _opened(path) as (file, size):
                if size != len(content) or not _same(file, content):
                    hint = "if that file is damaged, remove it and save again"
                    raise StoreFault("repository.other-content", what, "other bytes have that name there", hint)
                self._sync(file)  # whoever gave it the name may have been killed before it was durable
        except FileNotFoundError:
            return False
        self._sync_folder(path.parent)
        return True

    def _write(self, temporary: Path, content: memoryview) -> None:
        mode = FILE_MODE | (GROUP_FILE if self._shared() else 0)
        file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            while content:
                content = content[os.write(file, content) :]
            self._sync(file)
        finally:
            os.close(file)

    def _named(self, temporary: Path, path: Path) -> bool:
        """Give the file its name; False where something has it."""
        try:
            self._link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            if path.exists():
                return False
            temporary.rename(path)
        return True

    def _make_folders(self, what: str, folder: Path) -> None:
        self._demand_repository(what)
        for each in reversed([folder, *folder.parents]):
            if each != self._root and self._root in each.parents:
                with suppress(FileExistsError):
                    each.mkdir(FOLDER_MODE | (GROUP_FOLDER if self._shared() else 0))
                    self._sync_folder(each.parent)

    def _make_durably(self, folder: Path) -> None:
        """``mkdir -p``, each new folder durable in the one above it."""
        missing = []
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for each in reversed(missing):
            with suppress(FileExistsError):
                each.mkdir(FOLDER_MODE)
            self._sync_folder(each.parent)

    def _sync_folder(self, folder: Path) -> None:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._sync(file)
        finally:
            os.close(file)

    def _demand_repository(self, what: str) -> None:
        if not (self._root / Kind.CONFIG).exists():
            hint = "is its disk mounted? a new one is made by init"
            raise StoreFault("repository.none", what, f"no repository is in {self._root}", hint)

    def _shared(self) -> bool:
        try:
            return bool((self._root / Kind.CONFIG).stat().st_mode & GROUP_FILE)
        except FileNotFoundError:
            return False

    def _shelves(self, top: Path) -> Iterator[str]:
        with os.scandir(top) as found:
            yield from (f"{Kind.DATA}/{each.name}" for each in found if len(each.name) == 2 and each.is_dir())

    def _in(self, folder: str, kind: Kind) -> Iterator[Stored]:
        with os.scandir(self._root / folder) as found:
            for each in found:
                name = name_of(kind, f"{folder}/{each.name}")
                with suppress(FileNotFoundError):  # removed meanwhile
                    if name is not None and each.is_file(follow_symlinks=False):
                        yield Stored(name, each.stat(follow_symlinks=False).st_size)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            why = "there is no such file" if self._root.is_dir() else f"there is no folder {self._root}"
            raise Missing("repository.missing", what, why, "is it the right repository, and mounted?") from error
        except OSError as error:
            raise refusal(what, error) from error


def refusal(what: str, error: OSError) -> NciaError:
    """The file system's word in ours."""
    text = error.strerror or str(error) or type(error).__name__
    if error.errno in FULL:
        return StoreFault("repository.full", what, f"the disk is full: {text}", "make room there, then again")
    if error.errno in DENIED:
        return StoreFault("repository.denied", what, f"it is not allowed: {text}", "whose folder is it?")
    return StoreFault(
        "repository.failed", what, f"the file system says: {text}", "look at the disk and the kernel's log"
    )


@contextmanager
def _opened(path: Path) -> Iterator[tuple[int, int]]:
    """The file to read, and its size. What is no file is not waited for; a link is no file of a repository."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file")
        yield file, found.st_size
    finally:
        os.close(file)


def _same(file: int, content: memoryview) -> bool:
    for begin in range(0, len(content), PIECE_BYTES):
        piece = content[begin : begin + PIECE_BYTES]
        if os.pread(file, len(piece), begin) != piece:
            return False
    return True
