"""What is in a snapshot, and in what two of them differ; trees that are the same are not looked into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from backup.repository.care.reaching import ByPath, nodes_of
from backup.repository.format.trees import DIR, FILE, Node, shown
from backup.repository.repository import Repository
from backup.repository.save.walk import Way, ways
from ncia.core.base.errors import NciaError

ADDED, REMOVED, CONTENT, METADATA, TYPE = "+", "-", "M", "U", "T"


class Entry(NamedTuple):
    path: bytes
    node: Node


class Change(NamedTuple):
    """``sign``: + added, - removed, M other content, U other metadata, T another type; as restic tells them."""

    sign: str
    path: bytes


def entries(repository: Repository, tree: bytes, way: Way) -> Iterator[Entry]:
    """Everything below a root that ``way`` names, folders before what is in them, each folder in order."""
    by_path = ByPath(repository, tree)
    waiting: list[tuple[Iterator[Node], bytes, Way]] = [(_nodes(repository, tree), b"", way)]
    while waiting:
        nodes, above, here = waiting[-1]
        node = next(nodes, None)
        if node is None:
            waiting.pop()
            continue
        below = here if here.whole else here.parts.get(node.name)
        if below is None:
            continue
        path = above + b"/" + node.name
        yield Entry(path, node)
        if node.type == DIR:
            by_path.into(node.subtree, len(waiting))
            waiting.append((_nodes(repository, node.subtree), path, below))


def demand_way(repository: Repository, tree: bytes, paths: tuple[bytes, ...]) -> Way:
    """The way to paths that a snapshot holds; all of it where none is named. Refuses paths that are not in it."""
    way = ways(paths) if paths else Way(whole=True)
    missing: list[str] = []
    for path in paths:
        at = tree
        parts = [part for part in path.split(b"/") if part]
        for number, part in enumerate(parts, 1):
            node = next((node for node in _nodes(repository, at) if node.name == part), None)
            if node is None or (node.type != DIR and number < len(parts)):
                missing.append(shown(path))
                break
            at = node.subtree
    if missing:
        why = f"the snapshot does not hold {'it' if len(missing) == 1 else 'them'}"
        raise NciaError("repository.no-path", f"find {', '.join(missing)}", why, "ncia repo ls shows what it holds")
    return way


def changes(repository: Repository, first: bytes, second: bytes) -> Iterator[Change]:
    """In what the second root differs from the first one, by path."""
    by_path = ByPath(repository, first, second)
    waiting = [(first, second, b"")]
    while waiting:
        one, two, above = waiting.pop()
        if one == two:
            continue
        by_path.into(one or two, above.count(b"/"))
        before = {node.name: node for node in _nodes(repository, one)} if one else {}
        after = {node.name: node for node in _nodes(repository, two)} if two else {}
        deeper: list[tuple[bytes, bytes, bytes]] = []
        for name in sorted(before.keys() | after.keys()):
            path = above + b"/" + name
            old, new = before.get(name), after.get(name)
            if (sign := _sign(old, new)) is not None:
                yield Change(sign, path)
            if subtree_of(old) or subtree_of(new):
                deeper.append((subtree_of(old), subtree_of(new), path))
        waiting += reversed(deeper)


def subtree_of(node: Node | None) -> bytes:
    return node.subtree if node is not None else b""


def _sign(old: Node | None, new: Node | None) -> str | None:
    if old is None or new is None:
        return REMOVED if new is None else ADDED
    if old.type != new.type:
        return TYPE
    if old.type == FILE and old.content != new.content:
        return CONTENT
    return METADATA if _metadata(old) != _metadata(new) else None


def _metadata(node: Node) -> Node:
    """Without what a copy of the same entry has otherwise."""
    return node._replace(content=None, subtree=b"", inode=0, device_id=0, ctime_ns=0, atime_ns=0, links=0)


def _nodes(repository: Repository, tree: bytes) -> Iterator[Node]:
    return iter(nodes_of(repository, tree))
