"""`ncia repo copy` and `repair`, at the command line: between two folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from backup.repository.format.keys import Holder
from backup.repository.ports import Kind
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from tests.backup.repository.files import differences, noise
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.cli.test_repo import Desk
from tests.lab_apps.world import eventually


class Two(Desk):
    """Two twins, the first with a snapshot."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.twin = folder / "twin"
        one = create(FolderStore(self.root), "open sesame", HOLDER, NOW, CHEAP)
        create(FolderStore(self.twin), "open sesame", Holder("other", "there"), NOW, CHEAP, twin=one)
        self.saved = self.told("backup", self.source)


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def damage(root: Path, kind: Kind) -> Path:
    """Flip a bit of the largest file of a kind."""
    file = max((root / kind).rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.chmod(0o600)
    file.write_bytes(content)
    return file


def test_a_copy_at_the_twin_restores_the_same(two: Two) -> None:
    copied = two.told("copy", "--to", two.twin)
    assert (copied["twin"], copied["partial"], copied["snapshots"]) == (True, False, [two.saved["snapshot"]])
    two.told("restore", "latest", "--target", two.folder / "target", "-r", two.twin)
    assert differences(two.source, two.folder / "target" / two.source.relative_to("/")) == []
    assert "0 packs, 0 indexes, 0 snapshots, 0 B copied" in two.run("copy", "--to", two.twin).stdout


def test_a_copy_into_another_repository_tells_the_original(two: Two) -> None:
    other = two.folder / "other"
    (two.folder / "another").write_text("another password\n")
    create(FolderStore(other), "another password", HOLDER, NOW, CHEAP)
    way = ("--to", other, "--to-password-file", two.folder / "another")
    told = two.run("copy", *way, two.saved["snapshot"][:8])
    assert (told.exit_code, told.stdout.splitlines()[0]) == (0, f"copied snapshot {two.saved['snapshot'][:8]}")
    assert " blobs, 1 snapshots" in told.stdout
    (listed,) = two.told("snapshots", "-r", other, "-p", two.folder / "another")["snapshots"]
    assert listed["tree"] == two.saved["tree"]


def test_what_could_not_be_copied_is_named_and_the_copy_is_partial(two: Two) -> None:
    bad = damage(two.root, Kind.DATA)
    told = two.run("copy", "--to", two.twin)
    assert told.exit_code == 4
    assert f"pack {bad.name[:8]}: its bytes do not have the hash that is its name" in told.stderr
    assert json.loads(two.run("copy", "--json", "--to", two.twin).stdout)["partial"]


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS])
def test_what_is_damaged_is_mended_from_the_twin(two: Two, kind: Kind) -> None:
    two.told("copy", "--to", two.twin)
    bad = damage(two.root, kind)
    assert two.run("check", "--read-data").exit_code == 1
    rehearsed = two.told("repair", "--from", two.twin, "--dry-run")
    assert (rehearsed["dry_run"], rehearsed["partial"], len(rehearsed["mended"])) == (True, False, 1)
    assert two.run("check", "--read-data").exit_code == 1
    told = two.run("repair", "--from", two.twin)
    assert told.exit_code == 0
    assert f"{bad.name[:8]}: brought whole from the other place" in told.stdout
    assert two.run("check", "--read-data").exit_code == 0
    assert bad.read_bytes() == (two.twin / bad.relative_to(two.root)).read_bytes()


def test_what_is_lost_for_good_is_named_and_left_out_only_when_asked(two: Two) -> None:
    bad = max((two.root / "data").rglob("*"), key=lambda path: path.stat().st_size)
    bad.unlink()
    told = two.run("repair")
    assert told.exit_code == 4
    assert "is lost for good" in told.stderr
    assert two.run("check").exit_code == 1
    assert two.run("repair", "--snapshots").exit_code == 4
    assert len(two.told("snapshots")["snapshots"]) == 2
    assert two.run("repair", "--snapshots", "--forget").exit_code == 4
    assert two.run("check", "--read-data").exit_code == 0
    (left,) = two.told("snapshots")["snapshots"]
    assert left["tags"] == ["repaired"]
    assert two.run("repair").exit_code == 0


def test_a_configuration_that_is_gone_and_a_key_come_back_from_the_twin(two: Two) -> None:
    two.told("copy", "--to", two.twin)
    (two.root / "config").unlink()
    for key in (two.root / "keys").iterdir():
        key.unlink()
    told = two.run("repair", "--from", two.twin)
    assert told.exit_code == 0
    assert "config: brought from the other place" in told.stdout
    assert "made anew for this password" in told.stdout
    assert two.run("check", "--read-data").exit_code == 0


def test_no_originals_go_without_what_takes_their_place(two: Two) -> None:
    assert "goes with --snapshots alone" in two.run("repair", "--forget").stderr


