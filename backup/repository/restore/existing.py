"""What a restore meets in its target: what becomes of it, by restic's words for what may be replaced.

``always``: all that differs, its bytes looked at; ``if-changed``: a file of the same size and time is taken for the
same; ``if-newer``: what is older than the snapshot's; ``never``: nothing that is there.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from enum import StrEnum

from backup.repository.format.trees import CHARDEV, DEVICE, DIR, FILE, NODE_TYPE, SYMLINK, Node

ENTRY_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
PIECE_BYTES = 1 << 20
OWNERS_WORDS = ("user.", "system.posix_acl_", "security.capability")  # other attributes are the system's to give


class Overwrite(StrEnum):
    ALWAYS = "always"
    IF_CHANGED = "if-changed"
    IF_NEWER = "if-newer"
    NEVER = "never"


class Treatment(StrEnum):
    NEW = "nothing is there"
    KEEP = "it stays as it is"
    SAME = "its content is taken for the same; its metadata are set"
    COMPARE = "what differs of it is written"
    REPLACE = "it goes, and comes anew"


def judge(node: Node, found: os.stat_result | None, overwrite: Overwrite) -> Treatment:
    """What becomes of what is in an entry's place. A file with more names than the snapshot's is never written to: one
    of them may be anywhere."""
    if found is None:
        return Treatment.NEW
    if overwrite is Overwrite.NEVER:
        return Treatment.KEEP
    if overwrite is Overwrite.IF_NEWER and node.type != DIR and node.mtime_ns <= found.st_mtime_ns:
        return Treatment.KEEP
    if NODE_TYPE.get(stat.S_IFMT(found.st_mode)) != node.type:
        return Treatment.REPLACE
    if node.type == DIR:
        return Treatment.COMPARE
    if found.st_nlink > max(node.links, 1):
        return Treatment.REPLACE
    if node.type != FILE:
        return Treatment.COMPARE
    as_before = found.st_size == node.size and found.st_mtime_ns == node.mtime_ns
    return Treatment.SAME if overwrite is Overwrite.IF_CHANGED and as_before else Treatment.COMPARE


def stat_in(folder: int, name: bytes) -> os.stat_result | None:
    """An entry of an open folder, itself and not what it leads to; None where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def remove_in(folder: int, name: bytes) -> None:
    """Take an entry away; a folder that holds anything stays, and that is an ``OSError``."""
    found = stat_in(folder, name)
    if found is None:
        return
    if stat.S_ISDIR(found.st_mode):
        os.rmdir(name, dir_fd=folder)
    else:
        os.unlink(name, dir_fd=folder)


def open_file_in(folder: int, name: bytes, names_max: int, write: bool = True) -> int:
    """A regular file that exists, open to be read and written, whatever its mode; without ``write`` only as its mode
    lets us. Looked at once it is held: what has become a link, a pipe, or another name of a file elsewhere is refused
    with an ``OSError``."""
    entry = os.open(name, ENTRY_PATH, dir_fd=folder)
    path = f"/proc/self/fd/{entry}"
    try:
        found = os.fstat(entry)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > names_max:
            raise OSError(f"it became something else while it was looked at ({stat.filemode(found.st_mode)})")
        if not write:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except PermissionError:
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # its own mode comes last
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(entry)


def holds(file: int, at: int, length: int, id_: bytes) -> bool:
    """Are these bytes of a file those of a blob?"""
    digest = hashlib.sha256()
    end = at + length
    while at < end:
        piece = os.pread(file, min(PIECE_BYTES, end - at), at)
        if not piece:
            return False
        digest.update(piece)
        at += len(piece)
    return digest.digest() == id_


def same_metadata(node: Node, found: os.stat_result, entry: int | str) -> bool:
    """``entry``: open, or a path to what is open as a mere path."""
    mode = node.type == SYMLINK or stat.S_IMODE(found.st_mode) == node.permissions
    owner = (found.st_uid, found.st_gid) == (node.uid, node.gid)
    return mode and owner and found.st_mtime_ns == node.mtime_ns and _same_attributes(node, entry)


def strange_attributes(node: Node, entry: int | str) -> Iterable[str]:
    """The extended attributes that an entry has and a node has not."""
    known = {name for name, _ in node.attributes}
    return [name for name in os.listxattr(entry) if name not in known and name.startswith(OWNERS_WORDS)]


def same_special(node: Node, found: os.stat_result, folder: int) -> bool:
    """Of a symlink, FIFO or device of the same type: is it the same one?"""
    if node.type == SYMLINK:
        return os.readlink(node.name, dir_fd=folder) == node.target
    return node.type not in (DEVICE, CHARDEV) or found.st_rdev == node.device


def _same_attributes(node: Node, entry: int | str) -> bool:
    try:
        if strange_attributes(node, entry):
            return False
        return all(os.getxattr(entry, name) == value for name, value in node.attributes)
    except OSError:  # none of that name, or a file system without any
        return not node.attributes
