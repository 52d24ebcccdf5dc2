"""A repository of which we may read and not write: who only reads is told how to."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.repository.locks import Patience, read_locks
from backup.repository.ports import Kind, StoreFault
from ncia.app.repository import Access
from tests.backup.repository.sample import new
from tests.fakes.repository import FakeStore


class OnlyRead(FakeStore):
    code = "repository.denied"

    def save(self, kind: Kind, name: str, data: bytes | bytearray | memoryview) -> None:
        if kind is Kind.LOCKS:
            raise StoreFault(
                self.code, f"save {kind}", "it is not allowed: Read-only file system", "whose folder is it?"
            )
        super().save(kind, name, data)


def test_a_reader_that_may_not_write_a_lock_is_told_of_no_lock() -> None:
    with pytest.raises(StoreFault, match="Read-only file system") as told, Access("", Path()).reading(new(OnlyRead())):
        raise AssertionError("it was read")
    assert told.value.what == "lock the repository to read it"
    assert (told.value.hint or "").startswith("--no-lock reads without one")


def test_a_store_that_fails_at_a_lock_is_told_as_what_it_is() -> None:
    class Full(OnlyRead):
        code = "repository.full"

    with pytest.raises(StoreFault) as told, Access("", Path()).reading(new(Full())):
        raise AssertionError("it was read")
    assert (told.value.code, told.value.hint) == ("repository.full", "whose folder is it?")


def test_a_fault_of_what_is_read_is_none_of_the_lock_which_is_given_back() -> None:
    repository = new()

    def read() -> None:
        assert len(list(read_locks(repository))) == 1
        raise StoreFault("repository.denied", "load data", "the line is cut")

    with pytest.raises(StoreFault, match="line is cut"), Access("", Path()).reading(repository):
        read()
    assert list(read_locks(repository)) == []


def test_the_patience_of_a_command_is_what_it_says() -> None:
    heard: list[str] = []
    patience = Access("", Path(), retry_lock="1h5m", hear=heard.append).patience
    patience.hear("somebody holds it")
    assert (patience.seconds, heard) == (3900, ["somebody holds it"])
    assert Access("", Path()).patience == Patience()
