from __future__ import annotations

import errno
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backup.repository.format.compression import Compression
from backup.repository.format.packs import Blob
from backup.repository.format.parsing import tree_nodes
from backup.repository.format.trees import Node, tree_text
from backup.repository.repository import Repository
from backup.repository.save.helper import FAILED, OTHER, SEALED, SLAB_BYTES, Helper
from backup.repository.save.pipeline import Packing
from backup.repository.save.scan import ONE_BLOB_MAX, Losses
from backup.repository.save.small import BATCH_FILES, HELPED_FROM, SmallFiles
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import noise
from tests.backup.repository.sample import new, reopened

FILES = HELPED_FROM + 2 * BATCH_FILES


@pytest.fixture
def helper() -> Helper:
    made = Helper(new().key, Compression.AUTO, verify=True)
    yield made
    made.close()


def test_a_helper_seals_what_it_reads(tmp_path: Path, helper: Helper) -> None:
    repository = new()
    helper = Helper(repository.key, Compression.AUTO, verify=True)
    contents = [noise(1, 3000), b"text " * 1000, b"", b"x"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    sealed, texts = helper.seal([os.fsencode(tmp_path / str(number)) for number in range(len(contents))])
    nodes = [node_of_text(text) for text in texts]
    assert [(node.name, node.size) for node in nodes] == [
        (b"%d" % number, len(each)) for number, each in enumerate(contents)
    ]
    assert [node.content for node in nodes] == [(each.id,) if each.length else () for each in sealed]
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


def test_what_a_helper_cannot_keep_is_told(tmp_path: Path, helper: Helper) -> None:
    for name, size in (("small", 7), ("big", ONE_BLOB_MAX + 1), ("least", ONE_BLOB_MAX)):
        (tmp_path / name).write_bytes(bytes(size))
    os.mkfifo(tmp_path / "fifo")
    sealed, texts = helper.seal([os.fsencode(tmp_path / name) for name in ("small", "big", "gone", "fifo", "least")])
    assert [each.state for each in sealed] == [SEALED, OTHER, FAILED, OTHER, SEALED]
    assert [bool(text) for text in texts] == [True, False, False, False, True]
    assert os.strerror(sealed[2].plain_bytes) == "No such file or directory"


def test_what_does_not_fit_into_the_slab_any_more_is_left_to_its_asker(tmp_path: Path, helper: Helper) -> None:
    """Files that have grown since they were put into one question."""
    names = [str(number) for number in range(SLAB_BYTES // ONE_BLOB_MAX + 1)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(noise(number, ONE_BLOB_MAX))
    sealed, _ = helper.seal([os.fsencode(tmp_path / name) for name in names])
    assert [each.state for each in sealed] == [SEALED] * 7 + [OTHER, OTHER]


def test_a_helper_that_was_killed_is_told_in_one_sentence(tmp_path: Path, helper: Helper) -> None:
    (tmp_path / "file").write_bytes(b"content")
    os.kill(helper._process.pid, signal.SIGKILL)
    helper._process.wait()
    with pytest.raises(NciaError, match="helper process: it ended with -9"):
        helper.seal([os.fsencode(tmp_path / "file")])


Found = tuple[Node | None, int]  # as it was read, if it could be, and its size by the outcome's word


def node_of_text(text: str) -> Node:
    (node,) = tree_nodes(tree_text([text]), "a test")
    return node


def outcomes(repository: Repository, paths: list[Path], spoil: object = None) -> tuple[list[Found], Losses]:
    """What becomes of files, and what is lost; ``spoil`` happens between looking and reading."""
    packing = Packing(repository, verify=True, guard=lambda: None)
    sizes = [path.stat().st_size for path in paths]
    if spoil is not None:
        spoil()
    losses = Losses()
    with ThreadPoolExecutor(2) as workers:
        small = SmallFiles(packing, repository, True, workers)
        places = [small.add(os.fsencode(path), size) for path, size in zip(paths, sizes, strict=True)]
        small.flush()
        found = [(batch.told.texts[at], batch.told.sizes[at]) for batch, at in places]
        for told in {id(batch): batch.told for batch, _ in places}.values():
            losses.add(told.losses)
    small.crew.close()
    packing.finish()
    return [(node_of_text(text) if text else None, size) for text, size in found], losses


def test_many_files_come_back_from_helpers_and_from_here(tmp_path: Path) -> None:
    repository = new()
    contents = [b"%d " % (number // 2) * (number % 50) for number in range(FILES)]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    found, losses = outcomes(repository, [tmp_path / str(number) for number in range(FILES)])
    again = reopened(repository)
    kept = [b"".join(again.load_blob(id_, tree=False) for id_ in node.content) for node, _ in found]
    assert kept == contents
    assert [size for _, size in found] == [node.size for node, _ in found] == [len(content) for content in contents]
    assert len(again.index) == len({content for content in contents if content})
    assert not losses


@pytest.mark.parametrize("at", [0, FILES - 1])
def test_a_file_that_changes_before_it_is_read_is_kept_as_it_is_then(tmp_path: Path, at: int) -> None:
    """In the first batches, which are read here, and in the last, which helpers read."""
    repository = new()
    paths = [tmp_path / str(number) for number in range(FILES)]
    for path in paths:
        path.write_bytes(path.name.encode())
    grown = noise(1, 3_000_000)
    found, losses = outcomes(repository, paths, lambda: paths[at].write_bytes(grown))
    node, size = found[at]
    again = reopened(repository)
    assert b"".join(again.load_blob(id_, tree=False) for id_ in node.content) == grown
    assert (node.size, size, node.mtime_ns) == (len(grown), len(grown), paths[at].stat().st_mtime_ns)
    assert [size for _, size in found].count(len(grown)) == 1
    assert not losses


@pytest.mark.parametrize("at", [0, FILES - 1])
def test_a_file_that_is_gone_before_it_is_read_is_told(tmp_path: Path, at: int) -> None:
    paths = [tmp_path / str(number) for number in range(FILES)]
    for path in paths:
        path.write_bytes(path.name.encode())
    found, losses = outcomes(new(), paths, lambda: paths[at].unlink())
    assert [number for number, (node, _) in enumerate(found) if node is None] == [at]
    assert losses.named == [f"{paths[at]}: entry not kept: No such file or directory"]


@pytest.mark.parametrize("at", [0, FILES - 1])
def test_attributes_of_a_small_file_are_kept_by_whoever_reads_it(tmp_path: Path, at: int) -> None:
    paths = [tmp_path / str(number) for number in range(FILES)]
    for path in paths:
        path.write_bytes(path.name.encode())
    os.setxattr(paths[at], "user.of", b"a test")
    found, _ = outcomes(new(), paths)
    assert [number for number, (node, _) in enumerate(found) if node.attributes] == [at]
    assert found[at][0].attributes == (("user.of", b"a test"),)


def test_where_no_helper_can_be_begun_small_files_are_read_here(tmp_path: Path) -> None:
    repository = new()
    for number in range(FILES):
        (tmp_path / str(number)).write_bytes(b"%d" % number)

    def none_to_be_had() -> Helper:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    packing = Packing(repository, verify=True, guard=lambda: None)
    with ThreadPoolExecutor(2) as workers:
        small = SmallFiles(packing, repository, True, workers, none_to_be_had)
        places = [small.add(os.fsencode(tmp_path / str(number)), 4) for number in range(FILES)]
        small.flush()
        assert all(batch.told.texts[at] for batch, at in places)
    packing.finish()
    assert len(reopened(repository).index) == FILES
