from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backup.repository.format.packs import Blob
from backup.repository.format.trees import Node
from backup.repository.repository import Repository
from backup.repository.save.helper import FAILED, OTHER, SEALED, Helper, Small
from backup.repository.save.pipeline import Packing
from backup.repository.save.scan import Losses, Owners, node_of
from backup.repository.save.small import BATCH_FILES, HELPED_FROM, Outcome, SmallFiles
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import noise
from tests.backup.repository.sample import new, reopened

FILES = HELPED_FROM + 2 * BATCH_FILES


def looked_at(path: Path) -> Node:
    raw = os.fsencode(path)
    return node_of(raw.rpartition(b"/")[2], raw, os.lstat(raw), Owners(), Losses())


def asked(path: Path) -> Small:
    node = looked_at(path)
    return Small(os.fsencode(path), node.inode, node.mtime_ns, node.size)


@pytest.fixture
def helper() -> Helper:
    made = Helper(new().key, verify=True)
    yield made
    made.close()


def test_a_helper_seals_what_it_reads(tmp_path: Path, helper: Helper) -> None:
    repository = new()
    helper = Helper(repository.key, verify=True)
    contents = [noise(1, 3000), b"text " * 1000, b"", b"x"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    sealed = helper.seal([asked(tmp_path / str(number)) for number in range(len(contents))])
    assert [(each.state, each.plain_bytes) for each in sealed] == [(SEALED, len(content)) for content in contents]
    assert [each.compressed for each in sealed] == [False, True, False, False]
    at = 0
    for each, content in zip(sealed, contents, strict=True):
        if content:
            blob = Blob(each.id, False, 0, each.length, len(content) if each.compressed else 0)
            assert repository.open_blob(blob, helper.slab[at : at + each.length]) == content
        else:
            assert each.length == 0
        at += each.length
    helper.close()


def test_what_is_another_file_by_now_is_told_and_what_is_none_too(tmp_path: Path, helper: Helper) -> None:
    for name in ("same", "other", "gone", "fifo"):
        (tmp_path / name).write_bytes(b"content")
    questions = [asked(tmp_path / name) for name in ("same", "other", "gone", "fifo")]
    (tmp_path / "other").write_bytes(b"longer content")
    (tmp_path / "gone").unlink()
    (tmp_path / "fifo").unlink()
    os.mkfifo(tmp_path / "fifo")
    sealed = helper.seal(questions)
    assert [each.state for each in sealed] == [SEALED, OTHER, FAILED, OTHER]
    assert os.strerror(sealed[2].plain_bytes) == "No such file or directory"


def test_a_helper_that_was_killed_is_told_in_one_sentence(tmp_path: Path, helper: Helper) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.kill(helper._process.pid, signal.SIGKILL)
    helper._process.wait()
    with pytest.raises(NciaError, match="helper process: it ended with -9"):
        helper.seal([asked(tmp_path / "file")])


def outcomes(repository: Repository, paths: list[Path], spoil: object = None) -> list[Outcome]:
    """What becomes of files; ``spoil`` happens between looking and reading."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    nodes = [looked_at(path) for path in paths]
    if spoil is not None:
        spoil()
    with ThreadPoolExecutor(2) as workers:
        small = SmallFiles(packing, repository.key, True, workers)
        places = [small.add(os.fsencode(path), node) for path, node in zip(paths, nodes, strict=True)]
        small.flush()
        found = [batch.told[at] for batch, at in places]
    small.close()
    packing.finish()
    return found


def test_many_files_come_back_from_helpers_and_from_here(tmp_path: Path) -> None:
    repository = new()
    contents = [b"%d " % (number // 2) * (number % 50) for number in range(FILES)]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    found = outcomes(repository, [tmp_path / str(number) for number in range(FILES)])
    again = reopened(repository)
    kept = [b"".join(again.load_blob(id_, tree=False) for id_ in content) for _, content, _, _ in found]
    assert kept == contents
    assert len(again.index) == len({content for content in contents if content})


@pytest.mark.parametrize("at", [0, FILES - 1])
def test_a_file_that_changes_before_it_is_read_is_kept_as_it_is_then(tmp_path: Path, at: int) -> None:
    """In the first batches, which are read here, and in the last, which helpers read."""
    repository = new()
    paths = [tmp_path / str(number) for number in range(FILES)]
    for path in paths:
        path.write_bytes(path.name.encode())
    grown = noise(1, 3_000_000)
    found = outcomes(repository, paths, lambda: paths[at].write_bytes(grown))
    node, content, _, fault = found[at]
    again = reopened(repository)
    assert b"".join(again.load_blob(id_, tree=False) for id_ in content) == grown
    assert (node.size, node.mtime_ns, fault) == (len(grown), paths[at].stat().st_mtime_ns, "")
    assert [each[0].size for each in found].count(len(grown)) == 1


@pytest.mark.parametrize("at", [0, FILES - 1])
def test_a_file_that_is_gone_before_it_is_read_is_told(tmp_path: Path, at: int) -> None:
    paths = [tmp_path / str(number) for number in range(FILES)]
    for path in paths:
        path.write_bytes(path.name.encode())
    found = outcomes(new(), paths, lambda: paths[at].unlink())
    assert [number for number, each in enumerate(found) if each[3]] == [at]
    assert found[at][3] == "No such file or directory"
