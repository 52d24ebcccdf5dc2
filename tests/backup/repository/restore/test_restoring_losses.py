from __future__ import annotations

import hashlib
import resource
import shutil
from collections import Counter
from pathlib import Path

import pytest

from backup.repository.format.index import Where
from backup.repository.format.trees import Node
from backup.repository.ports import Kind, StoreFault
from backup.repository.restore.existing import Overwrite
from backup.repository.save.pipeline import Packing
from backup.repository.save.saving import Request, save
from backup.repository.stores.retry import Unanswered
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import noise
from tests.backup.repository.restore.by_hand import (
    ALL,
    BY,
    ME,
    bring,
    failing_at,
    file_of,
    flip,
    made_by_hand,
    restoring_of,
)
from tests.backup.repository.sample import HOLDER, new, reopened


@BY
def test_what_this_system_cannot_keep_is_counted_and_named(tmp_path: Path, helped: bool) -> None:
    repository = new()
    odd = (
        file_of(b"attribute", attributes=(("strange.name", b"1"),)),
        file_of(b"owner", uid=2**63),
        Node(b"portal", "irregular", 0o644, 5, 5, 5, ME["uid"], ME["gid"]),
        file_of(b"times", mtime_ns=2**62),
    )
    told = bring(repository, made_by_hand(repository, *odd), tmp_path / "target", helped=helped)
    assert told.partial
    kinds = set(told.losses.counts)
    assert {"extended attribute strange.name", "owner", "irregular"} <= kinds
    assert "/portal: irregular not kept: no file system has a way to make one" in told.losses.named
    assert {path.name for path in (tmp_path / "target").iterdir()} == {"attribute", "owner", "times"}


@BY
def test_a_damaged_blob_costs_its_place_in_its_file_and_nothing_else(tmp_path: Path, helped: bool) -> None:
    repository = new()
    good, bad = b"good " * 100, b"bad " * 100
    snapshot = made_by_hand(repository, file_of(b"bad", bad), file_of(b"good", good), contents=(good, bad))
    opened = reopened(repository)
    where = opened.demand(hashlib.sha256(bad).digest(), tree=False)
    flip(repository, Kind.DATA, where.pack.hex(), where.blob.offset + 20)
    told = bring(repository, snapshot, tmp_path / "target", helped=helped)
    assert told.losses.named == [
        "/bad: content not kept: 400 bytes: the authenticator does not fit: the bytes are not those that were written"
    ]
    assert (tmp_path / "target" / "good").read_bytes() == good
    assert (tmp_path / "target" / "bad").read_bytes() == bytes(len(bad))


@BY
@pytest.mark.parametrize("kind", [Kind.DATA, Kind.INDEX])
def test_packs_or_indexes_that_are_gone_cost_what_was_in_them(tmp_path: Path, kind: Kind, helped: bool) -> None:
    repository = new()
    source = tmp_path / "source"
    source.mkdir()
    (source / "old").write_bytes(b"old")
    save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    before = {stored.name for stored in repository.store.names(kind)}
    (source / "new").write_bytes(b"new")
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    for name in before:
        repository.store.remove(kind, name)
    told = bring(repository, saved.snapshot, tmp_path / "target", helped=helped)
    inside = tmp_path / "target" / source.relative_to("/")
    assert told.losses.counts == Counter({"content": 1})
    assert ((inside / "new").read_bytes(), (inside / "old").read_bytes()) == (b"new", bytes(3))


def test_a_tree_that_is_gone_costs_what_was_in_its_folder(tmp_path: Path) -> None:
    repository = new()
    lost = Node(b"lost", "dir", 0o755 | 1 << 31, 5, 5, 5, ME["uid"], ME["gid"], subtree=b"?" * 32)
    snapshot = made_by_hand(repository, file_of(b"kept", b"content"), lost, contents=(b"content",))
    told = bring(repository, snapshot, tmp_path / "target")
    assert told.losses.named == ["/lost: everything in the folder not kept: no index tells where it is"]
    assert (tmp_path / "target" / "kept").read_bytes() == b"content"
    assert (tmp_path / "target" / "lost").stat().st_mtime_ns == 5


def test_a_tree_that_is_none_costs_what_was_in_its_folder_and_nothing_else(tmp_path: Path) -> None:
    """It has the hash that is its id: whoever wrote it wrote no tree."""
    repository = new()
    packing = Packing(repository, verify=True, guard=lambda: None)
    none = packing.keep(b'{"nodes":5}\n', tree=True)
    packing.finish()
    folder = Node(b"folder", "dir", 1 << 31 | 0o755, 5, 5, 5, ME["uid"], ME["gid"], subtree=none)
    snapshot = made_by_hand(repository, file_of(b"file", b"dear"), folder, contents=(b"dear",))
    restored = bring(repository, snapshot, tmp_path / "target")
    assert restored.losses.counts == Counter({"everything in the folder": 1})
    assert (tmp_path / "target" / "file").read_bytes() == b"dear"


