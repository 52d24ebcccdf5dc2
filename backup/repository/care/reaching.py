"""What snapshots need: every blob that a tree names, and what of it is not there, with the files that it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from backup.repository.faults import Damaged, Hostile
from backup.repository.format.parsing import tree_nodes
from backup.repository.format.trees import DIR, FILE, Node
from backup.repository.ports import Missing
from backup.repository.repository import Repository
from ncia.core.base.ids import SHORT

DEPTH_MAX = 4096  # folders; a path that a system takes has 4,096 bytes
PATHS_MAX = 1 << 28  # of a snapshot that is gone through by path
LOOKED_FROM = 10_000  # folders; before that nothing is counted
REPEATS = 100  # so many times as many folders as trees: then it is counted
BINS = 1 << 16
LACKS_BYTES_MAX = 1 << 20  # of paths that one folder tells of; what lacks more is told by its first ones
LACKS_BYTES_ALL = 64 << 20  # of those of all folders; beyond it each tells of fewer
LACKS_BYTES_FEW = 16 << 10

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


class ByPath:
    """For whoever goes through snapshots by path, and so into one tree as often as it is named: two names for each of
    thirty levels are a thousand million folders in thirty trees. Where folders are many more than trees the paths are
    counted, by reading each tree once."""

    def __init__(self, repository: Repository, *roots: bytes) -> None:
        self._repository = repository
        self._roots = roots
        self._folders = 0
        self._bins = bytearray(BINS)  # of the first two bytes of trees: about how many there are
        self._trees = 0
        self._counted = False

    def into(self, tree: bytes, depth: int) -> None:
        """Raises :class:`Hostile` where no end is to be expected."""
        if depth > DEPTH_MAX:
            raise Hostile("go through the folders of a snapshot", f"one lies below {DEPTH_MAX} others")
        self._folders += 1
        at = tree[0] << 8 | tree[1]
        if not self._bins[at]:
            self._bins[at] = 1
            self._trees += 1
        if self._folders > LOOKED_FROM and self._folders > REPEATS * self._trees and not self._counted:
            for root in self._roots:
                if root:
                    _demand_few_paths(self._repository, root)
            self._counted = True


@dataclass
class _Counting:
    """A tree, and the trees in it whose paths are not counted yet."""

    tree: bytes
    left: list[bytes]
    count: int


def _demand_few_paths(repository: Repository, root: bytes) -> None:
    what = "go through the folders of a snapshot"
    paths: dict[bytes, int] = {}  # below a tree
    open_ = [_counting(repository, root)]
    while open_:
        if len(open_) > DEPTH_MAX:
            raise Hostile(what, f"one lies below {DEPTH_MAX} others")
        folder = open_[-1]
        if not folder.left:
            paths[folder.tree] = folder.count
            open_.pop()
        elif (known := paths.get(folder.left[-1])) is not None:
            folder.left.pop()
            folder.count += known
        else:
            open_.append(_counting(repository, folder.left[-1]))
        if folder.count > PATHS_MAX:
            why = f"{len(paths)} trees name each other so often that they stand for more than {PATHS_MAX} paths"
            raise Hostile(what, why)


def _counting(repository: Repository, tree: bytes) -> _Counting:
    """What cannot be read holds nothing."""
    try:
        nodes = nodes_of(repository, tree)
    except (Damaged, Missing, Hostile):
        nodes = ()
    return _Counting(tree, [node.subtree for node in nodes if node.type == DIR], len(nodes))


@dataclass
class _Folder:
    """A tree that is being looked into."""

    tree: bytes
    name: bytes
    left: Iterator[Node]
    lacks: list[Lack] = field(default_factory=list)
    used: int = 0  # bytes of their paths
    cut: bool = False  # it lacks more than it tells

    def add(self, lacks: Iterable[Lack], room: int) -> None:
        for lack in lacks:
            if self.used > room:
                self.cut = True
                return
            self.used += len(lack.path)
            self.lacks.append(lack)


class Lacks:
    """What is lacking below roots; each tree is read once, however many snapshots share it. Of a folder that lacks very
    much the first ones are told, and ``cut`` says so: two names for each of thirty levels are a thousand million paths
    of one lost blob."""

    def __init__(self, repository: Repository, here: Here) -> None:
        self._repository = repository
        self._here = here
        self._whole: set[bytes] = set()
        self._known: dict[bytes, tuple[Lack, ...]] = {}  # of the trees that lack something
        self._used = 0
        self.cut = False

    def below(self, root: bytes) -> tuple[Lack, ...]:
        open_ = [self._opened(root, b"")]
        while True:
            folder, room = open_[-1], LACKS_BYTES_MAX if self._used < LACKS_BYTES_ALL else LACKS_BYTES_FEW
            node = next(folder.left, None)
            if node is None:
                open_.pop()
                self._keep(folder)
                if not open_:
                    return self.known(root) or ()
                open_[-1].add((_below(folder.name, lack) for lack in folder.lacks), room)
            elif node.type == DIR:
                known = self.known(node.subtree)
                if known is None and len(open_) > DEPTH_MAX:
                    why = f"it lies below {DEPTH_MAX} others"
                    folder.add([Lack(b"/" + node.name, node.subtree, True, why)], room)
                elif known is None:
                    open_.append(self._opened(node.subtree, node.name))
                else:
                    folder.add((_below(node.name, lack) for lack in known), room)
            elif node.type == FILE:
                lost = (id_ for id_ in dict.fromkeys(node.content or ()) if not self._here(id_, False))
                folder.add((Lack(b"/" + node.name, id_, False, "it is not there") for id_ in lost), room)

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
        self._used += folder.used
        self.cut = self.cut or folder.cut
        if folder.lacks:
            self._known[folder.tree] = tuple(folder.lacks)
        else:
            self._whole.add(folder.tree)


def _below(name: bytes, lack: Lack) -> Lack:
    return lack._replace(path=b"/" + name + lack.path)
