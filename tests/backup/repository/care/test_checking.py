from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup.repository.care.checking import STRUCTURE_ONLY, Checked, Checking, Share
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from tests.backup.repository.files import noise
from tests.backup.repository.sample import GOLDEN_PASSWORDS, HOLDER, PASSWORD, golden, new, reopened
from tests.fakes.repository import FakeStore

ALL = Share()


def kept(tmp_path: Path) -> Repository:
    """Two snapshots of a small tree: each kind of file is there."""
    repository = new()
    for number in range(2):
        (tmp_path / f"file{number}").write_bytes(noise(number, 3000))
        (tmp_path / f"text{number}").write_bytes(b"text " * 500)
        save(reopened(repository), Request((str(tmp_path),), HOLDER), SystemClock())
    return repository


def check(repository: Repository, share: Share = ALL) -> Checked:
    return Checking(open_repository(repository.store, PASSWORD), share).run()


def test_what_is_whole_holds_and_every_byte_of_it_was_read(tmp_path: Path) -> None:
    checked = check(kept(tmp_path))
    assert (checked.faults, checked.notes) == ([], [])
    assert (checked.snapshots, checked.share_read) == (2, 1.0)
    assert checked.bytes_read == checked.bytes > 0


def test_the_structure_alone_reads_no_pack(tmp_path: Path) -> None:
    checked = check(kept(tmp_path), STRUCTURE_ONLY)
    assert (checked.faults, checked.share_read) == ([], 0.0)


def test_the_parts_of_a_check_together_are_all_of_it(tmp_path: Path) -> None:
    repository = kept(tmp_path)
    parts = [check(repository, Share(number, 7)) for number in range(1, 8)]
    assert sum(part.bytes_read for part in parts) == parts[0].bytes
    assert sum(part.share_read for part in parts) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (Kind.LOCKS, Kind.CONFIG, Kind.KEYS)])
def test_one_flipped_bit_of_any_byte_of_any_file_is_found(tmp_path: Path, kind: Kind) -> None:
    repository = kept(tmp_path)
    held: dict[tuple[Kind, str], bytes] = repository.store.held
    names = [name for each, name in held if each is kind]

    @settings(max_examples=25)
    @given(st.data())
    def flipped(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(names))
        bit = data.draw(st.integers(0, 8 * len(held[kind, name]) - 1))
        store = FakeStore()
        store.held = dict(held)
        content = bytearray(held[kind, name])
        content[bit // 8] ^= 1 << bit % 8
        store.held[kind, name] = bytes(content)
        checked = Checking(open_repository(store, PASSWORD), ALL).run()
        assert not checked.holds

    flipped()


@pytest.mark.parametrize("kind", [Kind.CONFIG, Kind.KEYS])
def test_a_flipped_bit_of_what_opens_the_repository_opens_nothing(tmp_path: Path, kind: Kind) -> None:
    repository = kept(tmp_path)
    held = repository.store.held
    (key,) = [each for each in held if each[0] is kind]
    at = held[key].index(b'"data":"') + 20 if kind is Kind.KEYS else 30
    held[key] = held[key][:at] + bytes([held[key][at] ^ 1]) + held[key][at + 1 :]
    with pytest.raises(NciaError):
        open_repository(repository.store, PASSWORD)


@pytest.mark.parametrize(
    ("kind", "told"), [(Kind.DATA, "is missing: an index says"), (Kind.INDEX, "no index tells where")]
)
def test_any_file_that_is_gone_is_found_by_the_structure(tmp_path: Path, kind: Kind, told: str) -> None:
    repository = kept(tmp_path)
    for stored in list(repository.store.names(kind)):
        store = FakeStore()
        store.held = {key: content for key, content in repository.store.held.items() if key != (kind, stored.name)}
        checked = Checking(open_repository(store, PASSWORD), STRUCTURE_ONLY).run()
        assert any(told in fault for fault in checked.faults)


def test_a_pack_that_was_cut_is_found_by_the_structure(tmp_path: Path) -> None:
    repository = kept(tmp_path)
    key = next(key for key in repository.store.held if key[0] is Kind.DATA)
    repository.store.held[key] = repository.store.held[key][:-1]
    checked = check(repository, STRUCTURE_ONLY)
    assert "bytes, and" in checked.faults[0]
    assert "by what an index says of it" in checked.faults[0]


def test_a_pack_that_no_index_names_is_a_note_and_its_bytes_are_read(tmp_path: Path) -> None:
    repository = kept(tmp_path)
    for stored in list(repository.store.names(Kind.SNAPSHOTS)) + list(repository.store.names(Kind.INDEX)):
        for kind in (Kind.SNAPSHOTS, Kind.INDEX):
            repository.store.remove(kind, stored.name)
    checked = check(repository)
    assert checked.faults == []
    assert "named by no index" in checked.notes[0]
    assert checked.share_read == 1.0


def test_all_faults_are_told_and_each_names_what_it_costs(tmp_path: Path) -> None:
    repository = kept(tmp_path)
    for stored in list(repository.store.names(Kind.INDEX)):
        repository.store.remove(Kind.INDEX, stored.name)
    faults = check(repository).faults
    assert len(faults) == 2
    assert all("of snapshot" in fault for fault in faults)


def test_restics_own_repository_holds() -> None:
    repository = open_repository(golden().store, GOLDEN_PASSWORDS[1])
    checked = Checking(repository, ALL).run()
    assert (checked.faults, checked.notes, checked.share_read, checked.trees) == ([], [], 1.0, 3)
