"""A repository as a file system that is only read: what FUSE asks, answered from trees and blobs.

Laid out as restic's mount: ``ids/<id>``, ``snapshots/<time>``, ``hosts/<host>/<time>``, ``tags/<tag>/<time>``, each
with a link ``latest`` where they are by time. Every blob that is read is verified; what is damaged is an error of input
and output, never other bytes. It shows the snapshots that there were when it was mounted. Paths and names are text with
surrogates for bytes that are none (PEP 383).
"""

from __future__ import annotations

import bisect
import errno
import hashlib
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import accumulate, count
from typing import Any, NamedTuple

from backup.repository.care.reaching import nodes_of
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.times import moment_text, ns_of
from backup.repository.format.trees import DIR, FILE, NODE_TYPE, SYMLINK, Node
from backup.repository.repository import Repository
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT

LATEST = b"latest"
FOLDER_MODE = stat.S_IFDIR | 0o555
LINK_MODE = stat.S_IFLNK | 0o777
STAT_TYPE = {type_: bits for bits, type_ in NODE_TYPE.items()}
NODES_MAX = 200_000  # of trees that are kept at hand
BLOBS_BYTES_MAX = 64 << 20
BLOCK_BYTES = 512

Shelf = dict[bytes, Any]  # a name to a shelf, a snapshot, or the target of a link
Found = Shelf | Snapshot | bytes | Node


class Opened(NamedTuple):
    """A file that is being read: its blobs, and at which byte each begins."""

    content: tuple[bytes, ...]
    starts: list[int]
    size: int


