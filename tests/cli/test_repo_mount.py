"""`ncia repo mount`: what was kept, as any program sees it. Needs FUSE, libfuse and the right to mount."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup.repository.ports import Kind
from backup.repository.repository import create
from backup.repository.stores.folder import FolderStore
from ncia.app.repository_mount import library
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import ACL, differences
from tests.backup.repository.sample import CHEAP, HOLDER, NOW
from tests.backup.repository.test_file_referees import itemized, rsync
from tests.cli.test_repo import Desk
from tests.cli.test_repo_twins import damage
from tests.demand import lack
from tests.lab_apps.world import eventually

__all__ = ["rsync"]  # a fixture


class Mounted(Desk):
    """A repository with two snapshots, and a process that shows it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        create(FolderStore(self.root), "open sesame", HOLDER, NOW, CHEAP)
        self.first = self.told("backup", self.source, "--tag", "nightly/ly")["snapshot"]
        (self.source / "plain").write_bytes(b"later\n")
        self.second = self.told("backup", self.source)["snapshot"]
        self.place = folder / "place"
        self.place.mkdir()

    def __enter__(self) -> Mounted:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ncia", "repo", "mount", str(self.place)],
            env={
                **os.environ,
                "NCIA_REPOSITORY": str(self.root),
                "NCIA_PASSWORD_FILE": str(self.folder / "password"),
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            eventually(lambda: self.place.is_mount() or self.process.poll() is not None, 30)
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.said = self.process.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def mounted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mounted]:
    try:
        library("mount")
    except NciaError as error:
        lack(f"no FUSE here: {error.why}")
    found = Mounted(tmp_path_factory.mktemp("mount"))
    with found:
        if found.process.poll() is not None:
            said = found.process.communicate()[1]
            if "ot permitted" in said:
                lack(f"no right to mount here: {said}")
            raise AssertionError(said)
        yield found


def test_the_newest_is_just_as_it_was_kept(mounted: Mounted) -> None:
    shown = mounted.place / "snapshots" / "latest" / mounted.source.relative_to("/")
    left = [line for line in differences(mounted.source, shown) if "system.posix_acl" not in line]
    assert left == []


def test_an_access_control_list_is_shown_as_it_was_kept(mounted: Mounted) -> None:
    kept = mounted.source / "one name"
    shown = mounted.place / "snapshots" / "latest" / kept.relative_to("/")
    try:
        told = os.getxattr(shown, "system.posix_acl_access")
    except OSError as error:
        lack(f"this kernel shows no access control lists of FUSE: {error.strerror}")
        raise AssertionError from error
    assert told == os.getxattr(kept, "system.posix_acl_access") == ACL


def test_rsync_finds_nothing_to_change_between_the_source_and_what_is_shown(mounted: Mounted, rsync: str) -> None:
    """Content by checksum, owners, modes, times, hard links, extended attributes, access control lists."""
    shown = mounted.place / "snapshots" / "latest" / mounted.source.relative_to("/")
    assert itemized(rsync, mounted.source, shown) == []


def test_each_is_under_its_id_its_time_its_host_and_its_tags(mounted: Mounted) -> None:
    assert {path.name for path in mounted.place.iterdir()} == {"ids", "snapshots", "hosts", "tags"}
    assert {path.name for path in (mounted.place / "ids").iterdir()} == {mounted.first[:8], mounted.second[:8]}
    (host,) = (mounted.place / "hosts").iterdir()
    assert len(list(host.iterdir())) == 3
    (tag,) = (mounted.place / "tags").iterdir()
    assert tag.name == "nightly_ly"
    inside = mounted.source.relative_to("/")
    for top, content in ((tag / "latest", b"hello\n"), (mounted.place / "ids" / mounted.second[:8], b"later\n")):
        assert (top / inside / "plain").read_bytes() == content


def test_a_big_file_is_read_at_any_place(mounted: Mounted) -> None:
    kept = mounted.source / "big"
    with (
        (mounted.place / "ids" / mounted.first[:8] / kept.relative_to("/")).open("rb") as shown,
        kept.open("rb") as own,
    ):
        for offset in (20_999_990, 5_000_000, 0, 10_000_001):
            assert os.pread(shown.fileno(), 300_000, offset) == os.pread(own.fileno(), 300_000, offset)


def test_nothing_can_be_written(mounted: Mounted) -> None:
    for path in (mounted.place / "new", mounted.place / "ids" / mounted.first[:8] / "new"):
        with pytest.raises(OSError) as refused:
            path.write_bytes(b"1")
        assert refused.value.errno == errno.EROFS


def test_what_is_damaged_is_an_error_and_never_other_bytes(tmp_path: Path, mounted: Mounted) -> None:
    """By a mount of its own: what is at hand is not read again."""
    other = Mounted(tmp_path)
    damage(other.root, Kind.DATA)
    faults = []
    with other:
        top = other.place / "ids" / other.first[:8] / other.source.relative_to("/")
        for path in other.source.rglob("*"):
            if path.is_file() and not path.is_symlink() and path.name != "plain":
                try:
                    assert (top / path.relative_to(other.source)).read_bytes() == path.read_bytes()
                except OSError as error:
                    faults.append(error.errno)
    assert set(faults) == {errno.EIO}
    assert (other.process.returncode, other.place.is_mount()) == (0, False)


def test_where_there_is_no_folder_it_is_said_in_one_sentence(mounted: Mounted) -> None:
    assert "there is no such folder" in str(mounted.run("mount", mounted.folder / "none").exception)
