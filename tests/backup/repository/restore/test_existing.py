"""What a restore does with what it meets, as a table."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backup.repository.format.trees import DIR, FILE, SYMLINK, Node
from backup.repository.restore.existing import Overwrite, Treatment, holds, judge, open_file_in, remove_in, stat_in

A, C, N, X = Overwrite.ALWAYS, Overwrite.IF_CHANGED, Overwrite.IF_NEWER, Overwrite.NEVER
NODE = Node(b"a", FILE, 0o644, 50, 50, 50, 0, 0, size=3, links=1)


def found(mode: int = stat.S_IFREG | 0o644, size: int = 3, mtime_ns: int = 50, links: int = 1) -> os.stat_result:
    times = (0.0, 0.0, 0.0, 0, mtime_ns, 0)
    return os.stat_result((mode, 1, 1, links, 0, 0, size, 0, 0, 0, *times))


@pytest.mark.parametrize("overwrite", list(Overwrite))
def test_where_nothing_is_it_is_new(overwrite: Overwrite) -> None:
    assert judge(NODE, None, overwrite) is Treatment.NEW


@pytest.mark.parametrize(
    ("there", "verdicts"),
    [
        (found(), {A: Treatment.COMPARE, C: Treatment.SAME, N: Treatment.KEEP, X: Treatment.KEEP}),
        (found(size=4), {A: Treatment.COMPARE, C: Treatment.COMPARE, N: Treatment.KEEP, X: Treatment.KEEP}),
        (found(mtime_ns=49), {A: Treatment.COMPARE, C: Treatment.COMPARE, N: Treatment.COMPARE, X: Treatment.KEEP}),
        (found(mtime_ns=51), {A: Treatment.COMPARE, C: Treatment.COMPARE, N: Treatment.KEEP, X: Treatment.KEEP}),
        (found(links=2), {A: Treatment.REPLACE, C: Treatment.REPLACE, N: Treatment.KEEP, X: Treatment.KEEP}),
        (
            found(stat.S_IFLNK | 0o777),
            {A: Treatment.REPLACE, C: Treatment.REPLACE, N: Treatment.KEEP, X: Treatment.KEEP},
        ),
        (
            found(stat.S_IFDIR, mtime_ns=1),
            {A: Treatment.REPLACE, C: Treatment.REPLACE, N: Treatment.REPLACE, X: Treatment.KEEP},
        ),
    ],
)
def test_a_file_meets_what_is_there(there: os.stat_result, verdicts: dict[Overwrite, Treatment]) -> None:
    assert {each: judge(NODE, there, each) for each in Overwrite} == verdicts


def test_a_folder_is_gone_into_whatever_its_time_and_a_link_is_none() -> None:
    folder = NODE._replace(type=DIR)
    newer = found(stat.S_IFDIR | 0o755, mtime_ns=99, links=7)
    assert [judge(folder, newer, each) for each in (A, C, N, X)] == [Treatment.COMPARE] * 3 + [Treatment.KEEP]
    assert judge(folder, found(stat.S_IFLNK | 0o777, mtime_ns=99), N) is Treatment.REPLACE
    assert judge(NODE._replace(type=SYMLINK), found(stat.S_IFLNK | 0o777, mtime_ns=1), N) is Treatment.COMPARE


def test_what_became_something_else_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"123")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    os.link(tmp_path / "file", tmp_path / "another name")
    (tmp_path / "closed").write_bytes(b"456")
    (tmp_path / "closed").chmod(0)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in (b"link", b"pipe", b"file"):
            with pytest.raises(OSError, match="became something else"):
                open_file_in(folder, name, 1)
        file = open_file_in(folder, b"closed", 1)
        assert os.pread(file, 3, 0) == b"456"
        os.close(file)
    finally:
        os.close(folder)


def test_only_an_empty_folder_goes(tmp_path: Path) -> None:
    for name in ("empty", "full"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "dear").write_bytes(b"1")
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        for name in (b"empty", b"nothing"):
            remove_in(folder, name)
            assert stat_in(folder, name) is None
        with pytest.raises(OSError, match="not empty"):
            remove_in(folder, b"full")
    finally:
        os.close(folder)


def test_bytes_are_those_of_a_blob_or_not(tmp_path: Path) -> None:
    from hashlib import sha256

    (tmp_path / "file").write_bytes(b"..." + bytes(3_000_000))
    with (tmp_path / "file").open("rb") as file:
        assert holds(file.fileno(), 3, 3_000_000, sha256(bytes(3_000_000)).digest())
        assert not holds(file.fileno(), 2, 3_000_000, sha256(bytes(3_000_000)).digest())
        assert not holds(file.fileno(), 4, 3_000_000, sha256(bytes(3_000_000)).digest())
