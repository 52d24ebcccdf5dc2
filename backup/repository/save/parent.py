"""A folder as the parent snapshot has it: what did not change since is not read again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from backup.repository.faults import Damaged
from backup.repository.format.index import Index
from backup.repository.format.trees import DIR, FILE, HEAD_END, node_texts
from backup.repository.ports import Missing
from backup.repository.repository import Repository

TYPE = '","type":"'
SUBTREE_BYTES = 32
ONE_BLOB = len('["' + 64 * "0" + '"]}')  # what follows the content's name, of a file of one blob


@dataclass
class Before:
    """Its entries."""

    rests: dict[str, str] = field(default_factory=dict)  # head of a node -> what follows its content's name
    folders: dict[str, bytes] = field(default_factory=dict)  # name, as JSON -> its tree
    files: frozenset[str] = frozenset()  # names, as JSON


def before_of(repository: Repository, tree: bytes | None, distrust: Callable[[bytes], None]) -> Before:
    """A folder of the parent snapshot. One that is lost costs reading its files again, and nothing else."""
    if tree is None or not repository.index.has(tree, tree=True):
        return Before()
    before, files = Before(), []
    try:
        told = repository.load_blob(tree, tree=True)
    except (Damaged, Missing) as error:
        repository.damaged.append(f"{error.what}: {error.why}")
        distrust(tree)
        return before
    try:
        for text in node_texts(told):
            head, _, rest = text.partition(HEAD_END)
            name, _, type_ = head.partition(TYPE)
            before.rests[head] = rest
            if type_.startswith(DIR) and len(subtree := bytes.fromhex(rest[-66:-2])) == SUBTREE_BYTES:
                before.folders[name] = subtree
            elif type_.startswith(FILE):
                files.append(name)
    except ValueError:  # spelt otherwise than anybody spells it: its files are read again
        return Before()
    return replace(before, files=frozenset(files))


def all_kept(index: Index, rest: str) -> bool:
    """Are all blobs of a parent's file still there?"""
    has = index.has
    try:
        if len(rest) == ONE_BLOB:
            return has(bytes.fromhex(rest[2:-3]), False)
        if not rest.startswith("["):
            return False
        return all(has(bytes.fromhex(id_), False) for id_ in rest[: rest.index("]")].split('"')[1::2])
    except (ValueError, IndexError):  # no ids of ours
        return False


def name_of(head: str) -> str:
    """A node's name as its text begins with it."""
    return head.partition(TYPE)[0]
