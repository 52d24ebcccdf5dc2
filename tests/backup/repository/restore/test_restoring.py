from __future__ import annotations

import hashlib
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from backup.repository.faults import Hostile
from backup.repository.format.snapshots import Snapshot
from backup.repository.format.trees import Node, node_text, tree_text
from backup.repository.ports import Kind, Store, StoreFault
from backup.repository.repository import Repository
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.filling import BATCH_FILES
from backup.repository.restore.helping import Fillers
from backup.repository.restore.restoring import WORKERS_MIN, Restored, Restoring
from backup.repository.save.pipeline import Packing
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way, ways
from backup.repository.stores.retry import Unanswered
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.files import differences, noise, odd_tree
from tests.backup.repository.sample import HOLDER, NOW, golden, new, reopened

ALL = Way(whole=True)
ME = {"uid": os.geteuid(), "gid": os.getegid()}


BY = pytest.mark.parametrize("helped", [False, True], ids=["by workers", "by fillers"])


def bring(
    repository: Repository, snapshot: Snapshot, target: Path, way: Way = ALL, helped: bool = False, **how: object
) -> Restored:
    with restoring_of(reopened(repository), helped, **how) as restoring:
        return restoring.run(snapshot, target, way)


def restoring_of(opened: Repository, helped: bool, **how: object) -> Restoring:
    """``helped``: processes make the files, however few they are."""
    return Restoring(opened, fillers=Fillers(opened, files=0) if helped else None, **how)


