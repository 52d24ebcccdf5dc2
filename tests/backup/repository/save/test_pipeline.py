from __future__ import annotations

import errno
import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backup.repository.format.compression import Squeezer
from backup.repository.format.index import index_packs
from backup.repository.format.packs import header_span, open_header
from backup.repository.ports import Kind, StoreFault
from backup.repository.repository import Repository
from backup.repository.save.helper import SEALED, Sealed
from backup.repository.save.pipeline import PACK_BLOBS_MAX, PACK_BYTES, Packing
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, new, reopened
from tests.fakes.repository import FakeStore


def packing_of(repository: Repository) -> Packing:
    return Packing(repository, verify=True, guard=lambda: None)


def test_what_many_threads_keep_is_found_again() -> None:
    repository = new()
    packing = packing_of(repository)
    blobs = [noise(number, 1 + number % 3000) for number in range(500)]
    with ThreadPoolExecutor(4) as pool:
        ids = list(pool.map(packing.keep, blobs + blobs))
    packing.finish()
    assert ids[:500] == ids[500:]
    assert packing.added.data_blobs == 500
    again = reopened(repository)
    assert [again.load_blob(id_, tree=False) for id_ in ids[:500]] == blobs


def test_packs_are_full_and_spread_and_their_headers_tell_the_same_as_the_index() -> None:
    repository = new()
    packing = packing_of(repository)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(packing.keep, [noise(number, 900_000) for number in range(80)]))
    packing.finish()
    sizes = sorted(stored.size for stored in repository.store.names(Kind.DATA))
    assert sizes[-1] <= PACK_BYTES + 1_000_000
    assert sum(size >= PACK_BYTES for size in sizes) >= 2
    for _, packs in repository.index_files():
        for pack, blobs in packs:
            content = repository.store.load(Kind.DATA, pack.hex())
            offset, length = header_span(content[-4:], len(content), "read")
            assert open_header(content[offset : offset + length], repository.sealer, "read") == tuple(blobs)


def test_trees_and_data_lie_in_different_packs() -> None:
    repository = new()
    packing = packing_of(repository)
    packing.keep(b"data")
    packing.keep(b"tree", tree=True)
    packing.finish()
    kinds = [{blob.tree for blob in blobs} for _, packs in repository.index_files() for _, blobs in packs]
    assert sorted(kinds, key=str) == [{False}, {True}]


def test_what_does_not_get_smaller_is_kept_as_it_is() -> None:
    repository = new()
    packing = packing_of(repository)
    raw, text = packing.keep(noise(1, 10_000)), packing.keep(b"text " * 2000)
    packing.finish()
    assert repository.demand(raw, tree=False).blob.plain_length == 0
    assert repository.demand(text, tree=False).blob.plain_length == 10_000


def test_a_fault_of_the_store_reaches_whoever_keeps_and_blocks_nobody() -> None:
    class Full(FakeStore):
        def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
            if kind is Kind.DATA:
                raise StoreFault("repository.full", "save", "the disk is full")
            super().save(kind, name, data)

    packing = packing_of(new(Full()))

    def keep_all() -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(packing.keep, [noise(number, 4_000_000) for number in range(20)]))
        packing.finish()

    with pytest.raises(StoreFault, match="the disk is full"):
        keep_all()
    packing.abandon()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pack writer")] == []


def test_no_index_is_written_by_whoever_lost_the_lock() -> None:
    def lost() -> None:
        raise Refusal("repository.lock-lost", "go on writing", "frozen")

    repository = new()
    packing = Packing(repository, verify=True, guard=lost)
    packing.keep(b"data")
    with pytest.raises(Refusal, match="frozen"):
        packing.finish()
    packing.abandon()
    assert list(repository.store.names(Kind.INDEX)) == []
    assert len(list(repository.store.names(Kind.DATA))) == 1


def test_an_index_names_each_pack_once() -> None:
    repository = new()
    packing = packing_of(repository)
    for number in range(50):
        packing.keep(noise(number, 1_000_000))
    packing.finish()
    told = [
        pack
        for stored in repository.store.names(Kind.INDEX)
        for pack, _ in index_packs(repository.load_file(Kind.INDEX, stored.name), "read")
    ]
    assert sorted(pack.hex() for pack in told) == sorted(stored.name for stored in repository.store.names(Kind.DATA))


def test_a_pack_of_very_many_blobs_is_closed_before_its_header_is_too_long() -> None:
    repository = new()
    packing = packing_of(repository)
    few = 1 + PACK_BLOBS_MAX
    sealed = [Sealed(SEALED, number.to_bytes(32), 3, False, 35) for number in range(few)]
    slab = memoryview(bytes(1000 * 35))
    for begin in range(0, few, 1000):
        packing.place(sealed[begin : begin + 1000], slab)
    packing.finish()
    counts = sorted(len(blobs) for _, packs in repository.index_files() for _, blobs in packs)
    assert counts == [1, PACK_BLOBS_MAX]


def test_what_a_helper_sealed_twice_is_kept_once() -> None:
    repository = new()
    packing = packing_of(repository)
    one = Sealed(SEALED, b"1" * 32, 3, False, 35)
    packing.place([one, one], memoryview(bytes(70)))
    packing.place([one], memoryview(bytes(35)))
    packing.finish()
    assert packing.added.data_blobs == 1
    assert len(repository.index) == 1


@pytest.mark.parametrize("lingers", [False, True])
def test_what_somebody_who_was_given_up_may_still_read_is_written_to_no_more(lingers: bool) -> None:
    """One of two places that is frozen in the middle of a save, and wakes when other packs were filled since."""

    class Frozen(FakeStore):
        def __init__(self) -> None:
            super().__init__()
            self.given: dict[str, memoryview] = {}

        def lingers(self) -> bool:
            return lingers

        def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
            if kind is Kind.DATA:
                self.given[name] = memoryview(data)[:]
            super().save(kind, name, data)

    store = Frozen()
    made = new()
    packing = packing_of(Repository(store, made.key, made.config))
    content = noise(1, PACK_BYTES // 2)
    for number in range(12):
        packing.keep(b"%d" % number + content)
    packing.finish()
    same = [hashlib.sha256(given).hexdigest() == name for name, given in store.given.items()]
    assert all(same) is lingers


def test_a_fault_of_our_own_means_ends_a_backup_and_is_no_fault_of_a_file(tmp_path: Path) -> None:
    """Two files with one content: what was claimed for the first and is in no pack is not kept for the second."""
    for name in "ab":
        (tmp_path / name).write_bytes(noise(1, 2000))

    class Poor(Repository):
        @property
        def squeezer(self) -> Squeezer:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    made = new()
    with pytest.raises(NciaError, match="keep what was read: Cannot allocate memory"):
        save(Poor(made.store, made.key, made.config), Request((str(tmp_path),), HOLDER), SystemClock())
    assert list(made.store.names(Kind.SNAPSHOTS)) == []
