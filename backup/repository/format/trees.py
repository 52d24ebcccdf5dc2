"""Trees: what a folder holds, as JSON that is the same byte for byte wherever the same folder is written.

``{"nodes":[…]}`` and a newline; nodes strictly ascending by their raw names; fields in the order of restic's own
structure, empty ones left out, ``content`` always there. A tree's id is the SHA-256 of that text.
"""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from backup.repository.format.quoting import json_text, name_json
from backup.repository.format.times import ns_text

FILE, DIR, SYMLINK, DEVICE, CHARDEV, FIFO, SOCKET = "file", "dir", "symlink", "dev", "chardev", "fifo", "socket"
HEAD_END = ',"content":'
BEGIN, END = '{"nodes":[', "]}\n"
# A node of a text begins so; a pair of extended attributes has no type, and a string cannot hold an unescaped quote.
BETWEEN = re.compile(r"(?<=\}),(?=\{\"name\":\"(?:[^\"\\]|\\.)*\",\"type\":)")
PAIRS = '"extended_attributes":['
NEXT = '},{"name":'
LINKED_TYPES = (FILE, SYMLINK, DEVICE, CHARDEV)  # restic keeps the number of links of these alone

# Go's FileMode keeps the type in high bits of its own, and the three special bits elsewhere than stat does.
GO_TYPE = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFREG: 0,
}
GO_SPECIAL = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}
GO_SPECIALS = sum(GO_SPECIAL.values())
NODE_TYPE = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: DIR,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFBLK: DEVICE,
    stat.S_IFCHR: CHARDEV,
    stat.S_IFIFO: FIFO,
    stat.S_IFSOCK: SOCKET,
}


class Node(NamedTuple):
    """One entry of a folder. ``mode`` is Go's; times are nanoseconds; ``content`` is None for all but files."""

    name: bytes
    type: str
    mode: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int
    uid: int
    gid: int
    user: str = ""
    group: str = ""
    inode: int = 0
    device_id: int = 0
    size: int = 0
    links: int = 0
    target: bytes = b""
    attributes: tuple[tuple[str, bytes], ...] = ()
    device: int = 0
    content: tuple[bytes, ...] | None = None
    subtree: bytes = b""

    @property
    def permissions(self) -> int:
        """The twelve bits that ``chmod`` takes."""
        if not self.mode & GO_SPECIALS:
            return self.mode & 0o777
        return self.mode & 0o777 | sum(bit for bit, go in GO_SPECIAL.items() if self.mode & go)


def go_mode(mode: int) -> int:
    """``st_mode`` as Go spells it."""
    special = mode & 0o7000
    bits = mode & 0o777 | GO_TYPE.get(stat.S_IFMT(mode), 0)
    return bits | sum(go for bit, go in GO_SPECIAL.items() if special & bit) if special else bits


def head_text(node: Node) -> str:
    """A node's JSON up to its content: the same text for the same metadata."""
    mtime = ns_text(node.mtime_ns)
    atime = mtime if node.atime_ns == node.mtime_ns else ns_text(node.atime_ns)
    ctime = mtime if node.ctime_ns == node.mtime_ns else ns_text(node.ctime_ns)
    parts = [
        f'{{"name":{name_json(node.name)},"type":"{node.type}","mode":{node.mode},"mtime":"{mtime}","atime":"{atime}"'
        f',"ctime":"{ctime}","uid":{node.uid},"gid":{node.gid}{_owner_text(node.user, node.group)}'
    ]
    if node.inode and node.device_id and node.size and node.links:  # as a file mostly has
        parts.append(f',"inode":{node.inode},"device_id":{node.device_id},"size":{node.size},"links":{node.links}')
    else:
        for field in ("inode", "device_id", "size", "links"):
            if value := getattr(node, field):
                parts.append(f',"{field}":{value}')
    if node.target:
        parts.append(f',"linktarget":{json_text(node.target.decode("utf-8", "surrogateescape"))}')
        if not _is_text(node.target):
            parts.append(f',"linktarget_raw":"{_base64(node.target)}"')
    if node.attributes:
        pairs = ",".join(
            f'{{"name":{json_text(name)},"value":"{base64.b64encode(value).decode()}"}}'
            for name, value in node.attributes
        )
        parts.append(f',"extended_attributes":[{pairs}]')
    if node.device:
        parts.append(f',"device":{node.device}')
    return "".join(parts)


@lru_cache(maxsize=1024)
def _owner_text(user: str, group: str) -> str:
    users = f',"user":{json_text(user)}' if user else ""
    return users + (f',"group":{json_text(group)}' if group else "")


def content_text(content: Iterable[bytes]) -> str:
    """A file's content, as it follows :data:`HEAD_END`."""
    return "[" + ",".join(f'"{id_.hex()}"' for id_ in content) + "]"


def node_text(node: Node) -> str:
    """A node's whole JSON."""
    content = "null" if node.content is None else content_text(node.content)
    subtree = f',"subtree":"{node.subtree.hex()}"' if node.subtree else ""
    return f"{head_text(node)}{HEAD_END}{content}{subtree}}}"


def tree_text(nodes: Iterable[str]) -> bytes:
    """A tree's text from those of its nodes, which come in order."""
    return (BEGIN + ",".join(nodes) + END).encode()


def node_texts(text: bytes) -> Iterator[str]:
    """The texts of a tree's nodes, not read any further; nothing where it is not spelt as we spell it."""
    whole = text.decode()
    if not (whole.startswith(BEGIN) and whole.endswith(END) and (inner := whole[len(BEGIN) : -len(END)])):
        return
    if PAIRS in inner:
        yield from BETWEEN.split(inner)
        return
    first, *others = inner.split(NEXT)  # a string cannot hold an unescaped quote, and nothing else begins so here
    if not others:
        yield first
        return
    yield first + "}"
    yield from [f'{{"name":{each}}}' for each in others[:-1]]
    yield f'{{"name":{others[-1]}'


def shown(name: bytes) -> str:
    """Raw bytes of a name or path for a person: printable, in quotes with escapes where that is not plain. No two look
    the same: a plain one has no quote at its beginning, and in quotes a backslash is two."""
    text = name.decode("utf-8", "surrogateescape")
    if text.isprintable() and text and text[0] != "'":
        return text
    return "'" + "".join(map(_escaped, text)) + "'"


def told(key: str, raw: bytes) -> dict[str, str]:
    """Raw bytes of a name or path in JSON. Where they are no UTF-8 their text has U+FFFD, and ``<key>_base64`` has
    them."""
    if _is_text(raw):
        return {key: raw.decode()}
    return {key: raw.decode("utf-8", "replace"), f"{key}_base64": _base64(raw)}


def told_raw(key: str, answer: Mapping[str, Any]) -> bytes:
    """What :func:`told` was given."""
    encoded = answer.get(f"{key}_base64")
    return str(answer[key]).encode() if encoded is None else base64.b64decode(encoded)


def _escaped(letter: str) -> str:
    if letter in "\\'":
        return "\\" + letter
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte that is no UTF-8; its \x.. begins with 8 to f, that of a letter never
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return ascii(letter)[1:-1] if letter < "\x80" else f"\\U{ord(letter):08x}"


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
