"""Repositories as somebody with their key, or with their disk alone, would make them to fill memory or to never end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import zstandard

from backup.repository.format.compression import COMPRESSED
from backup.repository.format.index import index_text
from backup.repository.format.packs import Blob, seal_header
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import DIR, FILE, Node, node_text, tree_text
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.save.pipeline import Packing
from tests.backup.repository.sample import NOW

GIB = 1 << 30
MIB = 1 << 20
FOLDER = Node(b"", DIR, 0, 5, 5, 5, 0, 0)


def folder(name: bytes, subtree: bytes) -> Node:
    return FOLDER._replace(name=name, mode=1 << 31 | 0o755, subtree=subtree)


def doubling(repository: Repository, levels: int = 30, lost: bool = False, salt: bytes = b"") -> Snapshot:
    """A folder that names one tree twice, which names one twice, and so on. ``lost``: a blob at the end is nowhere."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    content = b"at the end" + salt
    id_ = hashlib.sha256(b"nowhere").digest() if lost else packing.keep(content)
    nodes = [Node(b"file", FILE, 0o644, 5, 5, 5, 0, 0, size=len(content), content=(id_,))]
    tree = packing.keep(tree_text(map(node_text, nodes)), tree=True)
    for _ in range(levels):
        tree = packing.keep(tree_text(node_text(folder(name, tree)) for name in (b"a", b"b")), tree=True)
    packing.finish()
    return snapshot_of_tree(repository, tree)


def deep(repository: Repository, levels: int, lost: bool = False) -> Snapshot:
    """Folders in one another. ``lost``: the content of a file in the last one is nowhere."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    id_ = hashlib.sha256(b"nowhere").digest() if lost else packing.keep(b"content")
    file = Node(b"file", FILE, 0o644, 5, 5, 5, 0, 0, size=len(b"content"), content=(id_,))
    tree = packing.keep(tree_text([node_text(file)]), tree=True)
    for _ in range(levels):
        tree = packing.keep(tree_text([node_text(folder(b"d", tree))]), tree=True)
    packing.finish()
    return snapshot_of_tree(repository, tree)


def snapshot_of_tree(repository: Repository, tree: bytes) -> Snapshot:
    made = Snapshot(NOW, tree, ("/",), "host", "user")
    return repository.snapshot(repository.save_file(Kind.SNAPSHOTS, made.as_json()))


def frame(begin: bytes, size: int, unit: bytes) -> bytes:
    """A zstd frame of ``size`` bytes, made without ever holding them."""
    packing = zstandard.ZstdCompressor(level=1).compressobj(size=size)
    out = [packing.compress(begin)]
    left = size - len(begin)
    piece = (unit * (MIB // len(unit) + 1))[:MIB]
    while left:
        out.append(packing.compress(piece[:left]))
        left -= min(left, len(piece))
    return b"".join(out) + packing.flush()


def sealed_file(repository: Repository, kind: Kind, packed: bytes) -> None:
    sealed = repository.sealer.seal(packed)
    repository.store.save(kind, hashlib.sha256(sealed).hexdigest(), sealed)


def sparse(root: Path, kind: Kind, name: str, size: int, tail: bytes = b"") -> None:
    path = root / kind / (name[:2] if kind is Kind.DATA else "") / name
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size - len(tail))
        file.seek(0, 2)
        file.write(tail)


def pack_of(repository: Repository, sealed: bytes, told: list[Blob], indexed: list[Blob]) -> None:
    whole = sealed + seal_header(told, repository.sealer)
    pack = hashlib.sha256(whole).digest()
    repository.store.save(Kind.DATA, pack.hex(), whole)
    repository.save_file(Kind.INDEX, index_text([(pack, indexed)]))


def an_index_of_a_blob_of_4_gib(repository: Repository, root: Path) -> None:
    pack = bytes.fromhex(next(iter(repository.store.names(Kind.DATA))).name)
    blob = Blob(b"\x22" * 32, False, 0, 2**32 - 1, 2**32 - 1)
    repository.save_file(Kind.INDEX, index_text([(pack, [blob])]))


def a_tree_whose_frame_unpacks_to_2_gb(repository: Repository, root: Path) -> None:
    sealed = repository.sealer.seal(frame(b"", 2_000_000_000, b"\0"))
    blob = Blob(b"\x23" * 32, True, 0, len(sealed), 1000)
    pack_of(repository, sealed, [blob], [blob])
    snapshot_of_tree(repository, blob.id)


def a_pack_whose_header_tells_of_a_blob_of_4_gib(repository: Repository, root: Path) -> None:
    whole = b"x" * 40 + seal_header([Blob(b"\x24" * 32, False, 0, 2**32 - 1, 0)], repository.sealer)
    repository.store.save(Kind.DATA, hashlib.sha256(whole).hexdigest(), whole)


def a_snapshot_of_1_gb(repository: Repository, root: Path) -> None:
    sealed_file(repository, Kind.SNAPSHOTS, COMPRESSED + frame(b'{"time":"', GIB, b"a"))


def a_snapshot_that_is_all_brackets(repository: Repository, root: Path) -> None:
    sealed_file(repository, Kind.SNAPSHOTS, COMPRESSED + frame(b"[", 60 * MIB, b"[],"))


def a_snapshot_that_is_nested_without_end(repository: Repository, root: Path) -> None:
    sealed_file(repository, Kind.SNAPSHOTS, COMPRESSED + frame(b"[", 900_000, b"["))


def an_index_of_1_gb_of_junk(repository: Repository, root: Path) -> None:
    sparse(root, Kind.INDEX, "ab" * 32, GIB)


def a_snapshot_of_1_gb_of_junk(repository: Repository, root: Path) -> None:
    sparse(root, Kind.SNAPSHOTS, "ab" * 32, GIB)


def a_lock_and_a_key_of_1_gb(repository: Repository, root: Path) -> None:
    sparse(root, Kind.LOCKS, "ab" * 32, GIB)
    sparse(root, Kind.KEYS, "00" * 32, GIB)


def a_pack_of_5_gb_with_a_header_of_1_gb(repository: Repository, root: Path) -> None:
    sparse(root, Kind.DATA, "ab" * 32, 5 * GIB, GIB.to_bytes(4, "little"))


def a_pack_of_1_mb_with_a_header_of_1_gb(repository: Repository, root: Path) -> None:
    sparse(root, Kind.DATA, "ab" * 32, MIB, GIB.to_bytes(4, "little"))


BIG: tuple[Callable[[Repository, Path], None], ...] = (
    an_index_of_a_blob_of_4_gib,
    a_tree_whose_frame_unpacks_to_2_gb,
    a_pack_whose_header_tells_of_a_blob_of_4_gib,
    a_snapshot_of_1_gb,
    a_snapshot_that_is_all_brackets,
    a_snapshot_that_is_nested_without_end,
    an_index_of_1_gb_of_junk,
    a_snapshot_of_1_gb_of_junk,
    a_lock_and_a_key_of_1_gb,
    a_pack_of_5_gb_with_a_header_of_1_gb,
    a_pack_of_1_mb_with_a_header_of_1_gb,
)