class Mounting:
    """Safe for several threads. Faults are ``OSError``."""

    use_ns = True  # times are nanoseconds

    def __init__(self, repository: Repository, snapshots: Iterable[Snapshot]) -> None:
        self._repository = repository
        self._top = shelves(snapshots)
        self._lock = threading.Lock()
        self._trees: OrderedDict[bytes, dict[bytes, Node]] = OrderedDict()
        self._nodes_count = 0
        self._blobs: OrderedDict[bytes, bytes] = OrderedDict()
        self._blobs_bytes = 0
        self._open: dict[int, Opened] = {}
        self._handles = count(1)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        found, snapshot = self._resolved(path)
        return _stat_of(found, path, snapshot)

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        """Names, with what of their metadata a folder tells; the offset is 0: all of it at once."""
        found, snapshot = self._resolved(path)
        entries: dict[bytes, Any] = {b".": {}, b"..": {}}
        if isinstance(found, dict):
            entries |= found
        else:
            with _answering():
                entries |= self._tree(_tree_of(found))
        above = path.rstrip("/")
        return [
            (name, _stat_of(each, f"{above}/{name}", snapshot), 0)
            for name, each in ((os.fsdecode(raw), each) for raw, each in entries.items())
        ]

    def readlink(self, path: str) -> str:
        found = self._found(path)
        if isinstance(found, bytes):
            return os.fsdecode(found)
        if not isinstance(found, Node) or found.type != SYMLINK:
            raise OSError(errno.EINVAL, "it is no link")
        return os.fsdecode(found.target)

    def open(self, path: str, flags: int) -> int:
        found = self._found(path)
        if not isinstance(found, Node) or found.type != FILE:
            raise OSError(errno.EISDIR, "it is no file")
        if flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "it is only read")
        content = found.content or ()
        with _answering():
            sizes = [self._repository.demand(id_, tree=False).blob.plain_bytes for id_ in content]
        handle = next(self._handles)
        starts = [0, *accumulate(sizes)]
        self._open[handle] = Opened(content, starts[:-1], starts[-1])
        return handle

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        opened = self._open[fh]
        end = min(offset + size, opened.size)
        pieces = []
        with _answering():
            while offset < end:
                at = bisect.bisect_right(opened.starts, offset) - 1
                within = offset - opened.starts[at]
                piece = self._blob(opened.content[at])[within : within + end - offset]
                pieces.append(piece)
                offset += len(piece)
        return b"".join(pieces)

    def release(self, path: str, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def listxattr(self, path: str) -> list[str]:
        found = self._found(path)
        return [name for name, _ in found.attributes] if isinstance(found, Node) else []

    def getxattr(self, path: str, name: str, position: int = 0) -> bytes:
        found = self._found(path)
        for each, value in found.attributes if isinstance(found, Node) else ():
            if each == name:
                return value
        raise OSError(errno.ENODATA, "it has no such attribute")

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": BLOCK_BYTES, "f_namemax": 255}

    def _found(self, path: str) -> Found:
        return self._resolved(path)[0]

    def _resolved(self, path: str) -> tuple[Found, Snapshot | None]:
        """What is there, and in which snapshot."""
        at: Any = self._top
        snapshot: Snapshot | None = None
        for name in os.fsencode(path).split(b"/"):
            if not name:
                continue
            if isinstance(at, dict):
                at = at.get(name)
            elif isinstance(at, Snapshot) or (isinstance(at, Node) and at.type == DIR):
                with _answering():
                    at = self._tree(_tree_of(at)).get(name)
            else:
                raise OSError(errno.ENOTDIR, "it is no folder")
            if at is None:
                raise OSError(errno.ENOENT, "there is no such entry")
            snapshot = at if isinstance(at, Snapshot) else snapshot
        found: Found = at
        return found, snapshot

    def _tree(self, tree: bytes) -> dict[bytes, Node]:
        with self._lock:
            if tree in self._trees:
                self._trees.move_to_end(tree)
                return self._trees[tree]
        nodes = {node.name: node for node in nodes_of(self._repository, tree)}
        with self._lock:
            if tree not in self._trees:
                self._trees[tree] = nodes
                self._nodes_count += len(nodes)
            while self._nodes_count > NODES_MAX and len(self._trees) > 1:
                self._nodes_count -= len(self._trees.popitem(last=False)[1])
        return nodes

    def _blob(self, id_: bytes) -> bytes:
        with self._lock:
            if id_ in self._blobs:
                self._blobs.move_to_end(id_)
                return self._blobs[id_]
        plain = self._repository.load_blob(id_, tree=False)
        with self._lock:
            if id_ not in self._blobs:
                self._blobs[id_] = plain
                self._blobs_bytes += len(plain)
            while self._blobs_bytes > BLOBS_BYTES_MAX and len(self._blobs) > 1:
                self._blobs_bytes -= len(self._blobs.popitem(last=False)[1])
        return plain


def shelves(snapshots: Iterable[Snapshot]) -> Shelf:
    """The folders above the snapshots; they come oldest first."""
    top: Shelf = {b"ids": {}, b"snapshots": {}, b"hosts": {}, b"tags": {}}
    for snapshot in snapshots:
        top[b"ids"][snapshot.id[:SHORT].encode()] = snapshot
        for shelf in (
            top[b"snapshots"],
            top[b"hosts"].setdefault(_name(snapshot.hostname), {}),
            *(top[b"tags"].setdefault(_name(tag), {}) for tag in snapshot.tags),
        ):
            when = moment_text(snapshot.time.replace(microsecond=0)).encode()
            names = (when if not number else b"%s-%d" % (when, number) for number in count())
            name = next(each for each in names if each not in shelf)
            shelf[name] = snapshot
            shelf[LATEST] = name
    return top


def _name(word: str) -> bytes:
    """A host or tag as a name of a folder."""
    name = os.fsencode(word).replace(b"/", b"_").replace(b"\0", b"_")
    return b"_" if name in (b"", b".", b"..", LATEST) else name[:255]


def _number(text: str) -> int:
    """An inode's, the same whenever it is asked."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest()) >> 1 or 1


def _tree_of(found: Snapshot | Node | bytes) -> bytes:
    if isinstance(found, Snapshot):
        return found.tree
    if isinstance(found, Node) and found.type == DIR:
        return found.subtree
    raise OSError(errno.ENOTDIR, "it is no folder")


def _stat_of(found: Found, path: str, snapshot: Snapshot | None) -> dict[str, int]:
    if isinstance(found, Node):
        return _stat_of_node(found, path, snapshot)
    if isinstance(found, bytes):
        return {"st_ino": _number(path), "st_mode": LINK_MODE, "st_nlink": 1, "st_size": len(found)}
    when = ns_of(moment_text(found.time)) if isinstance(found, Snapshot) else 0
    times = {"st_mtime": when, "st_ctime": when, "st_atime": when}
    return {"st_ino": _number(path), "st_mode": FOLDER_MODE, "st_nlink": 2, **times}


def _stat_of_node(node: Node, path: str, snapshot: Snapshot | None) -> dict[str, int]:
    size = len(node.target) if node.type == SYMLINK else node.size
    one = f"{snapshot.id}/{node.device_id}/{node.inode}" if node.links > 1 and snapshot else path  # whatever its names
    return {
        "st_ino": _number(one),
        "st_mode": STAT_TYPE.get(node.type, stat.S_IFREG) | node.permissions,
        "st_nlink": node.links or (2 if node.type == DIR else 1),
        "st_uid": node.uid & 0xFFFFFFFF,
        "st_gid": node.gid & 0xFFFFFFFF,
        "st_size": size,
        "st_blocks": -(-size // BLOCK_BYTES),
        "st_rdev": node.device,
        "st_mtime": node.mtime_ns,
        "st_atime": node.atime_ns,
        "st_ctime": node.ctime_ns,
    }


@contextmanager
def _answering() -> Iterator[None]:
    """What is damaged, missing or cannot be fetched is an error of input and output."""
    try:
        yield
    except NciaError as error:
        raise OSError(errno.EIO, str(error)) from error
