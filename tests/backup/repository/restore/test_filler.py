from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from backup.repository.format.seal import Key
from backup.repository.format.trees import Node
from backup.repository.restore.existing import Overwrite
from backup.repository.restore.filler import PACKER, Filler, NewFile, Question
from backup.repository.restore.fillers import Fillers
from backup.repository.restore.filling import BATCH_FILES
from backup.repository.restore.restoring import Restored, Restoring
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import ACL, differences, noise, odd_tree
from tests.backup.repository.restore.by_hand import ALL, ME, Counted, bring, file_of, made_by_hand
from tests.backup.repository.sample import HOLDER, new, reopened

FAR_NS = 253_402_300_799 * 10**9  # the last second of the year 9999


def test_all_that_a_file_has_comes_back_by_fillers(tmp_path: Path) -> None:
    repository, source = new(), odd_tree(tmp_path / "source")
    for number in range(BATCH_FILES + 1):  # more than one question
        folder = source / f"more {number % 7}"
        folder.mkdir(exist_ok=True)
        (folder / str(number)).write_bytes(noise(number, number * 10))
        (folder / str(number)).chmod((0o666, 0o600, 0o777, 0o4755, 0o2711, 0)[number % 6])
    saved = save(reopened(repository), Request((str(source),), HOLDER), SystemClock())
    opened = reopened(repository)
    fillers = Counted(opened, files=0)
    with Restoring(opened, fillers=fillers) as restoring:
        told = restoring.run(saved.snapshot, tmp_path / "target", ALL)
    assert fillers.files > BATCH_FILES
    assert differences(source, tmp_path / "target" / source.relative_to("/")) == []
    by_workers = bring(repository, saved.snapshot, tmp_path / "by workers")
    assert (told.losses, told.bytes, told.files) == (by_workers.losses, by_workers.bytes, by_workers.files)


def test_fillers_are_begun_where_there_is_much(tmp_path: Path) -> None:
    repository = new()
    files = [file_of(b"%02d" % number, b"content") for number in range(50)]
    snapshot = made_by_hand(repository, *files, contents=(b"content",))
    for least, begun in ((51, 0), (50, 1)):
        opened = reopened(repository)
        fillers = Fillers(opened, files=least)
        with Restoring(opened, fillers=fillers) as restoring:
            told = restoring.run(snapshot, tmp_path / str(least), ALL)
            assert len(fillers.crew._begun) == begun
        assert (told.files, told.bytes, told.partial) == (50, 350, False)
        assert {path.read_bytes() for path in (tmp_path / str(least)).iterdir()} == {b"content"}


@pytest.mark.parametrize("overwrite", [None, Overwrite.ALWAYS])
def test_a_new_file_has_of_the_folder_around_it_what_a_worker_would_leave_it(
    tmp_path: Path, overwrite: Overwrite | None
) -> None:
    """An ACL that a folder gives to what is made in it stays where nothing may be replaced, as with any program."""
    repository = new()
    snapshot = made_by_hand(repository, file_of(b"file", b"content"), contents=(b"content",))
    found = []
    for helped in (False, True):
        target = tmp_path / str(helped)
        target.mkdir()
        os.setxattr(target, "system.posix_acl_default", ACL)
        bring(repository, snapshot, target, helped=helped, overwrite=overwrite)
        found.append(os.listxattr(target / "file"))
    assert found == [[] if overwrite else ["system.posix_acl_access"]] * 2


def test_a_time_that_no_64_bits_hold_is_for_the_worker_and_costs_that_time_alone(tmp_path: Path) -> None:
    repository = new()
    snapshot = made_by_hand(repository, file_of(b"file", b"content", mtime_ns=FAR_NS), contents=(b"content",))
    opened = reopened(repository)
    fillers = Counted(opened, files=0)
    with Restoring(opened, fillers=fillers) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert (fillers.files, told.files) == (0, 1)
    assert (tmp_path / "target" / "file").read_bytes() == b"content"
    assert set(told.losses.counts) <= {"times"}  # some systems hold it


def test_where_no_filler_comes_up_workers_make_the_files(tmp_path: Path) -> None:
    repository = new()
    snapshot = made_by_hand(repository, file_of(b"file", b"content"), contents=(b"content",))

    def dead(key: Key) -> Filler:
        made = Filler(key)
        made.kill()
        return made

    opened = reopened(repository)
    fillers = Counted(opened, files=0, begin=dead)
    with Restoring(opened, fillers=fillers) as restoring:
        told = restoring.run(snapshot, tmp_path / "target", ALL)
    assert (fillers.files, told.files, told.partial) == (0, 1, False)
    assert (tmp_path / "target" / "file").read_bytes() == b"content"


def test_a_filler_that_hangs_holds_nobody_who_breaks_off(tmp_path: Path) -> None:
    repository = new()
    files = [file_of(b"%05d" % number, b"content") for number in range(BATCH_FILES + 1)]
    snapshot = made_by_hand(repository, *files, contents=(b"content",))
    begun = threading.Event()

    def hanging(key: Key) -> Filler:
        made = Filler(key)
        os.kill(made._process.pid, signal.SIGSTOP)
        begun.set()
        return made

    def broken_off(_: Restored) -> None:
        assert begun.wait(20)
        raise KeyboardInterrupt

    opened = reopened(repository)
    with (
        pytest.raises(KeyboardInterrupt),
        Restoring(opened, tell=broken_off, fillers=Fillers(opened, files=0, begin=hanging)) as restoring,
    ):
        restoring.run(snapshot, tmp_path / "target", ALL)


def test_what_is_there_already_is_not_written_through_by_a_filler(tmp_path: Path) -> None:
    """Somebody was quicker: with a file, and with a link that leads elsewhere."""
    dear = tmp_path / "dear"
    dear.write_bytes(b"dear")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "file").write_bytes(b"theirs")
    (tmp_path / "target" / "link").symlink_to(dear)
    filler, folder = Filler(new().key), os.open(tmp_path / "target", os.O_RDONLY | os.O_DIRECTORY)
    try:
        filler.demand_ready()
        files = [NewFile(0, node(name), False, []) for name in (b"file", b"link", b"new")]
        answer = filler.fill(PACKER.encode(Question([b"/there"], files)), [folder])
    finally:
        os.close(folder)
        filler.close()
    assert answer.losses.named == [f"/there/{name}: file not kept: File exists" for name in ("file", "link")]
    assert (dear.read_bytes(), (tmp_path / "target" / "file").read_bytes()) == (b"dear", b"theirs")
    assert (tmp_path / "target" / "new").stat().st_size == 0


def test_a_filler_that_was_killed_is_told_in_one_sentence(tmp_path: Path) -> None:
    filler, folder = Filler(new().key), os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    os.kill(filler._process.pid, signal.SIGKILL)
    filler._process.wait()
    try:
        with pytest.raises(NciaError, match="it ended with -9"):
            filler.fill(PACKER.encode(Question([b"/"], [])), [folder])
    finally:
        os.close(folder)
        filler.close()


def node(name: bytes) -> Node:
    return Node(name, "file", 0o644, 5, 5, 5, ME["uid"], ME["gid"], content=())
