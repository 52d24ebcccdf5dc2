"""What a restore would do to a folder, before it does: every entry that would be made, changed or replaced."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backup.repository.care.reaching import ByPath, nodes_of
from backup.repository.faults import Damaged
from backup.repository.format.trees import DIR, FILE, SOCKET, Node
from backup.repository.ports import Missing
from backup.repository.repository import Repository
from backup.repository.restore.existing import (
    ENTRY_PATH,
    Overwrite,
    Treatment,
    holds,
    judge,
    open_file_in,
    same_metadata,
    same_special,
    stat_in,
)
from backup.repository.restore.listing import ADDED, CONTENT, METADATA, TYPE, Change
from backup.repository.restore.placing import FOLDER_OPEN
from backup.repository.save.walk import Way

NAMES_MAX = 1 << 31  # it is only read


@dataclass
class _Folder:
    """A folder of the snapshot and the one in its place, open; -1: nothing is there."""

    path: bytes
    left: Iterator[Node]
    way: Way
    place: int


class Comparing:
    """Writes nothing. ``kept`` counts what is there and would stay as it is because of ``overwrite``."""

    def __init__(self, repository: Repository, overwrite: Overwrite) -> None:
        self.kept = 0
        self.faults: list[str] = []  # what cannot be read, there or here
        self._repository = repository
        self._overwrite = overwrite

    def run(self, tree: bytes, target: Path, way: Way) -> Iterator[Change]:
        """Signs as with ``diff``: + made, M other content, U other metadata, T another type that would go first."""
        try:
            root = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            root = -1
        by_path = ByPath(self._repository, tree)
        open_ = [_Folder(b"", self._nodes(tree, b"/"), way, root)]
        try:
            while open_:
                folder = open_[-1]
                node = next(folder.left, None)
                if node is None:
                    _close(open_.pop().place)
                    continue
                below = folder.way if folder.way.whole else folder.way.parts.get(node.name)
                if below is None or node.type == SOCKET:
                    continue
                path = folder.path + b"/" + node.name
                sign, place = self._met(folder.place, node, path)
                if sign:
                    yield Change(sign, path)
                if node.type == DIR and place is not None:
                    by_path.into(node.subtree, len(open_))
                    open_.append(_Folder(path, self._nodes(node.subtree, path), below, place))
        finally:
            for folder in open_:
                _close(folder.place)

    def _nodes(self, tree: bytes, path: bytes) -> Iterator[Node]:
        try:
            return iter(nodes_of(self._repository, tree))
        except (Damaged, Missing) as error:
            self.faults.append(f"{os.fsdecode(path)}: {error.why}")
            return iter(())

    def _met(self, folder: int, node: Node, path: bytes) -> tuple[str, int | None]:
        """The sign, empty for none; of a folder the one in its place, None where what is below it cannot come."""
        try:
            found = stat_in(folder, node.name) if folder >= 0 else None
            verdict = judge(node, found, self._overwrite)
            if found is None or verdict is Treatment.NEW:
                return ADDED, -1
            if verdict is Treatment.REPLACE:
                return TYPE, -1
            if node.type == DIR:
                place = os.open(node.name, FOLDER_OPEN, dir_fd=folder)
                return METADATA if verdict is not Treatment.KEEP and not same_metadata(
                    node, found, place
                ) else "", place
            if verdict is Treatment.KEEP:
                self.kept += 1
                return "", None
            return self._sign(folder, node, found, verdict), None
        except OSError as error:
            self.faults.append(f"{os.fsdecode(path)}: {error.strerror or error}")
            return "", None

    def _sign(self, folder: int, node: Node, found: os.stat_result, verdict: Treatment) -> str:
        if node.type == FILE:
            if verdict is not Treatment.SAME and not self._has_content(folder, node, found):
                return CONTENT
        elif not same_special(node, found, folder):
            return CONTENT
        entry = os.open(node.name, ENTRY_PATH, dir_fd=folder)
        try:
            return "" if same_metadata(node, found, f"/proc/self/fd/{entry}") else METADATA
        finally:
            os.close(entry)

    def _has_content(self, folder: int, node: Node, found: os.stat_result) -> bool:
        if found.st_size != node.size:
            return False
        file = open_file_in(folder, node.name, NAMES_MAX, write=False)
        try:
            return self._all_held(file, node.content or ())
        finally:
            os.close(file)

    def _all_held(self, file: int, content: Sequence[bytes]) -> bool:
        at = 0
        for id_ in content:
            where = self._repository.where(id_, tree=False)
            if where is None or not holds(file, at, where.blob.plain_bytes, id_):
                return False
            at += where.blob.plain_bytes
        return True


def _close(place: int) -> None:
    if place >= 0:
        os.close(place)
