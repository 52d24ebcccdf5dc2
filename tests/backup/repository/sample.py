"""Repositories for tests: an open one in memory with a cheap key, and the golden one that restic 0.19.1 wrote."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from backup.repository.format.keys import Holder, Scrypt
from backup.repository.ports import Store
from backup.repository.repository import Repository, create, open_repository
from backup.repository.stores.folder import FolderStore
from tests.fakes.repository import FakeStore

CHEAP = Scrypt(n=16, r=1, p=1)
HOLDER = Holder("somebody", "somewhere")
NOW = datetime(2026, 11, 26, 3, 4, 5, tzinfo=UTC)
PASSWORD = "open sesame"
GOLDEN = Path(__file__).parents[2] / "golden" / "repository"
GOLDEN_PASSWORDS = ("geheim", "second")


def new(store: Store | None = None) -> Repository:
    return create(store or FakeStore(), PASSWORD, HOLDER, NOW, CHEAP)


def reopened(repository: Repository) -> Repository:
    found = open_repository(repository.store, PASSWORD)
    found.load_index()
    return found


@cache
def golden() -> Repository:
    found = open_repository(FolderStore(GOLDEN), GOLDEN_PASSWORDS[0])
    found.load_index()
    return found


def twin_of(repository: Repository, store: Store | None = None) -> Repository:
    return create(store or FakeStore(), PASSWORD, HOLDER, NOW, CHEAP, twin=repository)
