"""How much there is to go through: the same as the backup then tells, whatever lies there and is left out."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from backup.repository.save.counting import Counting
from backup.repository.save.excluding import Exclusions
from backup.repository.save.saving import Request, save
from ncia.app.repository_backup import told_of
from ncia.core.base.clock import SystemClock
from tests.backup.repository.files import odd_tree
from tests.backup.repository.sample import HOLDER, new


def counted(*paths: Path, exclusions: Exclusions = Exclusions()) -> int:  # noqa: B008 - it is frozen
    counting = Counting(map(str, paths), exclusions)
    counting._thread.join(30)
    counting.close()
    return counting.bytes


@pytest.mark.parametrize(
    "exclusions",
    [
        Exclusions(),
        Exclusions(patterns=("*.log",)),
        Exclusions(larger_than=1000),
        Exclusions(if_present=("CACHEDIR.TAG",)),
        Exclusions(one_file_system=True),
    ],
)
def test_as_much_is_counted_as_a_backup_goes_through(tmp_path: Path, exclusions: Exclusions) -> None:
    source = odd_tree(tmp_path / "source")
    for name, size in (("a.log", 5000), ("big", 20_000), ("small", 10), ("cache/CACHEDIR.TAG", 43), ("cache/x", 700)):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_bytes(os.urandom(size))
    request = Request((str(source),), HOLDER, exclusions=exclusions)
    figures = save(new(), request, SystemClock()).figures
    assert counted(source, exclusions=exclusions) == figures.bytes > 0


def test_what_is_not_there_counts_nothing_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    assert counted(tmp_path / "file", tmp_path / "gone") == 4


def test_who_watches_hears_how_much_there_is_and_nobody_counts_where_nobody_watches(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    request = Request((str(tmp_path),), HOLDER)
    heard: list[int] = []
    for watched in (False, True):
        with told_of(request, lambda files, size, whole: heard.append(whole), watched) as tell:
            counting = [each for each in threading.enumerate() if each.name == "backup count"]
            for each in counting:
                each.join(30)
            save(new(), request, SystemClock(), tell)
        assert (heard[-1], set(heard)) == ((4, {4}) if watched else (0, {0}))
        heard.clear()
