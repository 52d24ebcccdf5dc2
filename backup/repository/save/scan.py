"""What the file system says of its entries, as nodes: modes, owners, times, links, devices, extended attributes."""

from __future__ import annotations

import errno
import grp
import os
import pwd
import stat
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from backup.repository.format.trees import FILE, LINKED_TYPES, NODE_TYPE, SYMLINK, Node, go_mode, shown

NO_ATTRIBUTES = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
ONE_BLOB_MAX = 512 << 10  # a file no larger is one blob, as with restic, so that both find each other's
NAMED_MAX = 100  # of what could not be kept so many are named, and all are counted


@dataclass
class Losses:
    """What could not be kept: all of it counted, the first ones named."""

    counts: Counter[str] = field(default_factory=Counter)
    named: list[str] = field(default_factory=list)

    def note(self, kind: str, path: bytes, why: str) -> None:
        self.counts[kind] += 1
        if len(self.named) < NAMED_MAX:
            self.named.append(f"{shown(path)}: {kind} not kept: {why}")

    def add(self, others: Losses) -> None:
        self.counts += others.counts
        self.named += others.named[: max(0, NAMED_MAX - len(self.named))]

    def __bool__(self) -> bool:
        return bool(self.counts)


@dataclass
class Owners:
    """Names of users and groups by number, asked once each; empty where there is none."""

    users: dict[int, str] = field(default_factory=dict)
    groups: dict[int, str] = field(default_factory=dict)

    def user(self, uid: int) -> str:
        if (name := self.users.get(uid)) is None:
            name = self.users[uid] = _name_or_none(lambda: pwd.getpwuid(uid).pw_name)
        return name

    def group(self, gid: int) -> str:
        if (name := self.groups.get(gid)) is None:
            name = self.groups[gid] = _name_or_none(lambda: grp.getgrgid(gid).gr_name)
        return name


def _name_or_none(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except KeyError:
        return ""


def node_of(
    name: bytes, path: bytes, found: os.stat_result, owners: Owners, losses: Losses, descriptor: int | None = None
) -> Node:
    """The node of one entry, which may be open, without its content. Raises ``OSError`` where its link cannot be
    read."""
    type_ = NODE_TYPE.get(stat.S_IFMT(found.st_mode), "irregular")
    mtime = found.st_mtime_ns
    return Node(
        name,
        type_,
        go_mode(found.st_mode),
        mtime,
        mtime,  # as restic by default: a backup that reads would change it each time
        found.st_ctime_ns,
        found.st_uid,
        found.st_gid,
        owners.user(found.st_uid),
        owners.group(found.st_gid),
        found.st_ino,
        found.st_dev,
        found.st_size if type_ == FILE else 0,
        found.st_nlink if type_ in LINKED_TYPES else 0,
        os.readlink(path) if type_ == SYMLINK else b"",
        _attributes(path, descriptor, losses),
        found.st_rdev if stat.S_ISBLK(found.st_mode) or stat.S_ISCHR(found.st_mode) else 0,
    )


def seen_again(node: Node, found: os.stat_result) -> Node:
    """The node of a file that was opened after it had been looked at: what may be otherwise by then is."""
    if found.st_ctime_ns == node.ctime_ns and found.st_ino == node.inode and found.st_size == node.size:
        return node
    return node._replace(
        mode=go_mode(found.st_mode),
        mtime_ns=found.st_mtime_ns,
        atime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        uid=found.st_uid,
        gid=found.st_gid,
        inode=found.st_ino,
        device_id=found.st_dev,
        size=found.st_size,
        links=found.st_nlink,
    )


def _attributes(path: bytes, descriptor: int | None, losses: Losses) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(path, follow_symlinks=False) if descriptor is None else os.listxattr(descriptor)
    except OSError as error:
        if error.errno not in NO_ATTRIBUTES:
            losses.note("extended attributes", path, error.strerror or str(error))
        return ()
    return tuple(_read(path, descriptor, names, losses)) if names else ()


def _read(path: bytes, descriptor: int | None, names: list[str], losses: Losses) -> list[tuple[str, bytes]]:
    found = []
    for name in names:
        try:
            at = path if descriptor is None else descriptor
            found.append((name, os.getxattr(at, name, follow_symlinks=descriptor is not None)))
        except OSError as error:
            losses.note(f"extended attribute {name}", path, error.strerror or str(error))
    return found
