"""Looking at folders ahead of the backup that asks for them."""

from __future__ import annotations

import os
from pathlib import Path

from backup.repository.save.looking import Looking
from backup.repository.save.saving import Request, look_ahead, save
from backup.repository.save.scan import Losses
from backup.repository.save.walk import ways
from ncia.core.base.clock import SystemClock
from tests.backup.repository.sample import HOLDER, new, reopened


def tree(folder: Path) -> Path:
    for name in ("a/one", "a/b/two", "c/three"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_what_was_looked_at_ahead_is_what_is_there(tmp_path: Path) -> None:
    top = os.fsencode(tree(tmp_path / "top"))
    way = ways([top])
    ahead, later = Looking(Losses()), Looking(Losses())
    ahead.ahead(way, over=lambda: False)
    for folder in (top, top + b"/a", top + b"/a/b", top + b"/c"):
        seen = list(ahead.entries(folder, ways([b"/"])))
        asked = list(later.entries(folder, ways([b"/"])))
        assert [name for name, _, _ in seen] == [name for name, _, _ in asked]
        assert [known for _, _, known in seen] == [later.look(folder + b"/" + name, way) for name, way, _ in asked]


def test_nothing_is_looked_at_once_it_is_over(tmp_path: Path) -> None:
    top = os.fsencode(tree(tmp_path / "top"))
    looking = Looking(Losses())
    looking.ahead(ways([top]), over=lambda: True)
    assert all(known is None for _, _, known in looking.entries(top, ways([b"/"])))


def test_a_backup_that_looked_ahead_is_the_same_as_one_that_did_not(tmp_path: Path) -> None:
    top = str(tree(tmp_path / "top"))
    repository = new()
    request = Request((top,), HOLDER)
    first = save(repository, request, SystemClock(), looking=look_ahead(request, over=lambda: False))
    second = save(reopened(repository), request, SystemClock())
    assert first.snapshot.tree == second.snapshot.tree
    assert second.figures.unchanged == 3


def test_what_has_gone_since_it_was_looked_at_is_told_as_a_loss_and_what_has_grown_is_kept_as_it_is(
    tmp_path: Path,
) -> None:
    top = tree(tmp_path / "top")
    request = Request((str(top),), HOLDER)
    looking = look_ahead(request, over=lambda: False)
    (top / "a" / "one").unlink()
    (top / "c" / "three").write_text("more than there was")
    saved = save(new(), request, SystemClock(), looking=looking)
    assert saved.losses.named == [f"{top}/a/one: entry not kept: No such file or directory"]
    assert saved.figures.bytes == len("a/b/two") + len("more than there was")


def test_a_folder_that_has_gone_since_it_was_looked_at_is_told_file_by_file(tmp_path: Path) -> None:
    top = tree(tmp_path / "top")
    request = Request((str(top),), HOLDER)
    looking = look_ahead(request, over=lambda: False)
    (top / "c" / "three").unlink()
    (top / "c").rmdir()
    saved = save(new(), request, SystemClock(), looking=looking)
    assert saved.partial
    assert saved.figures.files == 2
