"""What FUSE asks, answered without FUSE: on every machine."""

from __future__ import annotations

import errno
import os
import stat
from hashlib import sha256
from pathlib import Path

import pytest

from backup.repository.format.snapshots import Snapshot
from backup.repository.ports import Kind
from backup.repository.restore import mounting
from backup.repository.restore.mounting import Mounting, Opened, shelves
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from tests.backup.repository.care.test_copying import names
from tests.backup.repository.files import noise, odd_tree
from tests.backup.repository.sample import HOLDER, NOW, new, reopened


class Shown:
    def __init__(self, folder: Path) -> None:
        self.source = odd_tree(folder / "source")
        self.repository = new()
        self.snapshot = save(reopened(self.repository), Request((str(self.source),), HOLDER), SystemClock()).snapshot
        self.mounting = Mounting(reopened(self.repository), [self.snapshot])
        self.top = f"/ids/{self.snapshot.id[:8]}{self.source}"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    return Shown(tmp_path_factory.mktemp("shown"))


def refused(ask: object, *arguments: object) -> int | None:
    with pytest.raises(OSError) as fault:
        ask(*arguments)
    return fault.value.errno


def snapshot(id_: str, host: str = "db1", tags: tuple[str, ...] = ()) -> Snapshot:
    return Snapshot(NOW, b"t" * 32, ("/srv",), host, "root", tags=tags, id=id_ * 16)


def test_snapshots_stand_under_id_time_host_and_tag_and_two_of_one_second_are_kept_apart() -> None:
    one, two = snapshot("aaaa", tags=("a/b", "..")), snapshot("bbbb", host="latest")
    when = b"2026-11-26T03:04:05Z"
    assert shelves([one, two]) == {
        b"ids": {b"aaaaaaaa": one, b"bbbbbbbb": two},
        b"snapshots": {when: one, when + b"-1": two, b"latest": when + b"-1"},
        b"hosts": {b"db1": {when: one, b"latest": when}, b"_": {when: two, b"latest": when}},
        b"tags": {b"a_b": {when: one, b"latest": when}, b"_": {when: one, b"latest": when}},
    }


def test_every_entry_has_the_metadata_that_it_had(shown: Shown) -> None:
    for raw in os.listdir(os.fsencode(shown.source)):
        path = f"{shown.top}/{os.fsdecode(raw)}"
        own, told = os.lstat(os.fsencode(shown.source) + b"/" + raw), shown.mounting.getattr(path)
        assert (told["st_mode"], told["st_uid"], told["st_gid"]) == (own.st_mode, own.st_uid, own.st_gid)
        assert (told["st_mtime"], told["st_rdev"]) == (own.st_mtime_ns, own.st_rdev)
        if stat.S_ISLNK(own.st_mode):
            assert os.fsencode(shown.mounting.readlink(path)) == os.readlink(os.fsencode(shown.source) + b"/" + raw)


def test_a_folder_tells_its_raw_names(shown: Shown) -> None:
    told = shown.mounting.readdir(shown.top, 0)
    assert [name for name, _, _ in told[:2]] == [".", ".."]
    assert sorted(os.fsencode(name) for name, _, _ in told[2:]) == sorted(os.listdir(os.fsencode(shown.source)))


def test_two_names_of_one_file_have_one_number_and_all_others_their_own(shown: Shown) -> None:
    first, other = f"{shown.top}/one name", f"{shown.top}/below/another name"
    assert shown.mounting.getattr(first)["st_ino"] == shown.mounting.getattr(other)["st_ino"]
    assert shown.mounting.getattr(f"{shown.top}/plain")["st_ino"] != shown.mounting.getattr(first)["st_ino"]


def test_content_is_read_at_any_place_and_no_more_of_it_is_held_than_is_allowed(shown: Shown) -> None:
    own = (shown.source / "big").read_bytes()
    handle = shown.mounting.open(f"{shown.top}/big", os.O_RDONLY)
    for offset, size in ((0, 10), (20_999_990, 300), (9_000_000, 5_000_000), (30_000_000, 5)):
        assert shown.mounting.read("", size, offset, handle) == own[offset : offset + size]
    assert shown.mounting._blobs_bytes <= mounting.BLOBS_BYTES_MAX
    shown.mounting.release("", handle)


def test_attributes_are_told(shown: Shown) -> None:
    assert shown.mounting.getxattr(f"{shown.top}/plain", "user.note") == b"kept \xff"
    assert "user.note" in shown.mounting.listxattr(f"{shown.top}/plain")
    assert refused(shown.mounting.getxattr, f"{shown.top}/plain", "user.none") == errno.ENODATA


def test_each_wrong_question_has_the_answer_that_a_file_system_gives(shown: Shown) -> None:
    ask, top = shown.mounting, shown.top
    assert refused(ask.getattr, f"{top}/none") == errno.ENOENT
    assert refused(ask.getattr, f"{top}/plain/below") == errno.ENOTDIR
    assert refused(ask.readdir, f"{top}/plain", 0) == errno.ENOTDIR
    assert refused(ask.readlink, f"{top}/plain") == errno.EINVAL
    assert refused(ask.open, top, os.O_RDONLY) == errno.EISDIR
    assert refused(ask.open, f"{top}/plain", os.O_RDWR) == errno.EROFS


def test_what_is_damaged_is_an_error_of_input_and_output(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(noise(1, 3000))
    repository = new()
    kept = save(reopened(repository), Request((str(tmp_path),), HOLDER), SystemClock()).snapshot
    for name in names(repository, Kind.DATA):
        repository.store.held[Kind.DATA, name] = bytes(len(repository.store.held[Kind.DATA, name]))
    ask = Mounting(reopened(repository), [kept])
    file = Mounting(repository, [kept])
    assert refused(ask.readdir, f"/ids/{kept.id[:8]}", 0) == errno.EIO
    file._open[1] = Opened((sha256(noise(1, 3000)).digest(),), [0], 3000)
    assert refused(file.read, "", 10, 0, 1) == errno.EIO
