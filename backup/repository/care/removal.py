"""Snapshots removed as judged, under a lock that nobody shares; what they alone needed is the next prune's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from backup.repository.care.forgetting import Judged
from backup.repository.format.keys import Holder
from backup.repository.format.snapshots import Snapshot
from backup.repository.locks import NO_PATIENCE, Lock, Patience, clear_locks
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.retaining import capabilities_of
from ncia.core.base.clock import Clock
from ncia.core.base.errors import Refusal

HOLLOW = "its tree is nowhere"


@contextmanager
def alone(repository: Repository, holder: Holder, clock: Clock, patience: Patience = NO_PATIENCE) -> Iterator[Lock]:
    """The lock of whoever removes. What others left behind is cleared. Refuses an account that may only add."""
    if capabilities_of(repository.store).adds_only:
        why = "this account may add files there, and neither remove nor replace any"
        raise Refusal(
            "repository.adds-only", "remove from the repository", why, "whoever may remove has another account"
        )
    with Lock(repository, holder, clock, exclusive=True, patience=patience) as lock:
        clear_locks(repository, holder, clock.now(), silent=lock.silent)
        yield lock


def hollow(repository: Repository, snapshots: Iterable[Snapshot]) -> dict[str, str]:
    """Ids of snapshots whose root no index knows, and why they are in doubt: whoever makes junk has it cheap so."""
    return {each.id: HOLLOW for each in snapshots if not repository.has_tree(each.tree)}


def forget(repository: Repository, lock: Lock, judged: Iterable[Judged]) -> tuple[Snapshot, ...]:
    """Remove those that nothing keeps, the oldest first."""
    over = sorted((each.snapshot for each in judged if not each.kept), key=lambda each: (each.time, each.id))
    for each in over:
        lock.demand()
        repository.store.remove(Kind.SNAPSHOTS, each.id)
    return tuple(over)
