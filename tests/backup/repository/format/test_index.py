from __future__ import annotations

import os
import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup.repository.faults import Damaged
from backup.repository.format.bounds import BLOB_BYTES_MAX
from backup.repository.format.index import Index, Where, index_packs, index_text, runs_needed
from backup.repository.format.packs import Blob

IDS = st.binary(min_size=32, max_size=32)
BLOBS = st.builds(
    Blob, IDS, st.booleans(), st.integers(0, 2**32 - 1), st.integers(32, BLOB_BYTES_MAX), st.integers(0, BLOB_BYTES_MAX)
)
PACKS = st.lists(st.tuples(IDS, st.lists(BLOBS, max_size=8)), max_size=8)
BYTES_A_BLOB_MAX = 70  # 10 million of them in 700 MB


@given(PACKS)
def test_an_index_file_tells_what_it_was_told(packs: list[tuple[bytes, list[Blob]]]) -> None:
    assert [(id_, list(blobs)) for id_, blobs in index_packs(index_text(packs), "read")] == packs


@given(PACKS)
def test_memory_finds_what_it_was_told_and_nothing_else(packs: list[tuple[bytes, list[Blob]]]) -> None:
    index = Index()
    first: dict[tuple[bytes, bool], tuple[bytes, Blob]] = {}
    for pack, blobs in packs:
        index.add(pack, blobs)
        for blob in blobs:
            first.setdefault((blob.id, blob.tree), (pack, blob))
    assert len(index) == sum(len(blobs) for _, blobs in packs)
    for (id_, tree), found in first.items():
        assert index.where(id_, tree) == found
        assert index.has(id_, not tree) is ((id_, not tree) in first)
    assert index.where(os.urandom(32), tree=False) is None


def test_an_id_that_lies_across_two_records_is_not_found() -> None:
    """Ids are searched for as text: a stretch of it that happens to look like one must not count."""
    index = Index()
    first = Blob(b"ab" + bytes(range(1, 31)), False, 1, 32, 0)
    index.add(b"p" * 32, [first, Blob(b"ab" + b"z" * 30, False, 2, 33, 0)])
    shard = index._shards[ord("a") << 8 | ord("b")]
    assert shard is not None
    across = bytes(shard[7:37])
    assert shard.find(across) == 7
    assert not index.has(b"ab" + across, tree=False)


def test_tree_and_data_of_one_id_are_two_blobs() -> None:
    index, id_ = Index(), os.urandom(32)
    index.add(b"d" * 32, [Blob(id_, False, 0, 50, 0)])
    assert not index.has(id_, tree=True)
    index.add(b"t" * 32, [Blob(id_, True, 7, 60, 90)])
    assert index.where(id_, tree=True) == (b"t" * 32, Blob(id_, True, 7, 60, 90))
    assert index.where(id_, tree=False) == (b"d" * 32, Blob(id_, False, 0, 50, 0))


def test_ten_million_blobs_would_fit_in_their_memory() -> None:
    """Two hundred thousand of them, as crowded as ten million are: in a fiftieth of the shards."""
    shards = [(number >> 8, number & 0xFF) for number in range(0, 1 << 16, 50)]
    random.seed(1)
    tracemalloc.start()
    index = Index()
    empty, _ = tracemalloc.get_traced_memory()
    for _ in range(200):
        blobs = [Blob(bytes(random.choice(shards)) + os.urandom(30), False, 1, 99, 0) for _ in range(1000)]
        index.add(os.urandom(32), blobs)
    del blobs
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (used - empty) / 200_000 <= BYTES_A_BLOB_MAX


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"{}",
        b'{"packs":[{"id":"zz","blobs":[]}]}',
        b'{"packs":[{"id":"00","blobs":[{"id":"00","type":"data","offset":0,"length":40}]}]}',
        b'{"packs":[{"id":"00","blobs":[{"id":"' + b"0" * 64 + b'","type":"odd","offset":0,"length":40}]}]}',
        b'{"packs":[{"id":"00","blobs":[{"id":"' + b"0" * 64 + b'","type":"data","offset":-1,"length":40}]}]}',
        b'{"packs":[{"id":"00","blobs":[{"id":"' + b"0" * 64 + b'","type":"data","offset":1.5,"length":40}]}]}',
        b'{"packs":[{"id":"00","blobs":[{"id":"' + b"0" * 64 + b'","type":"data","offset":0,"length":31}]}]}',
        b'{"packs":[{"id":"' + b"0" * 62 + b'","blobs":[]}]}',
        b'{"packs":[{"id":"%s","blobs":[{"id":"%s","type":"data","offset":0,"length":4294967295}]}]}'
        % (b"0" * 64, b"0" * 64),
        b'{"packs":' + b"[" * 100_000,
        b'{"packs":[' + b"[]," * 1_000_000 + b"[]]}",
    ],
)
def test_an_index_of_another_shape_is_damaged(text: bytes) -> None:
    with pytest.raises(Damaged):
        list(index_packs(text, "read index"))


def test_a_tree_and_a_file_of_the_same_bytes_are_both_read_and_each_once() -> None:
    pack = b"p" * 32
    data, tree = Blob(b"i" * 32, False, 0, 50, 0), Blob(b"i" * 32, True, 50, 50, 0)
    assert runs_needed([Where(pack, tree), Where(pack, data), Where(pack, data)]) == [(pack, [data, tree])]
