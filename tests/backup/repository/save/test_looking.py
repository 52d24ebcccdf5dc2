"""Looking at folders: when they are asked for, or told by whoever went ahead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from backup.repository.save.looking import FOLDER_MAX, Looking, Told, looking_at
from backup.repository.save.saving import Request, hear, save
from backup.repository.save.scan import Losses
from backup.repository.save.walk import ways
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import HOLDER, NOW, new, reopened


class Guide:
    """Went ahead at once, and tells it when it is asked; ``told`` counts how often it did."""

    def __init__(self, folders: Iterable[Told]) -> None:
        self._folders: Iterator[Told] = iter(list(folders))
        self.over = False
        self.told = 0

    def next(self, wait_seconds: float | None = None) -> Told | None:
        told = next(self._folders, None)
        self.over = told is None
        self.told += not self.over
        return told

    def close(self) -> None:
        self.over = True


def guide(request: Request) -> Guide:
    looking = looking_at(request.paths, request.exclusions)
    return Guide(looking.tour(ways([os.fsencode(path) for path in request.paths])))


def ahead(request: Request) -> Looking:
    return hear(guide(request), NOW, request, over=lambda: False)


def tree(folder: Path) -> Path:
    for name in ("a/one", "a/b/two", "c/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_tour_tells_of_each_folder_in_the_order_in_which_it_will_be_asked_for(tmp_path: Path) -> None:
    top = os.fsencode(tree(tmp_path / "top"))
    told = [(path, [name for name, _, _ in entries]) for path, _, entries in Looking(Losses()).tour(ways([top]))]
    assert told[-4:] == [
        (top, [b"a", b"c"]),
        (top + b"/a", [b"b", b"one"]),
        (top + b"/a/b", [b"two"]),
        (top + b"/c", [b"three"]),
    ]
    assert told[0][0] == b"/"


def test_what_was_told_is_what_is_there(tmp_path: Path) -> None:
    top = os.fsencode(tree(tmp_path / "top"))
    request = Request((os.fsdecode(top),), HOLDER)
    looking, alone = ahead(request), Looking(Losses())
    for folder in (top, top + b"/a", top + b"/a/b", top + b"/c"):
        told = list(looking.entries(folder, ways([b"/"])))
        assert [name for name, _, _ in told] == [name for name, _, _ in alone.entries(folder, ways([b"/"]))]
        assert [seen is None for _, _, seen in told] == [name in (b"a", b"b", b"c") for name, _, _ in told]


def test_nothing_is_heard_once_it_is_over_and_what_is_asked_for_then_is_told_all_the_same(tmp_path: Path) -> None:
    request = Request((str(tree(tmp_path / "top")),), HOLDER)
    guiding = guide(request)
    looking = hear(guiding, NOW, request, over=lambda: True)
    assert guiding.told == 0
    for folder in (tmp_path / "top", tmp_path / "top" / "a"):
        assert any(seen for _, _, seen in looking.entries(os.fsencode(folder), ways([b"/"]))) is (folder.name == "a")
    assert guiding.told == len((tmp_path / "top").parts) + 1  # from the root down, and no further than was asked for


@pytest.mark.parametrize("name", ["0", "b", "z"])
def test_a_folder_that_was_made_after_all_was_told_is_looked_at(tmp_path: Path, name: str) -> None:
    top = tree(tmp_path / "top")
    request = Request((str(top),), HOLDER)
    guiding = guide(request)
    (top / name).mkdir()
    (top / name / "file").write_text("since then")
    looking = hear(guiding, NOW, request, over=lambda: True)
    (entry,) = looking.entries(os.fsencode(top / name), ways([b"/"]))
    assert (entry[0], entry[2]) == (b"file", None)
    later = list(looking.entries(os.fsencode(top / "c"), ways([b"/"])))
    assert (later[0][2] is None) is (name == "z")  # nobody goes ahead any more


def test_a_backup_that_was_told_is_the_same_as_one_that_was_not(tmp_path: Path) -> None:
    top = str(tree(tmp_path / "top"))
    repository = new()
    request = Request((top,), HOLDER)
    first = save(repository, request, SystemClock(), looking=ahead(request))
    second = save(reopened(repository), request, SystemClock())
    third = save(reopened(repository), request, SystemClock(), looking=ahead(request))
    assert first.snapshot.tree == second.snapshot.tree == third.snapshot.tree
    assert second.figures.unchanged == third.figures.unchanged == 3


def test_what_has_gone_since_it_was_told_is_a_loss_and_what_has_grown_is_kept_as_it_is(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    request = Request((str(top),), HOLDER)
    looking = ahead(request)
    (top / "a" / "one").unlink()
    (top / "c" / "three").write_text("more than there was")
    saved = save(new(), request, SystemClock(), looking=looking)
    assert saved.losses.named == [f"{top}/a/one: entry not kept: No such file or directory"]
    assert saved.figures.bytes == len("a/b/two") + len("more than there was")


def test_a_folder_that_has_gone_since_it_was_told_is_a_loss(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    request = Request((str(top),), HOLDER)
    looking = ahead(request)
    (top / "c" / "three").unlink()
    (top / "c").rmdir()
    saved = save(new(), request, SystemClock(), looking=looking)
    assert saved.partial
    assert saved.figures.files == 2


def test_a_folder_in_which_anything_is_amiss_is_left_to_whoever_asks_for_it(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    (top / "link").symlink_to("nowhere")

    class Blind(Looking):
        def node(self, path: bytes, way: object, found: os.stat_result) -> object:
            if path.endswith(b"/one"):
                self.losses.note("extended attributes", path, "of a test")
            return super().node(path, way, found)

    told = {path: entries for path, _, entries in Blind(Losses()).tour(ways([os.fsencode(top)]))}
    assert [path for path, entries in told.items() if entries is None] == [os.fsencode(top / "a")]
    assert os.fsencode(top / "a" / "b") in told


def test_a_folder_of_very_many_is_left_to_whoever_asks_for_it(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    for number in range(FOLDER_MAX):
        os.link(top / "c" / "three", top / "a" / str(number))
    told = {path: entries for path, _, entries in Looking(Losses()).tour(ways([os.fsencode(top)]))}
    assert told[os.fsencode(top / "a")] is None
    assert os.fsencode(top / "a" / "b") not in told
    assert told[os.fsencode(top / "c")] is not None
    request = Request((str(top),), HOLDER)
    assert save(new(), request, SystemClock(), looking=ahead(request)).figures.files == FOLDER_MAX + 3


@pytest.mark.parametrize("since", ["made", "gone"])
def test_what_was_asked_for_and_came_or_went_since_is_kept_or_told(tmp_path: Path, since: str) -> None:
    """Of a folder on the way to what was asked for, what was told ahead knows less than the question."""
    for name in "ab":
        (tmp_path / name).write_text(name)
    request = Request((str(tmp_path / "a"), str(tmp_path / "b")), HOLDER)
    if since == "made":
        (tmp_path / "b").unlink()
        looking = ahead(Request((str(tmp_path / "a"),), HOLDER))
        (tmp_path / "b").write_text("since then")
    else:
        looking = ahead(request)
        (tmp_path / "b").unlink()
    saved = save(new(), request, SystemClock(), looking=looking)
    assert saved.figures.files == (2 if since == "made" else 1)
    assert saved.losses.named == ([] if since == "made" else [f"{tmp_path}/b: path not kept: it is not there"])


def test_a_snapshot_is_of_the_moment_at_which_it_was_begun_to_look(tmp_path: Path) -> None:
    request = Request((str(tree(tmp_path / "top")),), HOLDER)
    assert save(new(), request, SystemClock(), looking=ahead(request)).snapshot.time == NOW
    looking = ahead(request)
    looking.forget()
    assert save(new(), request, SystemClock(), looking=looking).snapshot.time > NOW
