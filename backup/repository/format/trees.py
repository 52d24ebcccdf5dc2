"""Trees: what a folder holds, as JSON that is the same byte for byte wherever the same folder is written.

``{"nodes":[…]}`` and a newline; nodes strictly ascending by their raw names; fields in the order of restic's own
structure, empty ones left out, ``content`` always there. A tree's id is the SHA-256 of that text.
"""

from __future__ import annotations

import base64
import re
import stat
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Annotated, Literal, NamedTuple

import msgspec

from backup.repository.faults import Hostile
from backup.repository.format.bounds import parsed
from backup.repository.format.quoting import json_text, name_json, unquote
from backup.repository.format.times import ns_of, ns_text

FILE, DIR, SYMLINK, DEVICE, CHARDEV, FIFO, SOCKET = "file", "dir", "symlink", "dev", "chardev", "fifo", "socket"
HEAD_END = ',"content":'
BEGIN, END = '{"nodes":[', "]}\n"
# A node of a text begins so; a pair of extended attributes has no type, and a string cannot hold an unescaped quote.
BETWEEN = re.compile(r"(?<=\}),(?=\{\"name\":\"(?:[^\"\\]|\\.)*\",\"type\":)")
PAIRS = '"extended_attributes":['
NEXT = '},{"name":'
NUMBER_BITS = 64
ID_BYTES = 32
NO_NAMES = (b"", b".", b"..")
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


Number = Annotated[int, msgspec.Meta(ge=0)]


class ToldPair(msgspec.Struct, gc=False):
    name: str
    value: str | None = None


class ToldNode(msgspec.Struct, gc=False):
    """A node, as a tree tells of it."""

    name: str
    type: Literal["file", "dir", "symlink", "dev", "chardev", "fifo", "socket", "irregular"]
    mode: Number = 0
    mtime: str | None = None
    atime: str | None = None
    ctime: str | None = None
    uid: Number = 0
    gid: Number = 0
    user: str | None = None
    group: str | None = None
    inode: Number = 0
    device_id: Number = 0
    size: Number = 0
    links: Number = 0
    linktarget: str | None = None
    linktarget_raw: str | None = None
    extended_attributes: list[ToldPair] | None = None
    device: Number = 0
    content: list[str] | None = None
    subtree: str | None = None


class ToldTree(msgspec.Struct):
    nodes: list[ToldNode] | None


TOLD = msgspec.json.Decoder(ToldTree)


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


def tree_nodes(text: bytes | bytearray, what: str) -> tuple[Node, ...]:
    """A tree's nodes. Raises ``Damaged`` on other shapes, :class:`Hostile` on names that no folder can hold."""
    nodes: tuple[Node, ...] = parsed(text, what, _nodes, "{nodes: […]}", TOLD.decode)
    before = b""
    for node in nodes:
        name = node.name
        if name in NO_NAMES or b"/" in name or b"\0" in name:
            raise Hostile(what, f"it holds an entry named {shown(name)}")
        if name <= before:
            why = "twice" if name == before else f"after {shown(before)}, out of order"
            raise Hostile(what, f"it holds an entry named {shown(name)} {why}")
        before = name
    return nodes


def _nodes(told: ToldTree) -> tuple[Node, ...]:
    return tuple([_node(each) for each in told.nodes or ()])


def shown(name: bytes) -> str:
    """Raw bytes of a name or path for a person: printable, in quotes where that is not plain."""
    text = name.decode("utf-8", "backslashreplace")
    return text if text.isprintable() and text else ascii(text)


def _node(told: ToldNode) -> Node:
    mode, uid, gid, inode, device_id = told.mode, told.uid, told.gid, told.inode, told.device_id
    size, links, device = told.size, told.links, told.device
    if (mode | uid | gid | inode | device_id | size | links | device) >> NUMBER_BITS:
        raise ValueError(f"a number of entry {told.name!r} has more than {NUMBER_BITS} bits")
    name, type_, mtime, atime, ctime = told.name, told.type, told.mtime, told.atime, told.ctime
    mtime_ns = ns_of(mtime) if mtime else 0
    raw, pairs = told.linktarget_raw, told.extended_attributes
    return Node(
        name.encode() if "\\" not in name else unquote(name),
        type_,
        mode,
        mtime_ns,
        mtime_ns if atime == mtime else ns_of(atime) if atime else 0,
        mtime_ns if ctime == mtime else ns_of(ctime) if ctime else 0,
        uid,
        gid,
        told.user or "",
        told.group or "",
        inode,
        device_id,
        size,
        links,
        base64.b64decode(raw) if raw else (told.linktarget or "").encode(),
        tuple([(pair.name, base64.b64decode(pair.value or "")) for pair in pairs]) if pairs else (),
        device,
        tuple(map(_id, told.content or ())) if type_ == FILE else None,
        _id(told.subtree) if type_ == DIR else b"",
    )


def _id(text: str | None) -> bytes:
    id_ = bytes.fromhex(text or "")
    if len(id_) != ID_BYTES or id_.hex() != text:
        raise ValueError(f"{text!r} is no id")
    return id_


def _is_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
