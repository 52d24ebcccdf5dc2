"""What every store of a repository promises, on the fake and on each real place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from backup.repository.ports import Kind, Missing, Store, StoreFault
from ncia.core.base.errors import NciaError
from tests.backup.repository.stores.places import AT_ONCE_MAX, PLACES, Place, id_of, pack, place

NAMED = [kind for kind in Kind if kind is not Kind.CONFIG]
CONFIG = b"a sealed configuration"


@dataclass(frozen=True)
class Stand:
    """A new repository with a configuration in it. ``disk``: where it lies as files, for what is not a fake."""

    store: Store
    other: Store  # another one's store over the same place
    disk: Path | None


@pytest.fixture(scope="module", params=PLACES)
def where(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(request.param, tmp_path_factory.mktemp(request.param)) as found:
        yield found


@pytest.fixture
def stand(where: Place) -> Iterator[Stand]:
    root = where.new_root()
    store, other = where.open(root), where.open(root)
    store.create()
    store.save(Kind.CONFIG, "", CONFIG)
    yield Stand(store, other, where.disk / root if where.disk else None)
    store.close()
    other.close()


@pytest.mark.parametrize("kind", NAMED)
def test_what_was_saved_is_loaded_and_lies_where_restic_looks_for_it(stand: Stand, kind: Kind) -> None:
    name, content = pack(20_000)
    stand.store.save(kind, name, content)
    assert stand.other.load(kind, name) == content
    assert stand.other.size(kind, name) == len(content)
    if stand.disk:
        folder = stand.disk / kind / name[:2] if kind is Kind.DATA else stand.disk / kind
        assert (folder / name).read_bytes() == content


def test_the_configuration_has_no_name(stand: Stand) -> None:
    assert stand.other.load(Kind.CONFIG, "") == CONFIG
    assert [(each.name, each.size) for each in stand.other.names(Kind.CONFIG)] == [("", len(CONFIG))]
    if stand.disk:
        assert (stand.disk / "config").read_bytes() == CONFIG


@pytest.mark.parametrize("size", [0, 1, 32767, 32768, 32769, 98304, 1_300_000, 20_000_000])
def test_a_file_of_any_size_comes_back_byte_for_byte(stand: Stand, size: int) -> None:
    name, content = pack(size)
    stand.store.save(Kind.DATA, name, content)
    assert stand.store.load(Kind.DATA, name) == content
    assert stand.store.size(Kind.DATA, name) == size


@pytest.mark.parametrize(
    ("offset", "length"),
    [(0, 10), (1, None), (99_990, 10), (99_990, 30), (33_000, 66_000), (100_000, 5), (200_000, None), (7, 0)],
)
def test_a_part_is_what_the_file_has_of_it(stand: Stand, offset: int, length: int | None) -> None:
    name, content = pack(100_000)
    stand.store.save(Kind.DATA, name, content)
    end = None if length is None else offset + length
    assert stand.store.load(Kind.DATA, name, offset, length) == content[offset:end]


@pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
def test_a_range_that_no_file_has_is_refused(stand: Stand, offset: int, length: int | None) -> None:
    with pytest.raises(NciaError) as refused:
        stand.store.load(Kind.DATA, id_of(b""), offset, length)
    assert refused.value.code == "repository.bad-range"


@pytest.mark.parametrize("take", [bytes, bytearray, memoryview])
def test_bytes_are_taken_in_whatever_holds_them(stand: Stand, take: type) -> None:
    name, content = pack(50_000)
    stand.store.save(Kind.DATA, name, take(content))
    assert stand.store.load(Kind.DATA, name) == content


def test_a_part_of_a_buffer_that_is_used_again_is_saved_as_it_was(stand: Stand) -> None:
    buffer = bytearray(pack(300_000)[1])
    content = bytes(buffer[1000:200_000])
    stand.store.save(Kind.DATA, id_of(content), memoryview(buffer)[1000:200_000])
    buffer[:] = bytes(300_000)
    assert stand.store.load(Kind.DATA, id_of(content)) == content


@pytest.mark.parametrize("length", [None, 0, 10])
def test_what_is_not_there_is_missing(stand: Stand, length: int | None) -> None:
    for kind in NAMED:
        with pytest.raises(Missing) as missing:
            stand.store.load(kind, id_of(b"nothing"), 0, length)
        assert missing.value.code == "repository.missing"
        with pytest.raises(Missing):
            stand.store.size(kind, id_of(b"nothing"))


def test_the_same_bytes_may_be_saved_again_by_anybody(stand: Stand) -> None:
    name, content = pack(70_000)
    for store in (stand.store, stand.store, stand.other):
        store.save(Kind.DATA, name, content)
    stand.other.save(Kind.CONFIG, "", CONFIG)
    assert [each.name for each in stand.store.names(Kind.DATA)] == [name]
    assert stand.store.load(Kind.DATA, name) == content


def test_other_bytes_under_a_name_that_is_taken_are_refused_and_change_nothing(stand: Stand) -> None:
    name, content = pack(70_000)
    stand.store.save(Kind.DATA, name, content)
    for other in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"x", b""):
        with pytest.raises(StoreFault) as refused:
            stand.other.save(Kind.DATA, name, other)
        assert refused.value.code == "repository.other-content"
    with pytest.raises(StoreFault):
        stand.other.save(Kind.CONFIG, "", b"another one's configuration")
    assert stand.store.load(Kind.DATA, name) == content
    assert stand.store.load(Kind.CONFIG, "") == CONFIG


def test_each_kind_is_listed_with_sizes_and_without_the_others(stand: Stand) -> None:
    saved: dict[Kind, dict[str, int]] = {kind: {} for kind in NAMED}
    for number, kind in enumerate(NAMED * 3):
        name, content = pack(100 + number)
        stand.store.save(kind, name, content)
        saved[kind][name] = len(content)
    for kind in NAMED:
        assert {each.name: each.size for each in stand.other.names(kind)} == saved[kind]


def test_a_new_repository_lists_nothing(stand: Stand) -> None:
    assert [each for kind in NAMED for each in stand.store.names(kind)] == []


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.SNAPSHOTS])
def test_more_files_than_a_store_tells_at_once_are_listed_whole(stand: Stand, kind: Kind) -> None:
    names = sorted(id_of(str(number).encode()) for number in range(AT_ONCE_MAX + 12))
    with ThreadPoolExecutor(8) as pool:
        for saving in [pool.submit(stand.store.save, kind, name, b"x") for name in names]:
            saving.result()
    assert sorted(each.name for each in stand.store.names(kind)) == names


def test_what_is_none_of_the_repositorys_is_not_listed(stand: Stand) -> None:
    if stand.disk is None:
        return
    name, content = pack(100)
    stand.store.save(Kind.DATA, name, content)
    shelf = stand.disk / "data" / name[:2]
    (shelf / f"{name}-tmp-0123").write_bytes(b"half of")
    (shelf / (("1" if name[0] == "0" else "0") * 64)).write_bytes(b"on another one's shelf")
    (shelf / "README").write_bytes(b"")
    (shelf / os.fsdecode(b"\xff\xfe")).write_bytes(b"")
    (shelf / name[::-1]).mkdir()
    assert [each.name for each in stand.store.names(Kind.DATA)] == [name]


def test_what_was_removed_is_gone_and_may_be_removed_again(stand: Stand) -> None:
    for kind in NAMED:
        name, content = pack(100)
        stand.store.save(kind, name, content)
        stand.other.remove(kind, name)
        stand.other.remove(kind, name)
        assert list(stand.store.names(kind)) == []
        with pytest.raises(Missing):
            stand.store.load(kind, name)
        stand.store.save(kind, name, content + b"and more")
        assert stand.store.size(kind, name) == len(content) + 8


@pytest.mark.parametrize("name", ["", "ab", "../" + "a" * 61, "A" * 64, "a" * 63 + "/", "a" * 65, "a" * 63 + "\0"])
def test_a_name_that_is_no_id_is_refused_before_anything_is_asked(stand: Stand, name: str) -> None:
    for ask in (
        lambda: stand.store.save(Kind.DATA, name, b"x"),
        lambda: stand.store.load(Kind.DATA, name),
        lambda: stand.store.size(Kind.DATA, name),
        lambda: stand.store.remove(Kind.DATA, name),
    ):
        with pytest.raises(NciaError) as refused:
            ask()
        assert refused.value.code == "repository.bad-name"


def test_a_repository_is_not_made_over_another_one(stand: Stand) -> None:
    with pytest.raises(StoreFault) as refused:
        stand.other.create()
    assert refused.value.code == "repository.exists"
    assert stand.store.load(Kind.CONFIG, "") == CONFIG


def test_a_repository_whose_making_was_interrupted_is_made(where: Place) -> None:
    store = where.open(where.new_root())
    store.create()
    store.create()
    store.save(Kind.CONFIG, "", CONFIG)
    assert store.load(Kind.CONFIG, "") == CONFIG
    store.close()


def test_the_layout_is_made_whole(stand: Stand) -> None:
    if stand.disk is None or not (stand.disk / "keys").is_dir():  # a bucket has no folders
        return
    top = sorted(each.name for each in stand.disk.iterdir())
    assert top == ["config", "data", "index", "keys", "locks", "snapshots"]
    assert sorted(each.name for each in (stand.disk / "data").iterdir()) == [f"{number:02x}" for number in range(256)]


def test_many_threads_use_it_at_once(stand: Stand) -> None:
    def turn(number: int) -> str:
        name, content = pack(1000 * (number % 7) + 32)
        stand.store.save(Kind.DATA, name, content)
        assert stand.other.load(Kind.DATA, name) == content
        if number % 3 == 0:
            stand.store.remove(Kind.DATA, name)
            return ""
        return name

    with ThreadPoolExecutor(6) as pool:
        kept = set(pool.map(turn, range(60))) - {""}
    assert len(kept) == 40
    assert {each.name for each in stand.store.names(Kind.DATA)} == kept


def test_of_many_who_save_one_name_all_who_brought_its_bytes_are_content(stand: Stand) -> None:
    name, content = pack(200_000)
    with ThreadPoolExecutor(6) as pool:
        stores = [stand.store, stand.other] * 3
        for saving in [pool.submit(store.save, Kind.DATA, name, content) for store in stores]:
            saving.result()
    assert stand.store.load(Kind.DATA, name) == content
    if stand.disk:
        assert [each.name for each in (stand.disk / "data" / name[:2]).iterdir()] == [name]
