"""`ncia repo … --host --tag --path`: whose latest is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.core.base.errors import NciaError
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.cli.test_repo import Desk
from tests.restic import demand_restic


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """With one snapshot of each of two hosts, and of two paths."""
    found = Desk(tmp_path)
    create(FolderStore(found.root), "open sesame", HOLDER, NOW, CHEAP)
    for name in ("one", "two"):
        (tmp_path / name).write_text(name)
    found.first = found.told("backup", tmp_path / "one", "--host", "db1", "--tag", "nightly,rows")["snapshot"]
    found.second = found.told("backup", tmp_path / "two", "--host", "db2", "--tag", "nightly")["snapshot"]
    return found


def ids(desk: Desk, *words: object) -> list[str]:
    return [each["id"] for each in desk.told("snapshots", *words)["snapshots"]]


def test_the_list_is_narrowed_by_host_tags_and_path(desk: Desk) -> None:
    assert ids(desk, "--host", "db1") == [desk.first]
    assert ids(desk, "-H", "db1", "-H", "db2") == [desk.first, desk.second]
    assert ids(desk, "--tag", "nightly") == [desk.first, desk.second]
    assert ids(desk, "--tag", "nightly, rows") == [desk.first]
    assert ids(desk, "--tag", "none", "--tag", "rows") == [desk.first]
    assert ids(desk, "--path", desk.folder / "two") == [desk.second]
    assert ids(desk, "--path", os.path.relpath(desk.folder / "two")) == [desk.second]


def test_the_latest_of_a_host_is_listed_compared_and_comes_back(desk: Desk) -> None:
    listed = desk.run("ls", "latest", "--host", "db1").stdout
    assert f"{desk.folder}/one\n" in listed
    assert f"{desk.folder}/two\n" not in listed
    (desk.folder / "one").write_text("changed")
    desk.told("backup", desk.folder / "one", "--host", "db1")
    desk.told("backup", desk.folder / "two", "--host", "db2")
    changed = desk.run("diff", desk.first, "latest", "--path", desk.folder / "one").stdout
    assert changed == f"M {desk.folder}/one\n"
    narrow = ("--target", desk.folder / "target", "--tag", "rows")
    shown = desk.run("restore", "latest", "--dry-run", *narrow).stdout
    assert f"+ {desk.folder}/one\n" in shown
    assert desk.told("restore", "latest", *narrow)["snapshot"] == desk.first


def test_a_host_that_has_none_is_refused_and_nothing_is_done(desk: Desk) -> None:
    for words in (
        ("snapshots",),
        ("ls", "latest"),
        ("restore", "latest", "--target", desk.folder / "target"),
        ("copy", "-r", desk.root, "--to", desk.root),
        ("forget", "--keep-last", "1"),
        ("diff", desk.second, "latest"),
    ):
        refused = desk.run(*words, "--host", "db3")
        assert isinstance(refused.exception, NciaError), words
        assert "none of 2 fits: host db3" in str(refused.exception)
    assert not (desk.folder / "target").exists()
    other = desk.run("restore", desk.second, "--host", "db1", "--target", desk.folder / "target")
    assert "none of 1 that fit host db1 begins with it" in str(other.exception)


@pytest.mark.parametrize("twin", [True, False])
def test_a_copy_takes_those_alone_that_fit(desk: Desk, twin: bool) -> None:
    place = desk.folder / "other"
    desk.told("init", "-r", place, *(("--twin", desk.root) if twin else ()))
    copied = desk.told("copy", "--to", place, "--host", "db2")
    assert (copied["twin"], len(copied["snapshots"])) == (twin, 1)
    (there,) = json.loads(desk.run("snapshots", "-r", place, "--json").stdout)["snapshots"]
    assert there["hostname"] == "db2"


def test_a_rule_judges_those_alone_that_fit(desk: Desk) -> None:
    for _ in range(2):
        desk.told("backup", desk.folder / "one", "--host", "db1", "--tag", "rows")
        desk.told("backup", desk.folder / "two", "--host", "db2")
    found = desk.told("forget", "--keep-last", "1", "--host", "db1", "--tag", "rows")
    assert [each["hostname"] for each in found["snapshots"]] == ["db1"] * 3
    assert len(found["removed"]) == 2
    assert len(ids(desk, "--host", "db2")) == 3
    assert desk.first in found["removed"]


def test_restic_finds_the_same(desk: Desk) -> None:
    restic = demand_restic()
    one, two = str(desk.folder / "one"), str(desk.folder / "two")
    desk.told("backup", one, two, "--host", "db1")
    for words in (
        ("--host", "db1"),
        ("--tag", "nightly,rows"),
        ("--tag", "nightly, rows", "--tag", "x"),
        ("--tag", ""),
        ("--path", one),
        ("--path", one, "--path", two),
        ("--host", "db2", "--path", two),
    ):
        theirs = json.loads(restic.run(desk.root, "snapshots", "--json", "-q", *words, password="open sesame"))
        assert ids(desk, *words) == [each["id"] for each in theirs], words
