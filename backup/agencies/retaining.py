"""After a backup: what the newest snapshots reuse is kept by its bucket for as long as they are, whoever wrote it. And
from time to time: whether the bucket keeps it from our own key, as it says.

A folder behind SFTP, and a bucket without Object Lock, retain nothing and cost one look. What a bucket's rule says is
its own (decision 0020); files that are saved are retained as they are saved.
"""

from __future__ import annotations

from datetime import datetime

from backup.repository.care.extending import extend_due
from backup.repository.ports import Store
from backup.repository.repository import open_repository
from backup.repository.retaining import Retaining


def extended(store: Store, password: str, now: datetime) -> int | None:
    """How many files had less than half of their time left, and have all of it now; None where nothing is retained.
    Raises :class:`~ncia.core.base.errors.NciaError`. Closes the store."""
    try:
        if not isinstance(store, Retaining) or store.retention() is None:
            return None
        repository = open_repository(store, password)
        repository.load_index()
        return extend_due(store, frozenset(repository.index.packs()), now).extended
    finally:
        store.close()


def broken(store: Store) -> tuple[str, ...]:
    """In which ways our own key takes back what the place retains: it is attacked, and not believed (decision 0019).
    None where it promises nothing. Raises :class:`~ncia.core.base.errors.NciaError`. Closes the store."""
    try:
        if not isinstance(store, Retaining) or store.retention() is None:
            return ()
        return store.prove().broken
    finally:
        store.close()


def demand_holds(store: Store, create: bool = False) -> None:
    """Refuses a bucket that does not keep from our own key what it is asked to; with ``create`` it is made where it is
    not there. Closes the store."""
    try:
        if create:
            store.create()  # which attacks it, too
        elif isinstance(store, Retaining):
            store.prove().demand("a bucket made with Object Lock, on a store that keeps its word")
    finally:
        store.close()