def test_a_backup_into_both_places_is_the_same_at_both(two: Two) -> None:
    two.told("copy", "--to", two.twin)
    (two.source / "more").write_bytes(b"more of it")
    saved = two.told("backup", two.source, "--also", two.twin)
    assert [place["whole"] for place in saved["places"]] == [True, True]
    assert (saved["partial"], saved["new"], saved["apart"]) == (False, 1, 0)
    for root in (two.root, two.twin):
        assert two.run("check", "--read-data", "-r", root).exit_code == 0
        assert saved["snapshot"] in [each["id"] for each in two.told("snapshots", "-r", root)["snapshots"]]
        assert not list((root / "locks").iterdir())


def test_a_backup_that_one_place_does_not_take_is_whole_at_the_other_and_partial(two: Two) -> None:
    two.told("copy", "--to", two.twin)
    (two.source / "more").write_bytes(b"more of it")
    shelves = two.twin / "data"
    shelves.rename(two.twin / "moved")
    shelves.write_text("no folder\n")
    told = two.run("backup", two.source, "--also", two.twin)
    assert told.exit_code == 4
    assert f"Error: the snapshot is not at {two.twin}: " in told.stderr
    assert two.run("check", "--read-data").exit_code == 0
    shelves.unlink()
    (two.twin / "moved").rename(shelves)
    assert two.run("check", "--read-data", "-r", two.twin).exit_code == 0
    assert len(two.told("copy", "--to", two.twin)["snapshots"]) == 1
    assert two.run("check", "--read-data", "-r", two.twin).exit_code == 0


def test_a_backup_whose_first_place_is_down_is_whole_at_the_second_and_partial(two: Two) -> None:
    two.told("copy", "--to", two.twin)
    config = two.root / "config"
    config.rename(two.root / "aside")
    config.mkdir()
    (two.folder / "second").write_text("of the twin\n")
    assert two.run("key", "add", "-r", two.twin, "--new-password-file", two.folder / "second").exit_code == 0
    told = two.run("backup", two.source, "--also", two.twin, "--also-password-file", two.folder / "second")
    assert told.exit_code == 4
    assert f"Error: the snapshot is not at {two.root}: load config from {two.root}: " in told.stderr
    assert two.run("check", "--read-data", "-r", two.twin).exit_code == 0
    (newest,) = two.told("snapshots", "-r", two.twin)["snapshots"][-1:]
    assert newest["id"][:8] in told.stdout
    config.rmdir()
    (two.root / "aside").rename(config)
    copied = two.told("copy", "-r", two.twin, "--to", two.root)
    assert copied["snapshots"] == [newest["id"]]


def test_a_backup_goes_to_no_place_that_is_no_twin(two: Two) -> None:
    other = two.folder / "other"
    create(FolderStore(other), "open sesame", HOLDER, NOW, CHEAP)
    assert "it is no twin" in str(two.run("backup", two.source, "--also", other).exception)
    assert "there is no repository" in str(two.run("backup", two.source, "--also", two.folder / "none").exception)


def test_a_restore_onto_what_exists_is_shown_first_and_writes_only_what_differs(two: Two) -> None:
    way = ("restore", "latest", "--target", two.folder / "target")
    assert two.run(*way, "--dry-run").stdout.startswith("+ /")
    assert not (two.folder / "target").exists()
    two.told(*way)
    inside = two.folder / "target" / two.source.relative_to("/")
    (inside / "plain").write_bytes(b"other")
    assert "--overwrite" in str(two.run(*way).exception)
    assert f"M {two.source}/plain\n" in two.run(*way, "--dry-run").stdout
    assert (inside / "plain").read_bytes() == b"other"
    restored = two.told(*way, "--overwrite", "always")
    assert (restored["bytes"], restored["partial"]) == (6, False)
    assert restored["bytes_found"] > 21_000_000
    assert differences(two.source, inside) == []
    assert two.told(*way, "--overwrite", "never")["kept"] > 200


def test_a_restore_that_is_killed_goes_on_where_it_was(two: Two) -> None:
    for number in range(12):
        (two.source / f"more{number}").write_bytes(noise(number, 4_000_000))
    two.told("backup", two.source)
    target = two.folder / "target"
    words = [sys.executable, "-m", "ncia", "repo", "restore", "latest", "--target", str(target)]
    at = {"NCIA_REPOSITORY": str(two.root), "NCIA_PASSWORD_FILE": str(two.folder / "password")}
    process = subprocess.Popen(words, env={**os.environ, **at}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    inside = target / two.source.relative_to("/")
    eventually(lambda: (inside / "big").exists() or process.poll() is not None, 60)
    process.kill()
    process.wait()
    restored = two.told("restore", "latest", "--target", target, "--overwrite", "always")
    assert not restored["partial"]
    assert differences(two.source, inside) == []
