"""The cases of damage that restic's own tests keep, made here by code; the real restic judges what came of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.care.copying_blobs import CopyingBlobs
from backup.repository.care.repairing import Repaired, Repairing
from backup.repository.care.repairing_snapshots import Rewriting
from backup.repository.format.index import index_text
from backup.repository.format.packs import Blob, seal_header
from backup.repository.ports import Kind
from backup.repository.repository import Repository, create, open_repository
from backup.repository.save.pipeline import Packing
from backup.repository.save.saving import Request, save
from backup.repository.stores.folder import FolderStore
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new, reopened
from tests.restic import Restic, demand_restic

Case = Callable[[Repository], None]


@pytest.fixture(scope="module")
def restic() -> Restic:
    return demand_restic()


@pytest.fixture
def kept(tmp_path: Path) -> Repository:
    source = tmp_path / "source"
    (source / "below").mkdir(parents=True)
    for number in range(4):
        (source / f"file{number}").write_bytes(noise(number, 3000))
        (source / "below" / f"text{number}").write_bytes(f"text {number} ".encode() * 300)
    made = create(FolderStore(tmp_path / "repository"), PASSWORD, HOLDER, NOW, CHEAP)
    save(made, Request((str(source),), HOLDER), SystemClock())
    return reopened(made)


def packs_of(repository: Repository) -> list[tuple[bytes, tuple[Blob, ...]]]:
    return [(pack, tuple(blobs)) for _, packs in repository.index_files() for pack, blobs in packs]


def name_anew(repository: Repository, packs: list[tuple[bytes, tuple[Blob, ...]]]) -> None:
    """One index of just these in place of all others."""
    old = [each.name for each in repository.store.names(Kind.INDEX)]
    made = repository.save_file(Kind.INDEX, index_text(packs))
    for name in old:
        if name != made:
            repository.store.remove(Kind.INDEX, name)


def duplicated_blobs(repository: Repository) -> None:
    """Every blob of data in one pack more, as two writers at once leave it."""
    for pack, blobs in packs_of(repository):
        content, sealed, anew = bytearray(), repository.store.load(Kind.DATA, pack.hex()), []
        for blob in blobs[::-1]:
            anew.append(blob._replace(offset=len(content)))
            content += sealed[blob.offset : blob.offset + blob.length]
        keep_pack(repository, bytes(content), anew, anew)


def keep_pack(repository: Repository, content: bytes, told: list[Blob], indexed: list[Blob]) -> None:
    whole = content + seal_header(told, repository.sealer)
    name = hashlib.sha256(whole).digest()
    repository.store.save(Kind.DATA, name.hex(), whole)
    repository.save_file(Kind.INDEX, index_text([(name, indexed)]))


def an_index_that_names_a_missing_pack(repository: Repository) -> None:
    repository.save_file(Kind.INDEX, index_text([(b"\x11" * 32, (Blob(b"\x22" * 32, False, 0, 100, 0),))]))


def an_index_that_tells_other_places(repository: Repository) -> None:
    packs = packs_of(repository)
    wrong = tuple(blob._replace(offset=blob.offset + 1) for blob in packs[0][1])
    name_anew(repository, [(packs[0][0], wrong), *packs[1:]])


def an_index_without_a_blob(repository: Repository) -> None:
    packs = packs_of(repository)
    name_anew(repository, [(pack, blobs[:-1]) for pack, blobs in packs])


def a_pack_with_a_wrong_header(repository: Repository) -> None:
    """As a faulty writer left it: the name is right, the header tells nonsense, the index knows."""
    packs = packs_of(repository)
    pack, blobs = packs[0]
    sealed = repository.store.load(Kind.DATA, pack.hex())[: sum(blob.length for blob in blobs)]
    wrong = [blob._replace(id=bytes(32)) for blob in blobs]
    name_anew(repository, packs[1:])
    keep_pack(repository, sealed, wrong, list(blobs))
    repository.store.remove(Kind.DATA, pack.hex())


def packs_that_no_index_names(repository: Repository) -> None:
    for each in list(repository.store.names(Kind.INDEX)):
        repository.store.remove(Kind.INDEX, each.name)


def packs_that_nothing_needs(repository: Repository) -> None:
    packing = Packing(repository, verify=True, guard=lambda: None)
    packing.keep(b"of an interrupted backup")
    packing.finish()
    (named,) = [each.name for each in repository.store.names(Kind.INDEX) if len(packs_in(repository, each.name)) == 1]
    repository.store.remove(Kind.INDEX, named)


def packs_that_are_named_twice(repository: Repository) -> None:
    """restic's duplicate-packs-in-index: by two indexes, and twice by one, which restic takes for damage."""
    packs = packs_of(repository)
    repository.save_file(Kind.INDEX, index_text([packs[0], packs[0], *packs]))


def a_pack_of_trees_and_data(repository: Repository) -> None:
    """restic's repo-mixed: as it wrote packs before version 2 kept the two apart."""
    content, blobs, packs = bytearray(), [], packs_of(repository)
    for pack, told in packs:
        sealed = repository.store.load(Kind.DATA, pack.hex())
        for blob in told:
            blobs.append(blob._replace(offset=len(content)))
            content += sealed[blob.offset : blob.offset + blob.length]
    old = [each.name for each in repository.store.names(Kind.INDEX)]
    keep_pack(repository, bytes(content), blobs, blobs)
    for name in old:
        repository.store.remove(Kind.INDEX, name)
    for pack, _ in packs:
        repository.store.remove(Kind.DATA, pack.hex())


