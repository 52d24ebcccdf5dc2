"""What restic 0.19.1 wrote is read to the last field, and spelt again to the last byte."""

from __future__ import annotations

import hashlib

import pytest

from backup.repository.format.packs import header_span, open_header, pack_bytes
from backup.repository.format.parsing import tree_nodes
from backup.repository.format.trees import Node, node_text, node_texts, tree_text
from backup.repository.ports import Kind
from backup.repository.repository import open_repository
from backup.repository.stores.folder import FolderStore
from tests.backup.repository.sample import GOLDEN, GOLDEN_PASSWORDS, golden


def test_both_of_its_passwords_open_it() -> None:
    first, second = (open_repository(FolderStore(GOLDEN), password) for password in GOLDEN_PASSWORDS)
    assert first.key == second.key
    assert first.key_name != second.key_name
    assert first.config.chunker_polynomial.bit_length() == 54


def test_its_trees_are_spelt_again_byte_for_byte() -> None:
    repository = golden()
    trees = [blob for _, packs in repository.index_files() for _, blobs in packs for blob in blobs if blob.tree]
    assert len(trees) == 3
    for blob in trees:
        text = repository.load_blob(blob.id, tree=True)
        nodes = tree_nodes(text, "read")
        assert tree_text(map(node_text, nodes)) == text
        assert list(node_texts(text)) == [node_text(node) for node in nodes]


def test_what_its_index_says_is_what_its_packs_say() -> None:
    repository = golden()
    for _, packs in repository.index_files():
        for pack, blobs in packs:
            content = repository.store.load(Kind.DATA, pack.hex())
            assert hashlib.sha256(content).digest() == pack
            assert len(content) == pack_bytes(blobs)
            offset, length = header_span(content[-4:], len(content), "read")
            assert open_header(content[offset : offset + length], repository.sealer, "read") == tuple(blobs)


def test_every_kind_of_entry_is_understood() -> None:
    found = {node.name: node for node in entries()}
    assert {name: node.type for name, node in found.items()} == {
        b"a": "file",
        b"blk": "dev",
        b"chr": "chardev",
        b"d": "dir",
        b"empty": "file",
        b"fifo": "fifo",
        b"hard": "file",
        b'n\xff"<\\\x01\xc3\xa9\xe2\x80\xa8\xc2\xad': "file",
        b"sym": "symlink",
        b"symraw": "symlink",
        b"text": "file",
    }
    assert found[b"a"].attributes == (("user.b", b"v1"), ("user.a", b""))
    assert found[b"a"].inode == found[b"hard"].inode
    assert (found[b"a"].links, found[b"a"].mtime_ns) == (2, 1_577_934_245_120_000_000)
    assert found[b"empty"].mtime_ns == -1_500_000_000
    assert (found[b"empty"].content, found[b"fifo"].content) == ((), None)
    assert (found[b"sym"].target, found[b"symraw"].target) == (b"tgt<&>", b"raw\xff")
    assert (found[b"chr"].device, found[b"blk"].device) == (259, 1801)
    assert (found[b"d"].permissions, found[b"text"].uid, found[b"text"].gid) == (0o2775, 12345, 54321)


def test_a_file_of_it_is_read() -> None:
    text = next(node for node in entries() if node.name == b"text")
    content = b"".join(golden().load_blob(id_, tree=False) for id_ in text.content or ())
    assert content == b"".join(b"line %d of a text that compresses\n" % number for number in range(4000))


@pytest.mark.parametrize("field", ["hostname", "username", "program_version", "paths"])
def test_its_snapshot_tells_where_it_is_from(field: str) -> None:
    (snapshot,) = golden().snapshots()
    wanted = {"hostname": "golden", "username": "root", "program_version": "restic 0.19.1"}
    assert getattr(snapshot, field) == wanted.get(field, snapshot.paths)
    assert snapshot.paths[0].endswith("/src")


def entries() -> tuple[Node, ...]:
    repository = golden()
    (snapshot,) = repository.snapshots()
    (top,) = tree_nodes(repository.load_blob(snapshot.tree, tree=True), "read")
    return tree_nodes(repository.load_blob(top.subtree, tree=True), "read")
