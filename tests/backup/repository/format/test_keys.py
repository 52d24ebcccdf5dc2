from __future__ import annotations

import json
from pathlib import Path

import pytest

from backup.repository.care.checking import Checking, Share
from backup.repository.faults import Damaged
from backup.repository.format.keys import Holder, add_key, find_key, list_keys, remove_key, seal_key
from backup.repository.format.seal import Key
from backup.repository.ports import Kind
from backup.repository.repository import create, open_repository
from backup.repository.save.saving import Request, save
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.sample import CHEAP, HOLDER, NOW, PASSWORD, new
from tests.fakes.repository import FakeStore


def test_each_password_opens_the_same_key() -> None:
    repository = new()
    name = add_key(repository.store, repository.key, "the auditor's", Holder("auditor", "vault"), NOW, CHEAP)
    assert find_key(repository.store, "the auditor's") == (name, repository.key)
    assert find_key(repository.store, PASSWORD)[1] == repository.key
    assert {key.username for key in list_keys(repository.store)} == {"somebody", "auditor"}


def test_a_key_that_was_removed_opens_nothing_more() -> None:
    repository = new()
    name = add_key(repository.store, repository.key, "leaver's", HOLDER, NOW, CHEAP)
    remove_key(repository.store, name, repository.key_name)
    with pytest.raises(NciaError, match="opens none of its 1 keys"):
        open_repository(repository.store, "leaver's")


def test_the_key_that_opened_the_repository_is_not_removed() -> None:
    repository = new()
    with pytest.raises(Refusal, match="opens the repository just now"):
        remove_key(repository.store, repository.key_name, repository.key_name)


def test_a_wrong_password_is_told_as_such() -> None:
    with pytest.raises(NciaError, match="opens none") as told:
        open_repository(new().store, "guess")
    assert told.value.code == "repository.wrong-password"


def test_a_repository_whose_keys_are_gone_says_so() -> None:
    store = new().store
    for stored in list(store.names(Kind.KEYS)):
        store.remove(Kind.KEYS, stored.name)
    with pytest.raises(NciaError, match="no key file"):
        open_repository(store, PASSWORD)


@pytest.mark.parametrize(
    "change",
    [{"kdf": "argon2"}, {"N": 1 << 30}, {"N": "many"}, {"salt": "!"}, {"data": None}, {"r": 1 << 24}, {"p": 1 << 30}],
)
def test_a_key_file_that_asks_for_odd_things_is_refused(change: dict[str, object]) -> None:
    store = FakeStore()
    fields = json.loads(seal_key(Key.new(), PASSWORD, HOLDER, NOW, CHEAP)) | change
    store.save(Kind.KEYS, "0" * 64, json.dumps(fields).encode())
    with pytest.raises(Damaged):
        find_key(store, PASSWORD)


def test_a_key_file_holds_no_password_and_no_key() -> None:
    key = Key.new()
    text = seal_key(key, PASSWORD, HOLDER, NOW, CHEAP)
    assert PASSWORD.encode() not in text
    assert key.as_json()["encrypt"].encode() not in text


def test_a_twin_reads_what_the_other_wrote_byte_for_byte_under_a_password_of_its_own(tmp_path: Path) -> None:
    first = new()
    (tmp_path / "file").write_bytes(b"content " * 1000)
    save(open_repository(first.store, PASSWORD), Request((str(tmp_path),), HOLDER), SystemClock())
    second = create(FakeStore(), "another", HOLDER, NOW, CHEAP, twin=first)
    assert (second.key, second.config) == (first.key, first.config)
    with pytest.raises(NciaError, match="opens none"):
        open_repository(second.store, PASSWORD)
    for kind in (Kind.DATA, Kind.INDEX, Kind.SNAPSHOTS):
        for stored in first.store.names(kind):
            second.store.save(kind, stored.name, first.store.load(kind, stored.name))
    checked = Checking(open_repository(second.store, "another"), Share()).run()
    assert (checked.faults, checked.notes, checked.snapshots) == ([], [], 1)


def test_junk_among_the_keys_shuts_nobody_out() -> None:
    repository = new()
    for number in range(30):
        repository.store.save(Kind.KEYS, f"{number:064x}", b"junk")
    assert find_key(repository.store, PASSWORD)[1] == repository.key
    with pytest.raises(NciaError, match="none of its 1 keys, and 30 more cannot be read"):
        find_key(repository.store, "guess")