def an_index_that_supersedes_another_that_is_still_there(repository: Repository) -> None:
    """restic's repo-obsolete-index: what one of old says of others is passed over."""
    (old,) = repository.store.names(Kind.INDEX)
    told = json.loads(repository.load_file(Kind.INDEX, old.name))
    repository.save_file(Kind.INDEX, json.dumps({"supersedes": [old.name], **told}).encode())


def a_tree_with_fields_that_nobody_knows(repository: Repository) -> None:
    """restic's copy-unstable-json: it would be spelt otherwise by whoever writes it anew."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    root = json.loads(repository.load_blob(repository.snapshots()[0].tree, tree=True))
    nodes = [{"unknown": 1, **dict(reversed(node.items()))} for node in root["nodes"]]
    tree = packing.keep(json.dumps({"later": None, "nodes": nodes}, indent=1).encode(), tree=True)
    packing.finish()
    name = repository.save_file(Kind.SNAPSHOTS, replace(repository.snapshots()[0], tree=tree).as_json())
    repository.store.remove(
        Kind.SNAPSHOTS, next(x.name for x in repository.store.names(Kind.SNAPSHOTS) if x.name != name)
    )


def packs_in(repository: Repository, index: str) -> list[object]:
    return list(repository.index_file(index))


def a_missing_tree(repository: Repository) -> None:
    lose(repository, tree_of(repository, b"below"))


def a_missing_root(repository: Repository) -> None:
    """A second snapshot, of a tree that never was."""
    told = replace(repository.snapshots()[0], tree=b"\x33" * 32)
    repository.save_file(Kind.SNAPSHOTS, told.as_json())


def a_missing_blob(repository: Repository) -> None:
    lose(repository, next(blob for _, blobs in packs_of(repository) for blob in blobs if not blob.tree).id)


def a_tree_of_wrong_content(repository: Repository) -> None:
    """It bears its id, and is no tree: names twice, and out of order."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    root = json.loads(repository.load_blob(repository.snapshots()[0].tree, tree=True))
    nodes = {"nodes": [*root["nodes"], *root["nodes"]]}
    tree = packing.keep(json.dumps(nodes).encode() + b"\n", tree=True)
    packing.finish()
    repository.save_file(Kind.SNAPSHOTS, replace(repository.snapshots()[0], tree=tree).as_json())


def tree_of(repository: Repository, name: bytes) -> bytes:
    from backup.repository.restore.listing import entries
    from backup.repository.save.walk import Way

    root = repository.snapshots()[0].tree
    return next(node.subtree for _, node in entries(repository, root, Way(whole=True)) if node.name == name)


def lose(repository: Repository, id_: bytes) -> None:
    """Flip a bit of that blob in its pack."""
    pack, blob = next((pack, blob) for pack, blobs in packs_of(repository) for blob in blobs if blob.id == id_)
    content = bytearray(repository.store.load(Kind.DATA, pack.hex()))
    content[blob.offset + 20] ^= 1
    repository.store.remove(Kind.DATA, pack.hex())
    repository.store.save(Kind.DATA, pack.hex(), content)


def repaired(repository: Repository) -> Repaired:
    return Repairing(open_repository(repository.store, PASSWORD), None, lambda: None, Share()).run()


def rewritten(repository: Repository) -> None:
    Rewriting(reopened(repository), lambda: None).run(forget=True)


def holds(repository: Repository, restic: Restic, root: Path) -> None:
    assert Checking(open_repository(repository.store, PASSWORD), Share()).run().faults == []
    assert "no errors were found" in restic.run(root, "check", "--read-data", password=PASSWORD)


@pytest.mark.parametrize(
    "case",
    [
        duplicated_blobs,
        an_index_that_names_a_missing_pack,
        an_index_that_tells_other_places,
        an_index_without_a_blob,
        a_pack_with_a_wrong_header,
        packs_that_no_index_names,
        packs_that_nothing_needs,
        packs_that_are_named_twice,
        a_pack_of_trees_and_data,
        an_index_that_supersedes_another_that_is_still_there,
        a_tree_with_fields_that_nobody_knows,
    ],
)
def test_what_costs_nobody_anything_is_mended_here_and_restic_finds_no_error(
    kept: Repository, tmp_path: Path, restic: Restic, case: Case
) -> None:
    before = kept.snapshots()
    case(kept)
    if case is a_tree_with_fields_that_nobody_knows:
        before = kept.snapshots()
    if case is packs_that_are_named_twice:
        notes = Checking(reopened(kept), Share(0, 0)).run().notes
        assert "names a pack twice" in " ".join(notes)
    assert repaired(kept).lost == []
    assert kept.snapshots() == before
    holds(kept, restic, tmp_path / "repository")
    assert repaired(kept).mended == []


def test_a_tree_that_is_spelt_otherwise_is_copied_as_it_is(kept: Repository) -> None:
    a_tree_with_fields_that_nobody_knows(kept)
    other, one = new(), reopened(kept)
    assert CopyingBlobs(one, other, lambda: None).run(one.snapshots()).faults == []
    assert [each.tree for each in other.snapshots()] == [each.tree for each in one.snapshots()]
    assert Checking(reopened(other), Share()).run().faults == []


@pytest.mark.parametrize("case", [a_missing_tree, a_missing_root, a_missing_blob, a_tree_of_wrong_content])
def test_what_is_lost_is_named_and_left_out_when_asked_and_restic_finds_no_error_then(
    kept: Repository, tmp_path: Path, restic: Restic, case: Case
) -> None:
    case(kept)
    lost = repaired(kept).lost
    assert lost
    assert all("of snapshot" in sentence for sentence in lost)
    rewritten(kept)
    assert repaired(kept).lost == []
    holds(kept, restic, tmp_path / "repository")
    assert restic.run(tmp_path / "repository", "ls", "latest", password=PASSWORD)
