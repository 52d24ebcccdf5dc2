"""What is particular to a folder: what is durable when, a full disk, a kill in the middle, a disk that is not there."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.stores import folder
from backup.repository.stores.folder import FolderStore
from tests.backup.repository.stores.places import pack
from tests.backup.repository.stores.writer import packs
from tests.demand import demand

ROOT = Path(__file__).parents[4]
WRITER = "tests.backup.repository.stores.writer"
ON_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && shift 2 && "$@"; ls -R "$4"'


def made(root: Path, sync: Callable[[int], None] = folder.sync) -> FolderStore:
    FolderStore(root).create()
    FolderStore(root).save(Kind.CONFIG, "", b"a configuration")
    return FolderStore(root, sync)


def lies_at(root: Path, name: str) -> Path:
    return root / "data" / name[:2] / name


def test_bytes_are_durable_before_they_have_their_name_and_the_name_before_the_save_returns(tmp_path: Path) -> None:
    name, content = pack(10_000)
    seen: list[tuple[str, int, bool]] = []

    def sync(file: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{file}"))
        seen.append((path.name.partition("-tmp-")[0], os.fstat(file).st_size, lies_at(tmp_path, name).exists()))

    made(tmp_path, sync).save(Kind.DATA, name, content)
    assert [(seen[0]), (seen[1][0], seen[1][2])] == [(name, len(content), False), (name[:2], True)]
    assert len(seen) == 2


def test_bytes_that_were_there_already_are_durable_before_they_are_accepted(tmp_path: Path) -> None:
    name, content = pack(10_000)
    seen: list[str] = []
    store = made(tmp_path, lambda file: seen.append(Path(os.readlink(f"/proc/self/fd/{file}")).name))
    lies_at(tmp_path, name).write_bytes(content)  # by one who was killed before they were
    store.save(Kind.DATA, name, content)
    assert seen == [name, name[:2]]


def test_a_disk_that_fails_to_keep_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    name, content = pack(10_000)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreFault, match="Input/output error") as fault:
        made(tmp_path, fail).save(Kind.DATA, name, content)
    assert fault.value.code == "repository.failed"
    assert list((tmp_path / "data" / name[:2]).iterdir()) == []


def test_where_there_are_no_links_a_file_gets_its_name_by_a_rename_that_replaces_nothing(tmp_path: Path) -> None:
    (name, content), (taken, other) = pack(10_000), pack(10_000)
    made(tmp_path)

    def none(source: Path, target: Path) -> None:
        if target.name == taken:  # another writer was quicker
            target.write_bytes(b"another one's")
        raise OSError(errno.EPERM, "Operation not permitted")

    store = FolderStore(tmp_path, link=none)
    store.save(Kind.DATA, name, content)
    assert store.load(Kind.DATA, name) == content
    with pytest.raises(StoreFault, match="other bytes have that name"):
        store.save(Kind.DATA, taken, other)
    for each in (name, taken):
        assert [file.name for file in lies_at(tmp_path, each).parent.glob(f"{each}*")] == [each]


@pytest.mark.parametrize("same", [True, False])
def test_a_name_that_another_writer_took_meanwhile_is_looked_at_again(tmp_path: Path, same: bool) -> None:
    name, content = pack(10_000)
    made(tmp_path)

    def late(source: Path, target: Path) -> None:
        target.write_bytes(content if same else b"another one's")
        os.link(source, target)

    store = FolderStore(tmp_path, link=late)
    if same:
        store.save(Kind.DATA, name, content)
    else:
        with pytest.raises(StoreFault, match="other bytes have that name"):
            store.save(Kind.DATA, name, content)
    assert [each.name for each in lies_at(tmp_path, name).parent.iterdir()] == [name]


def test_a_full_disk_is_a_clear_refusal_and_leaves_nothing_half(tmp_path: Path) -> None:
    demand("unshare", "a disk of its own size")
    (tmp_path / "disk").mkdir()
    root = tmp_path / "disk" / "repository"
    writing = [sys.executable, "-m", WRITER, str(root), "100", "100000"]
    mounting = ["sh", "-c", ON_SMALL_DISK, "sh", "2m", str(tmp_path / "disk"), *writing]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", *mounting], cwd=ROOT, capture_output=True, text=True
    )
    told, _, listed = done.stdout.partition("fault ")
    kept = told.split()
    assert (len(kept) > 5, done.stderr) == (True, ""), done.stdout
    assert listed.startswith("repository.full: save data/")
    assert "the disk is full: No space left on device (try: make room there, then again)" in listed
    there = [line for line in listed.splitlines() if len(line) >= 64 and "/" not in line and " " not in line]
    assert sorted(there) == sorted(kept)


def test_a_writer_that_is_killed_leaves_whole_files_only_and_the_next_one_goes_on(tmp_path: Path) -> None:
    count, size = 60, 300_000
    root = tmp_path / "repository"
    with subprocess.Popen(
        [sys.executable, "-m", WRITER, str(root), str(count), str(size)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout
        kept = [writer.stdout.readline().strip() for _ in range(10)]
        writer.kill()
        kept += [line.strip() for line in writer.stdout if len(line) == len(kept[0]) + 1]
    store = FolderStore(root)
    there = [each.name for each in store.names(Kind.DATA)]
    assert set(kept) <= set(there)
    assert [hashlib.sha256(store.load(Kind.DATA, name)).hexdigest() for name in there] == there
    for name, content in packs(count, size):
        store.save(Kind.DATA, name, content)
    assert len(list(store.names(Kind.DATA))) == count


def test_a_writer_that_is_killed_at_any_call_has_lost_nothing_that_it_told_and_the_next_one_goes_on(
    tmp_path: Path,
) -> None:
    def run(root: Path, moment: int) -> tuple[int, list[str]]:
        command = [sys.executable, "-m", WRITER, str(root), "2", "50000", str(moment)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stdout.splitlines()

    wanted = dict(packs(2, 50_000))
    ended, lines = run(tmp_path / "whole", 0)
    assert (ended, lines[:-1]) == (0, list(wanted))
    moments = int(lines[-1].removeprefix("moments "))
    assert moments > 20
    for moment in range(1, moments + 1):
        root = tmp_path / f"{moment}"
        ended, told = run(root, moment)
        assert ended == -signal.SIGKILL
        store = FolderStore(root)
        there = {each.name for each in store.names(Kind.DATA)} if (root / "data").is_dir() else set()
        assert set(told) <= there
        if not list(store.names(Kind.CONFIG) if root.is_dir() else ()):
            store.create()
        store.save(Kind.CONFIG, "", b"a configuration")
        assert all(store.load(Kind.DATA, name) == wanted[name] for name in there)
        for name, content in wanted.items():
            store.save(Kind.DATA, name, content)
        assert {each.name for each in store.names(Kind.DATA)} == set(wanted)


@pytest.mark.parametrize(("number", "code"), [(errno.EIO, "repository.failed"), (errno.ENOSPC, "repository.full")])
def test_a_disk_that_fails_at_any_call_leaves_nothing_half_and_the_next_attempt_ends_the_work(
    number: int, code: str, tmp_path: Path
) -> None:
    name, content = pack(10_000)
    failed = 0
    for at in range(1, 12):
        calls = iter(range(1, 100))

        def failing(call: Callable[..., None], at: int = at, calls: Iterator[int] = calls) -> Callable[..., None]:
            def called(*args: object) -> None:
                if next(calls) == at:
                    raise OSError(number, os.strerror(number))
                call(*args)

            return called

        root = tmp_path / f"{at}"
        codes: list[str] = []
        for store in (FolderStore(root, failing(folder.sync), failing(os.link)), FolderStore(root)):
            try:
                if not (root / "config").exists():
                    store.create()
                    store.save(Kind.CONFIG, "", b"a configuration")
                store.save(Kind.DATA, name, content)
                codes.append("kept")
            except StoreFault as fault:
                codes.append(fault.code)
            assert [each.name for each in root.rglob("*-tmp-*")] == []
        failed += codes == [code, "kept"]
        assert codes in ([code, "kept"], ["kept", "kept"])
        assert FolderStore(root).load(Kind.DATA, name) == content
    assert failed == 9  # three folders made durable; then twice the bytes, the name, the folder


def test_a_file_that_is_damaged_is_told_and_not_overwritten(tmp_path: Path) -> None:
    name, content = pack(10_000)
    store = made(tmp_path)
    lies_at(tmp_path, name).write_bytes(content[:5000])
    with pytest.raises(StoreFault, match=r"other bytes have that name there.*remove it and save again"):
        store.save(Kind.DATA, name, content)
    assert lies_at(tmp_path, name).stat().st_size == 5000


def test_a_disk_that_is_not_mounted_is_not_written_into_and_is_no_empty_repository(tmp_path: Path) -> None:
    name, content = pack(100)
    for root in (tmp_path, tmp_path / "nowhere"):
        store = FolderStore(root)
        with pytest.raises(StoreFault, match=r"no repository is in .*is its disk mounted\?"):
            store.save(Kind.DATA, name, content)
        with pytest.raises(StoreFault, match="no repository is in"):
            list(store.names(Kind.SNAPSHOTS))
        with pytest.raises(Missing, match="and mounted"):
            store.load(Kind.CONFIG, "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_lost_in_a_copy_of_the_repository_is_made_again(tmp_path: Path) -> None:
    """Copies through a bucket have no empty folders."""
    name, content = pack(100)
    store = made(tmp_path)
    for shelf in (tmp_path / "data").iterdir():
        shelf.rmdir()
    for gone in ("data", "locks"):
        (tmp_path / gone).rmdir()
    assert [list(store.names(kind)) for kind in (Kind.DATA, Kind.LOCKS)] == [[], []]
    store.save(Kind.DATA, name, content)
    store.save(Kind.LOCKS, name, content)
    assert lies_at(tmp_path, name).read_bytes() == content
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_files_are_read_only_and_shared_with_the_group_where_the_configuration_is(tmp_path: Path) -> None:
    store = made(tmp_path)
    (name, content), (second, other) = pack(100), pack(100)
    store.save(Kind.DATA, name, content)
    (tmp_path / "config").chmod(0o440)
    store.save(Kind.DATA, second, other)
    assert [stat.S_IMODE(lies_at(tmp_path, each).stat().st_mode) for each in (name, second)] == [0o400, 0o440]


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    store = made(tmp_path)
    (pipe, content), (link, _) = pack(100), pack(100)
    os.mkfifo(lies_at(tmp_path, pipe))
    lies_at(tmp_path, link).symlink_to(lies_at(tmp_path, link))
    with pytest.raises(StoreFault, match="it is no regular file"):
        store.load(Kind.DATA, pipe)
    with pytest.raises(StoreFault, match="it is no regular file"):
        store.save(Kind.DATA, pipe, content)
    with pytest.raises(StoreFault, match="levels of symbolic links"):
        store.load(Kind.DATA, link)
    assert list(store.names(Kind.DATA)) == []


def test_a_file_where_the_repository_should_be_is_one_clear_refusal(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreFault, match="Not a directory"):
            FolderStore(root).create()


def test_a_repository_is_made_with_the_folders_above_it_and_all_of_them_are_durable(tmp_path: Path) -> None:
    seen: list[str] = []
    root = tmp_path / "a" / "b"
    FolderStore(root, lambda file: seen.append(os.readlink(f"/proc/self/fd/{file}"))).create()
    assert seen == [str(tmp_path), str(tmp_path / "a"), str(root / "data"), str(root)]