@BY
def test_a_pack_that_cannot_be_read_costs_its_files_and_ends_nothing(tmp_path: Path, helped: bool) -> None:
    repository = new()
    snapshot = made_by_hand(repository, file_of(b"file", b"content"), contents=(b"content",))
    opened = reopened(repository)
    failing_at(opened, b"content", StoreFault("repository.failed", "load", "input/output error"))
    with restoring_of(opened, helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert told.losses.named == ["/file: content not kept: 7 bytes: input/output error"]


@BY
def test_a_store_that_gives_no_answer_ends_the_restore(tmp_path: Path, helped: bool) -> None:
    repository = new()
    snapshot = made_by_hand(repository, file_of(b"file", b"content"), contents=(b"content",))
    opened = reopened(repository)
    failing_at(opened, b"content", Unanswered("repository.unanswered", "load", "it does not answer"))
    with pytest.raises(Unanswered, match="does not answer"), restoring_of(opened, helped) as restoring:
        restoring.run(snapshot, tmp_path / "target", ALL)


@BY
def test_a_blob_that_no_index_names_costs_its_place_and_the_file_is_not_taken_for_whole_later(
    tmp_path: Path, helped: bool
) -> None:
    contents = (b"before", b"lost", b"after")
    repository = new()
    node = file_of(b"file", b"".join(contents))._replace(
        content=tuple(hashlib.sha256(each).digest() for each in contents), mtime_ns=5_000_000_000
    )
    snapshot = made_by_hand(repository, node, contents=(b"before", b"after"))
    with restoring_of(reopened(repository), helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert (tmp_path / "target" / "file").read_bytes() == b"before" + bytes(4) + b"after"
    assert told.losses.counts == {"content": 1}
    packing = Packing(repository, verify=True, guard=lambda: None)
    packing.keep(b"lost")
    packing.finish()
    with restoring_of(reopened(repository), helped, overwrite=Overwrite.IF_CHANGED) as restoring:
        again = restoring.run(snapshot, tmp_path / "target", ALL)
    assert not again.partial
    assert (tmp_path / "target" / "file").read_bytes() == b"".join(contents)


@BY
def test_a_program_whose_owner_is_not_kept_does_not_run_as_another_one(tmp_path: Path, helped: bool) -> None:
    repository = new()
    program = file_of(b"file", b"content")._replace(mode=0o755 | 1 << 23, uid=2**40)  # a number that none can have
    snapshot = made_by_hand(repository, program, contents=(b"content",))
    with restoring_of(reopened(repository), helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert (tmp_path / "target" / "file").stat().st_mode & 0o7777 == 0o755
    assert told.losses.counts["set-user-id"] == 1


@BY
def test_a_disk_that_fills_leaves_no_file_that_is_taken_for_whole_later(tmp_path: Path, helped: bool) -> None:
    """Whatever mode of the next restore: by its size and time it must not look as the snapshot says."""
    repository = new()
    big, small = noise(1, 12_000_000), noise(2, 30_000)
    mtime = 1_000_000_000_000_000_000
    nodes = (file_of(b"big", big, mtime_ns=mtime), file_of(b"small", small, mtime_ns=mtime))
    pieces = tuple(big[at : at + 4_000_000] for at in range(0, len(big), 4_000_000))
    cut = nodes[0]._replace(content=tuple(hashlib.sha256(each).digest() for each in pieces))
    snapshot = made_by_hand(repository, cut, nodes[1], contents=(*pieces, small))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        told = bring(repository, snapshot, tmp_path / "target", helped=helped)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.losses.counts["content"] >= 2
    for overwrite in (Overwrite.IF_NEWER, Overwrite.IF_CHANGED):
        target = tmp_path / overwrite
        shutil.copytree(tmp_path / "target", target)
        again = bring(repository, snapshot, target, overwrite=overwrite)
        assert not again.partial
        assert ((target / "big").read_bytes(), (target / "small").read_bytes()) == (big, small)


@BY
def test_an_entry_that_no_system_takes_costs_itself_alone(tmp_path: Path, helped: bool) -> None:
    repository = new()
    nodes = (
        file_of(b"attribute", b"content", attributes=(("user.a\0b", b"1"),)),
        file_of(b"good", b"content"),
        Node(b"link", "symlink", 0o777, 5, 5, 5, ME["uid"], ME["gid"], target=b"to\0where"),
        file_of(b"long", b"content", size=2**64 - 1),
    )
    told = bring(
        repository, made_by_hand(repository, *nodes, contents=(b"content",)), tmp_path / "target", helped=helped
    )
    assert (tmp_path / "target" / "good").read_bytes() == b"content"
    assert set(told.losses.counts) == {"extended attribute user.a\0b", "symlink", "content"}


@BY
def test_two_blobs_that_an_index_tells_at_one_place_cost_one_of_them(tmp_path: Path, helped: bool) -> None:
    repository = new()
    contents = (b"one " * 100, b"two " * 100)
    files = [file_of(b"%d" % number, content) for number, content in enumerate(contents)]
    snapshot = made_by_hand(repository, *files, contents=contents)
    opened = reopened(repository)
    first, second = (opened.demand(hashlib.sha256(content).digest(), tree=False) for content in contents)
    lied = second.blob._replace(offset=first.blob.offset, length=first.blob.length)
    opened.index.add(first.pack, [lied])
    opened.index.where = lambda id_, tree, where=opened.index.where: (
        Where(first.pack, lied) if id_ == lied.id else where(id_, tree)
    )
    with restoring_of(opened, helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert [each.partition(":")[0] for each in told.losses.named] == ["/1"]
    assert (tmp_path / "target" / "0").read_bytes() == contents[0]
