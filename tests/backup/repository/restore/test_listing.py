from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup.repository.repository import Repository
from backup.repository.restore.listing import Change, changes, demand_way, entries
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import odd_tree
from tests.backup.repository.sample import HOLDER, new, reopened


def tree_of(repository: Repository, path: Path) -> bytes:
    return save(reopened(repository), Request((str(path),), HOLDER), SystemClock()).snapshot.tree


def test_everything_is_listed_folders_before_what_is_in_them(tmp_path: Path) -> None:
    repository, source = new(), odd_tree(tmp_path / "source")
    tree = tree_of(repository, source)
    listed = [entry.path for entry in entries(reopened(repository), tree, Way(whole=True))]
    below = [os.fsencode(path) for path in source.rglob("*")]
    ways = [os.fsencode(path) for path in [*reversed([*source.parents][:-1]), source]]
    assert sorted(listed) == sorted(ways + below)
    assert listed[: len(ways)] == ways


def test_a_difference_is_told_by_its_kind_and_same_trees_are_not_looked_into(tmp_path: Path) -> None:
    repository, source = new(), odd_tree(tmp_path / "source")
    before = tree_of(repository, source)
    (source / "plain").write_bytes(b"other\n")
    (source / "below" / "000").unlink()
    (source / "below" / "added").mkdir()
    (source / "below" / "added" / "file").write_bytes(b"")
    (source / "link").unlink()
    (source / "link").write_bytes(b"")
    os.chmod(source / "text", 0o600)
    after = tree_of(repository, source)
    prefix = os.fsencode(source)
    told = {Change(each.sign, each.path.removeprefix(prefix)) for each in changes(reopened(repository), before, after)}
    assert told >= {
        Change("M", b"/plain"),
        Change("-", b"/below/000"),
        Change("+", b"/below/added"),
        Change("+", b"/below/added/file"),
        Change("T", b"/link"),
        Change("U", b"/text"),
    }
    assert {each.sign for each in told if each.path not in (b"", b"/below")} == set("M-+TU")
    assert list(changes(reopened(repository), after, after)) == []


def test_a_path_that_a_snapshot_does_not_hold_is_refused(tmp_path: Path) -> None:
    repository = new()
    (tmp_path / "file").write_bytes(b"")
    tree = tree_of(repository, tmp_path)
    opened = reopened(repository)
    assert demand_way(opened, tree, ()).whole
    assert not demand_way(opened, tree, (os.fsencode(tmp_path / "file"),)).whole
    for path in (tmp_path / "none", tmp_path / "file" / "below", Path("/elsewhere")):
        with pytest.raises(NciaError, match="does not hold it"):
            demand_way(opened, tree, (os.fsencode(path),))
