"""A sparse file takes the time of what it holds, and not of what it could: there, in the store, and back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.restore.restoring import Restoring
from backup.repository.save.cutting import CHUNK_MAX, hole_bytes
from backup.repository.save.saving import Request, save
from backup.repository.save.walk import Way
from ncia.core.base.clock import SystemClock
from tests.backup.repository.faults import FaultyStore
from tests.backup.repository.files import noise
from tests.backup.repository.sample import HOLDER, new, reopened

SIZE = 40_000_000_000  # to read it would take a minute


def sparse(path: Path, size: int, held: dict[int, bytes]) -> None:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, content in held.items():
            os.pwrite(file.fileno(), content, offset)


def there_and_back(folder: Path) -> tuple[Path, int, int]:
    """Where the file came back, how many bytes were kept, how many packs were asked for a part."""
    repository = new()
    saved = save(reopened(repository), Request((str(folder / "source"),), HOLDER), SystemClock())
    assert saved.figures.bytes == (folder / "source" / "disk").stat().st_size
    counting = FaultyStore(repository.store)
    found = Repository(counting, repository.key, repository.config)
    found.load_index()
    with Restoring(found) as restoring:
        told = restoring.run(saved.snapshot, folder / "target", Way(whole=True))
    assert (told.losses.named, told.bytes) == ([], saved.figures.bytes)
    loads = sum(call.verb == "load" and call.kind is Kind.DATA for call in counting.calls)
    return folder / "target" / (folder / "source" / "disk").relative_to("/"), saved.added.plain_bytes, loads


@pytest.mark.parametrize(
    "held",
    [
        {},
        {0: b"begin", SIZE // 3: noise(1, 3_000_000), SIZE - 3: b"end"},
        {5: b"a", CHUNK_MAX + 4096: b"b", 3 * CHUNK_MAX: noise(2, 20_000_000)},
    ],
)
def test_what_it_holds_comes_back_where_it_was_and_its_holes_are_holes(tmp_path: Path, held: dict[int, bytes]) -> None:
    (tmp_path / "source").mkdir()
    own = tmp_path / "source" / "disk"
    sparse(own, SIZE, held)
    back, plain_bytes, loads = there_and_back(tmp_path)
    assert back.stat().st_size == SIZE
    assert plain_bytes < 80_000_000
    assert loads < 60
    assert back.stat().st_blocks * 512 <= own.stat().st_blocks * 512 + 16 * CHUNK_MAX
    with back.open("rb") as file, own.open("rb") as kept:
        for offset in [*held, SIZE // 2, SIZE - 5000]:
            size = len(held.get(offset, b"")) + 5000
            assert os.pread(file.fileno(), size, offset) == os.pread(kept.fileno(), size, offset)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_the_order_of_holes_and_data_each_byte_is_kept(tmp_path: Path, seed: int) -> None:
    (tmp_path / "source").mkdir()
    own = tmp_path / "source" / "disk"
    at = [4096 * (each[0] % 25_000) for each in zip(noise(seed, 6), strict=True)]
    sparse(own, 50_000_000 + seed, {each * 64: noise(each, 5000 + 900_000 * (each % 3)) for each in at})
    back, _, _ = there_and_back(tmp_path)
    assert back.read_bytes() == own.read_bytes()


def test_a_hole_begins_where_it_is_looked_for_and_reading_goes_on_there(tmp_path: Path) -> None:
    sparse(tmp_path / "file", 10_000_000, {1_048_576: b"1" * 4096})
    with (tmp_path / "file").open("rb") as file:
        assert [hole_bytes(file.fileno(), at) for at in (0, 1_048_576, 5_000_000, 10_000_000)] == [
            1_048_576,
            0,
            5_000_000,
            0,
        ]
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 10_000_000
