from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from backup.repository.faults import Hostile
from backup.repository.format.trees import Node, node_text, tree_text
from backup.repository.restore.filling import BATCH_FILES
from backup.repository.restore.restoring import WORKERS_MIN, Restored, Restoring
from backup.repository.save.pipeline import Packing
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import ways
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from tests.backup.repository.files import differences, noise, odd_tree
from tests.backup.repository.restore.by_hand import (
    ALL,
    BY,
    ME,
    Counted,
    Meeting,
    bring,
    file_of,
    made_by_hand,
    restoring_of,
)
from tests.backup.repository.sample import HOLDER, golden, new, reopened


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
    fillers = Counted(repository, files=0) if helped else None
    with Restoring(repository, fillers=fillers) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert fillers is None or fillers.files
    top = tmp_path / "target" / "src"
    assert (top / "text").stat().st_size == 142_890
    assert (top / "a").samefile(top / "hard")
    assert os.readlink(os.fsencode(top / "symraw")) == b"raw\xff"
    assert (top / "d").stat().st_mode & 0o7777 == 0o2775
    if os.geteuid() == 0:
        assert told.losses.named == []
