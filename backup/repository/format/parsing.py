"""A tree's text into nodes: what whoever can write to a repository may have written is checked here."""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import msgspec

from backup.repository.faults import Hostile
from backup.repository.format.bounds import parsed
from backup.repository.format.quoting import unquote
from backup.repository.format.times import ns_of
from backup.repository.format.trees import DIR, FILE, Node, shown

NUMBER_BITS = 64
ID_BYTES = 32
NO_NAMES = (b"", b".", b"..")

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
