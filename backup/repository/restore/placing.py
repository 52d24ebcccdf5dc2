"""Entries put into a target folder and nowhere else: every step is taken from an open folder, and no link is followed.

Names come from a repository that anybody may have written. Each is one step from a folder that was made here, or that
was met here and is no link, and is held open; what exists is replaced only where that was asked for (``existing``).
Metadata come last, so that nothing is written after its times.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from backup.repository.format.trees import CHARDEV, DEVICE, FIFO, SYMLINK, Node
from backup.repository.restore.existing import (
    Overwrite,
    Treatment,
    judge,
    remove_in,
    same_special,
    stat_in,
    strange_attributes,
)
from backup.repository.save.scan import Losses
from ncia.core.base.errors import NciaError, Refusal

FOLDER_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_OPEN = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
ENTRY_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
PRIVATE_FOLDER, PRIVATE_FILE = 0o700, 0o600  # until they have their own
ACL = "system.posix_acl_"
UNFIT = (ValueError, OverflowError)  # a text or a number that this system's calls cannot hold
AS_OWNER = 0o6000  # a program of that mode runs as its owner or group


@dataclass
class Place:
    """A folder that is being filled. ``left`` counts what is still to come into it, and itself while it is walked."""

    path: bytes
    node: Node | None  # None: the target itself, which keeps its own metadata
    above: Place | None
    descriptor: int
    made: set[bytes] = field(default_factory=set)  # folders in it that were made ahead
    left: int = 1
    lock: threading.Lock = field(default_factory=threading.Lock)

    def within(self, name: bytes) -> bytes:
        return self.path + name if self.path.endswith(b"/") else self.path + b"/" + name


class Placing:
    """Puts entries below one target. Safe for several threads; what could not be kept is noted in ``losses``."""

    def __init__(self, losses: Losses, overwrite: Overwrite | None = None) -> None:
        self.losses = losses
        self._overwrite = overwrite
        self._noting = threading.Lock()
        self._own = (os.geteuid(), os.getegid())  # of what is made here
        self._root = -1
        self._open: set[int] = set()  # folders that are being filled

    def open(self, target: Path) -> Place:
        """The target, made if it is not there; refused where it holds anything and nothing may be replaced."""
        what = f"restore into {target}"
        try:
            target.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
            self._root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if self._overwrite is None and os.listdir(self._root):
                hint = "name a new or an empty folder, or say what may be replaced (--overwrite; --dry-run shows it)"
                raise Refusal("repository.target-taken", what, "it is not empty", hint)
        except OSError as error:
            raise NciaError("repository.no-target", what, error.strerror or str(error)) from error
        return self._held(b"/", None, None, os.dup(self._root))

    def close(self) -> None:
        """Nothing is written any more; what was broken off is let go."""
        while self._open:
            os.close(self._open.pop())
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def note(self, kind: str, path: bytes, why: str | Exception) -> None:
        with self._noting:
            self.losses.note(kind, path, (isinstance(why, OSError) and why.strerror) or str(why))

    def lose(self, losses: Losses) -> None:
        """The same, of many."""
        with self._noting:
            self.losses.add(losses)

    def make_folders(self, place: Place, names: Iterable[bytes]) -> None:
        """Make folders before any file beside them: file systems place what comes then in half the time. One that
        cannot be made is told when it is its turn."""
        if self._overwrite is not None:
            return
        for name in names:
            with suppress(OSError):
                os.mkdir(name, PRIVATE_FOLDER, dir_fd=place.descriptor)
                place.made.add(name)

    def folder(self, above: Place, node: Node) -> Place | None:
        """Make a folder, or take the one that is there, and hold it open."""
        path = above.within(node.name)
        try:
            verdict, _ = self.met(above, node)
            if verdict is Treatment.NEW and node.name not in above.made:
                os.mkdir(node.name, PRIVATE_FOLDER, dir_fd=above.descriptor)
            descriptor = os.open(node.name, FOLDER_OPEN, dir_fd=above.descriptor)
        except OSError as error:
            self.note("folder", path, error)
            return None
        if verdict is Treatment.COMPARE and not os.access(
            b".", os.W_OK | os.X_OK, dir_fd=descriptor, effective_ids=True
        ):
            self._try("mode", path, lambda: os.chmod(descriptor, PRIVATE_FOLDER))  # its own comes last
        self.expect(above)
        return self._held(path, None if verdict is Treatment.KEEP else node, above, descriptor)

    def met(self, place: Place, node: Node) -> tuple[Treatment, os.stat_result | None]:
        """What becomes of what is in an entry's place; it is gone already where it must go. Raises ``OSError``."""
        if self._overwrite is None:
            return Treatment.NEW, None
        found = stat_in(place.descriptor, node.name)
        verdict = judge(node, found, self._overwrite)
        if verdict is Treatment.REPLACE:
            remove_in(place.descriptor, node.name)
            return Treatment.NEW, None
        return verdict, found

    def _held(self, path: bytes, node: Node | None, above: Place | None, descriptor: int) -> Place:
        self._open.add(descriptor)
        return Place(path, node, above, descriptor)

    def expect(self, place: Place) -> None:
        """One more entry is to come."""
        with place.lock:
            place.left += 1

    def came(self, place: Place) -> None:
        """One entry has come, or never will. The last one closes the folder, and then the folder above hears of it."""
        at: Place | None = place
        while at is not None:
            with at.lock:
                at.left -= 1
                if at.left:
                    return
            if at.node is not None:
                self.finish(at.descriptor, at.path, at.node)
            self._open.discard(at.descriptor)
            os.close(at.descriptor)
            at = at.above

    def make(self, place: Place, name: bytes) -> int:
        """A new file, open for writing."""
        return os.open(name, FILE_MAKE, PRIVATE_FILE, dir_fd=place.descriptor)

    def make_as(self, place: Place, node: Node) -> int:
        """The same, of a file that is written in one go. It is born with its own mode where it is born with its own
        owner: each change of either costs a file system as much as a third of its making."""
        mode = node.permissions & 0o777 if (node.uid, node.gid) == self._own else PRIVATE_FILE
        return os.open(node.name, FILE_MAKE, mode, dir_fd=place.descriptor)

    def reopen(self, place: Place, name: bytes) -> int:
        """A file that was made here before."""
        return os.open(name, FILE_OPEN, dir_fd=place.descriptor)

    def link(self, place: Place, node: Node, first: bytes) -> None:
        """One more name for a file that was made here under the path ``first``."""
        name = node.name
        *folders, last = first.strip(b"/").split(b"/")
        descriptor = os.dup(self._root)
        try:
            for folder in folders:
                deeper = os.open(folder, FOLDER_OPEN, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = deeper
            if self._overwrite is not None:
                verdict, found = self.met(place, node)
                if verdict is Treatment.KEEP or (found and os.path.samestat(found, _stat(last, descriptor))):
                    return
                remove_in(place.descriptor, name)
            os.link(last, name, src_dir_fd=descriptor, dst_dir_fd=place.descriptor, follow_symlinks=False)
        except OSError as error:
            self.note("hard link", place.within(name), error)
        finally:
            os.close(descriptor)

    def special(self, place: Place, node: Node) -> None:
        """A symlink, FIFO or device, with its metadata."""
        path = place.within(node.name)
        try:
            verdict, found = self.met(place, node)
            if verdict is Treatment.KEEP:
                return
            if found is not None and not same_special(node, found, place.descriptor):
                remove_in(place.descriptor, node.name)
                found = None
            if found is not None:
                pass  # it is the same one; its metadata follow
            elif node.type == SYMLINK:
                os.symlink(node.target, node.name, dir_fd=place.descriptor)
            elif node.type == FIFO:
                os.mkfifo(node.name, PRIVATE_FILE, dir_fd=place.descriptor)
            elif node.type in (DEVICE, CHARDEV):
                kind = stat.S_IFBLK if node.type == DEVICE else stat.S_IFCHR
                os.mknod(node.name, kind | PRIVATE_FILE, node.device, dir_fd=place.descriptor)
            else:
                self.note(node.type, path, "no file system has a way to make one")
                return
            descriptor = os.open(node.name, ENTRY_OPEN, dir_fd=place.descriptor)
        except (OSError, *UNFIT) as error:
            self.note(node.type, path, error)
            return
        try:
            self.finish(f"/proc/self/fd/{descriptor}", path, node)
        finally:
            os.close(descriptor)

    def finish(self, entry: int | str, path: bytes, node: Node) -> None:
        """Owner, attributes, mode and times, in the order in which none of them undoes another.

        ``entry`` is an open file or folder, or the name of one that is open as a mere path."""
        if self._overwrite is not None:
            self._strip(entry, path, node)
        if not node.attributes and node.type != SYMLINK:
            try:
                found = os.stat(entry)
                if (found.st_uid, found.st_gid) != (node.uid, node.gid):
                    os.chown(entry, node.uid, node.gid)
                    found = os.stat(entry)  # it may have taken bits of the mode away
                if stat.S_IMODE(found.st_mode) != node.permissions:
                    os.chmod(entry, node.permissions)
                os.utime(entry, ns=(node.atime_ns, node.mtime_ns))
                return
            except (OSError, *UNFIT):
                pass  # which of them it was is found out below
        acls = [pair for pair in node.attributes if pair[0].startswith(ACL)]
        others = [pair for pair in node.attributes if not pair[0].startswith(ACL)]
        owned = self._try("owner", path, lambda: os.chown(entry, node.uid, node.gid))
        self._attributes(entry, path, others)
        if node.type != SYMLINK:
            mode = node.permissions if owned else node.permissions & ~AS_OWNER
            self._try("mode", path, lambda: os.chmod(entry, mode))
            if mode != node.permissions:
                self.note("set-user-id", path, "the owner was not kept, and it would run as another one")
        self._attributes(entry, path, acls)
        self._try("times", path, lambda: os.utime(entry, ns=(node.atime_ns, node.mtime_ns)))

    def _strip(self, entry: int | str, path: bytes, node: Node) -> None:
        """Of what was there before, take away the attributes that the snapshot's has not."""
        try:
            strange = strange_attributes(node, entry)
        except OSError:  # a file system without any
            return
        for name in strange:
            self._try(f"removal of extended attribute {name}", path, partial(os.removexattr, entry, name))

    def _attributes(self, entry: int | str, path: bytes, pairs: list[tuple[str, bytes]]) -> None:
        for name, value in pairs:
            self._try(f"extended attribute {name}", path, partial(os.setxattr, entry, name, value))

    def _try(self, kind: str, path: bytes, act: Callable[[], None]) -> bool:
        try:
            act()
            return True
        except (OSError, *UNFIT) as error:
            self.note(kind, path, error)
            return False


def _stat(name: bytes, folder: int) -> os.stat_result:
    return os.stat(name, dir_fd=folder, follow_symlinks=False)