def made_by_hand(repository: Repository, *nodes: Node, contents: tuple[bytes, ...] = ()) -> Snapshot:
    """A snapshot of a root folder with these nodes, as anybody with the key could write it."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    for content in contents:
        packing.keep(content)
    tree = packing.keep(tree_text(map(node_text, nodes)), tree=True)
    packing.finish()
    made = Snapshot(NOW, tree, ("/",), "host", "user")
    return replace(made, id=repository.save_file(Kind.SNAPSHOTS, made.as_json()))


def file_of(name: bytes, content: bytes = b"", **fields: object) -> Node:
    ids = (hashlib.sha256(content).digest(),) if content else ()
    node = Node(name, "file", 0o644, 5, 5, 5, ME["uid"], ME["gid"], size=len(content), content=ids)
    return node._replace(**fields)


@pytest.mark.parametrize("name", [b"..", b".", b"../up", b"/etc/passwd", b"a/b", b"nul\0l"])
def test_a_hostile_name_is_refused_and_nothing_is_written_outside(tmp_path: Path, name: bytes) -> None:
    repository = new()
    snapshot = made_by_hand(repository, file_of(name, b"evil"), contents=(b"evil",))
    with pytest.raises(Hostile, match="holds an entry named"):
        bring(repository, snapshot, tmp_path / "in" / "target")
    assert list((tmp_path / "in").rglob("*")) == [tmp_path / "in" / "target"]
    assert list(tmp_path.iterdir()) == [tmp_path / "in"]


def test_an_entry_that_comes_twice_cannot_write_through_its_first_self(tmp_path: Path) -> None:
    """A link, and then a file of the same name: followed, it would write where the link leads."""
    repository, victim = new(), tmp_path / "victim"
    victim.write_bytes(b"dear")
    link = Node(b"a", "symlink", 0o777, 5, 5, 5, 0, 0, target=os.fsencode(victim))
    snapshot = made_by_hand(repository, link, file_of(b"a", b"evil"), contents=(b"evil",))
    with pytest.raises(Hostile, match="twice"):
        bring(repository, snapshot, tmp_path / "target")
    assert victim.read_bytes() == b"dear"


@BY
def test_a_link_that_somebody_puts_in_the_way_is_not_followed(tmp_path: Path, helped: bool) -> None:
    """While a restore goes on, its target is not ours alone: a folder becomes a link between two steps."""
    repository, elsewhere = new(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    source = tmp_path / "source"
    (source / "a").mkdir(parents=True)
    (source / "a" / "one name").write_bytes(b"first")
    os.link(source / "a" / "one name", source / "b another name")
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    target = tmp_path / "target"
    inside = target / source.relative_to("/")

    def swap(_: Restored) -> None:
        folder = inside / "a"
        if folder.is_dir() and not folder.is_symlink():
            folder.rename(inside / "moved")
            folder.symlink_to(elsewhere)

    with restoring_of(reopened(repository), helped, tell=swap) as restoring:
        told = restoring.run(saved.snapshot, target, ALL)
    assert list(elsewhere.iterdir()) == []
    assert told.losses.counts == Counter({"hard link": 1})


def test_a_target_that_holds_anything_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"dear")
    repository = new()
    with pytest.raises(Refusal, match="it is not empty"):
        bring(repository, made_by_hand(repository), tmp_path)


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


def test_zeros_of_a_big_file_stay_a_hole(tmp_path: Path) -> None:
    repository, source = new(), tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(40_000_000)
        file.seek(20_000_000)
        file.write(noise(5, 1000))
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    bring(repository, saved.snapshot, tmp_path / "target")
    back = tmp_path / "target" / source.relative_to("/")
    assert differences(source, back) == []
    assert back.stat().st_blocks * 512 <= 17_000_000


@BY
def test_only_what_was_asked_for_comes_back(tmp_path: Path, helped: bool) -> None:
    repository, source = new(), odd_tree(tmp_path / "source")
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    wanted = [os.fsencode(source / "below" / "deeper"), os.fsencode(source / "plain")]
    told = bring(repository, saved.snapshot, tmp_path / "target", ways(wanted), helped=helped)
    inside = tmp_path / "target" / source.relative_to("/")
    assert sorted(str(path.relative_to(inside)) for path in inside.rglob("*")) == [
        "below",
        "below/deeper",
        "below/deeper/deepest",
        "plain",
    ]
    assert (told.files, told.partial) == (1, False)


class Meeting:
    """Its first answers come when so many are asked for."""

    def __init__(self, store: Store, count: int) -> None:
        self._store = store
        self._met = threading.Barrier(count)
        self._left = count
        self._lock = threading.Lock()

    def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
        with self._lock:
            waits = self._left > 0
            self._left -= 1
        if waits:
            self._met.wait(timeout=20)
        return self._store.load(kind, name, offset, length)


def failing_at(opened: Repository, content: bytes, fault: StoreFault) -> None:
    """The pack of that content cannot be read."""
    load = opened.store.load
    pack = opened.index.where(hashlib.sha256(content).digest(), tree=False).pack.hex()

    class Failing:
        def load(self, kind: Kind, name: str, offset: int = 0, length: int | None = None) -> bytes:
            if name == pack:
                raise fault
            return load(kind, name, offset, length)

    opened.store = Failing()


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
def test_of_a_store_that_is_far_away_several_things_are_asked_at_once(tmp_path: Path, helped: bool) -> None:
    repository = new()
    contents = [noise(number, 1000) for number in range(WORKERS_MIN * BATCH_FILES)]
    files = [file_of(b"%06d" % number, content) for number, content in enumerate(contents)]
    snapshot = made_by_hand(repository, *files, contents=tuple(contents))
    opened = reopened(repository)
    opened.load_blob(snapshot.tree, tree=True)
    opened.store = Meeting(opened.store, WORKERS_MIN)
    with restoring_of(opened, helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert (told.files, told.partial) == (len(files), False)


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
def test_a_restore_that_is_broken_off_holds_nothing_open(tmp_path: Path, helped: bool) -> None:
    repository = new()
    bad = Node(b"z", "dir", 0o755 | 1 << 31, 5, 5, 5, ME["uid"], ME["gid"])
    packing = Packing(repository, verify=True, guard=lambda: None)
    hostile = packing.keep(tree_text([node_text(file_of(b".."))]), tree=True)
    packing.finish()
    snapshot = made_by_hand(repository, bad._replace(subtree=hostile))
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(Hostile):
        bring(repository, snapshot, tmp_path / "target", helped=helped)
    assert len(os.listdir("/proc/self/fd")) == before


@BY
def test_what_restic_kept_comes_back(tmp_path: Path, helped: bool) -> None:
    repository = golden()
    (snapshot,) = repository.snapshots()
    with restoring_of(repository, helped) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    top = tmp_path / "target" / "src"
    assert (top / "text").stat().st_size == 142_890
    assert (top / "a").samefile(top / "hard")
    assert os.readlink(os.fsencode(top / "symraw")) == b"raw\xff"
    assert (top / "d").stat().st_mode & 0o7777 == 0o2775
    if os.geteuid() == 0:
        assert told.losses.named == []


def flip(repository: Repository, kind: Kind, name: str, at: int) -> None:
    held = repository.store.held
    content = bytearray(held[kind, name])
    content[at] ^= 1
    held[kind, name] = bytes(content)
