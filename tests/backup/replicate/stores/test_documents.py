"""What every store of documents promises, on the fake and on both real ones."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from ncia.core.base.errors import Refusal
from ncia.core.work.documents import Documents
from tests.backup.replicate.stores.stands import bucket_of, s3_stand, sftp_stand
from tests.fakes.documents import FakeDocuments


@dataclass(frozen=True)
class Stand:
    store: Documents
    disk: Path | None  # where its documents lie as files, for what is not a fake


@pytest.fixture(scope="module", params=["fake", "sftp", "s3"])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    if request.param == "fake":
        yield Stand(FakeDocuments(), None)
    elif request.param == "sftp":
        folder = tmp_path_factory.mktemp("sftp") / "site"
        with sftp_stand(folder) as host:
            tree = host.tree()
            yield Stand(tree, folder / "files" / "tree")
            tree.close()
    else:
        folder = tmp_path_factory.mktemp("s3") / "objects"
        with s3_stand(folder) as access:
            yield Stand(bucket_of(access), folder / "bucket")


def test_what_was_put_is_got_back(stand: Stand) -> None:
    content = os.urandom(20_000)
    stand.store.put("2026/11/26/0422/one.txt", content)
    assert stand.store.get("2026/11/26/0422/one.txt") == content
    if stand.disk:
        assert (stand.disk / "2026/11/26/0422/one.txt").read_bytes() == content


def test_a_second_put_replaces_the_first_whole(stand: Stand) -> None:
    stand.store.put("again/mark", b"a long one" * 100)
    stand.store.put("again/mark", b"short")
    assert stand.store.get("again/mark") == b"short"
    assert [each.size_bytes for each in stand.store.look("again").documents] == [5]


@pytest.mark.parametrize("size", [0, 1, 32767, 32768, 32769, 98304, 1_300_000])
def test_a_document_of_any_size_comes_back_byte_for_byte(stand: Stand, size: int) -> None:
    content = bytes(number * 7 % 251 for number in range(size))
    stand.store.put("sizes/a", content)
    assert stand.store.get("sizes/a") == content


def test_what_is_not_there_is_none_and_an_absent_folder_is_empty(stand: Stand) -> None:
    assert stand.store.get("nowhere/at-all") is None
    assert stand.store.look("nowhere").documents == ()


def test_a_folder_shows_its_documents_and_folders_and_nothing_of_the_platforms_own(stand: Stand) -> None:
    for name in ("shelf/a", "shelf/b", "shelf/deep/c", "shelf/.ncia/canary", "shelf/.half"):
        stand.store.put(name, name.encode())
    seen = stand.store.look("shelf")
    assert [each.name for each in sorted(seen.documents, key=lambda e: e.name)] == ["shelf/a", "shelf/b"]
    assert seen.folders == ("shelf/deep",)
    tags = [hashlib.md5(name.encode(), usedforsecurity=False).hexdigest() for name in ("shelf/a", "shelf/b")]
    assert [each.tag for each in sorted(seen.documents, key=lambda e: e.name)] in (["", ""], tags)
    assert "shelf" in stand.store.look("").folders


def test_a_folder_of_more_documents_than_a_store_tells_at_once_is_listed_whole(stand: Stand) -> None:
    names = [f"many/{number:04}.txt" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        for kept in [pool.submit(stand.store.put, name, b"x") for name in names]:
            kept.result()
    assert sorted(each.name for each in stand.store.look("many").documents) == names


def test_the_platforms_own_folder_is_shown_to_whoever_asks_for_it_by_name(stand: Stand) -> None:
    for name in ("own/.ncia/aside/1/a/b", "own/.ncia/canary", "own/.ncia/.half"):
        stand.store.put(name, b"x")
    seen = stand.store.look("own/.ncia")
    assert [each.name for each in seen.documents] == ["own/.ncia/canary"]
    assert seen.folders == ("own/.ncia/aside",)
    assert stand.store.look("own/.ncia/aside").folders == ("own/.ncia/aside/1",)


def test_names_in_hangul_are_names(stand: Stand) -> None:
    stand.store.put("문서/민원 1.txt", b"hangul")
    assert stand.store.get("문서/민원 1.txt") == b"hangul"
    assert [each.name for each in stand.store.look("문서").documents] == ["문서/민원 1.txt"]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/etc/passwd", "a//b", "a/./b", "", "nul\0", "back\\slash"])
def test_a_name_that_leaves_the_tree_is_refused_before_anything_is_sent(stand: Stand, name: str) -> None:
    with pytest.raises(Refusal) as refused:
        stand.store.put(name, b"x")
    assert refused.value.code == "documents.bad-name"
    with pytest.raises(Refusal):
        stand.store.get(name)


def test_many_threads_use_it_at_once(stand: Stand) -> None:
    def turn(number: int) -> bool:
        content = str(number).encode() * 1000
        stand.store.put(f"many/{number % 7}/{number}", content)
        return stand.store.get(f"many/{number % 7}/{number}") == content

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(turn, range(60)))
    assert sum(len(stand.store.look(folder).documents) for folder in stand.store.look("many").folders) == 60
