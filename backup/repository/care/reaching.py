"""What snapshots need: every blob that a tree names, and what of it is not there, with the files that it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from backup.repository.faults import Damaged, Hostile
from backup.repository.format.trees import DIR, FILE, Node, tree_nodes
from backup.repository.ports import Missing
from backup.repository.repository import Repository

SHORT = 8

Here = Callable[[bytes, bool], bool]  # a blob's id, and whether it is a tree: is it there?


class Lack(NamedTuple):
    """A blob that is not there, and the path that needs it (below the root that was asked about)."""

    path: bytes
    id: bytes
    tree: bool
    why: str


def nodes_of(repository: Repository, tree: bytes) -> tuple[Node, ...]:
    """A tree's nodes; raises :class:`Damaged`, :class:`Missing` and :class:`Hostile`."""
    return tree_nodes(repository.load_blob(tree, tree=True), f"read tree {tree.hex()[:SHORT]}")


def reached(repository: Repository, roots: Iterable[bytes], seen: set[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Each blob that is needed below these roots, and whether it is a tree, folders before what is in them; trees that
    are in ``seen`` are not looked into again. A blob of data comes as often as it is named."""
    waiting = list(roots)
    while waiting:
        tree = waiting.pop()
        if tree in seen:
            continue
        seen.add(tree)
        yield tree, True
        for node in nodes_of(repository, tree):
            if node.type == DIR:
                waiting.append(node.subtree)
            elif node.type == FILE:
                for id_ in node.content or ():
                    yield id_, False


@dataclass
class _Folder:
    """A tree that is being looked into."""

    tree: bytes
    name: bytes
    left: Iterator[Node]
    lacks: list[Lack] = field(default_factory=list)


class Lacks:
    """What is lacking below roots; each tree is read once, however many snapshots share it."""

    def __init__(self, repository: Repository, here: Here) -> None:
        self._repository = repository
        self._here = here
        self._whole: set[bytes] = set()
        self._known: dict[bytes, tuple[Lack, ...]] = {}  # of the trees that lack something

    def below(self, root: bytes) -> tuple[Lack, ...]:
        open_ = [self._opened(root, b"")]
        while True:
            folder = open_[-1]
            node = next(folder.left, None)
            if node is None:
                open_.pop()
                self._keep(folder)
                if not open_:
                    return self.known(root) or ()
                open_[-1].lacks += (_below(folder.name, lack) for lack in folder.lacks)
            elif node.type == DIR:
                known = self.known(node.subtree)
                if known is None:
                    open_.append(self._opened(node.subtree, node.name))
                else:
                    folder.lacks += (_below(node.name, lack) for lack in known)
            elif node.type == FILE:
                folder.lacks += (
                    Lack(b"/" + node.name, id_, False, "it is not there")
                    for id_ in dict.fromkeys(node.content or ())
                    if not self._here(id_, False)
                )

    def known(self, tree: bytes) -> tuple[Lack, ...] | None:
        """What is lacking below a tree that was looked into; None for another one."""
        return () if tree in self._whole else self._known.get(tree)

    def _opened(self, tree: bytes, name: bytes) -> _Folder:
        if not self._here(tree, True):
            return _Folder(tree, name, iter(()), [Lack(b"", tree, True, "it is not there")])
        try:
            return _Folder(tree, name, iter(nodes_of(self._repository, tree)))
        except (Damaged, Missing, Hostile) as error:
            return _Folder(tree, name, iter(()), [Lack(b"", tree, True, error.why)])

    def _keep(self, folder: _Folder) -> None:
        if folder.lacks:
            self._known[folder.tree] = tuple(folder.lacks)
        else:
            self._whole.add(folder.tree)


def _below(name: bytes, lack: Lack) -> Lack:
    return lack._replace(path=b"/" + name + lack.path)
