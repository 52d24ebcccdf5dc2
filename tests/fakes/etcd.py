"""An etcd in memory, with the same promises as the real one; time is whatever the test says it is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ncia.core.base.errors import NciaError, NoQuorum
from recovery.fencing.etcd import Absent, Compare, Delete, Get, KeyValue, Lease, Operation, Outcome, Put


@dataclass
class _Granted:
    ttl_seconds: int
    expires_ns: int


class FakeEtcd:
    """Share one between fakes of both sites; ``quorum = False`` makes every call end in :class:`NoQuorum`.

    ``now_ns`` gives the time by which leases expire; ``elect()`` starts a new term, which starts all TTLs anew.
    """

    def __init__(self, now_ns: Callable[[], int] = lambda: 0) -> None:
        self.quorum = True
        self.term = 2
        self._now_ns = now_ns
        self._revision = 1
        self._pairs: dict[str, KeyValue] = {}
        self._leases: dict[int, _Granted] = {}
        self._ids = itertools.count(7_000_000_000)

    def elect(self) -> None:
        self.term += 1
        for granted in self._leases.values():
            granted.expires_ns = self._now_ns() + granted.ttl_seconds * 1_000_000_000

    def grant(self, ttl_seconds: int) -> Lease:
        self._settle()
        lease = next(self._ids)
        self._leases[lease] = _Granted(ttl_seconds, self._now_ns() + ttl_seconds * 1_000_000_000)
        return Lease(lease, ttl_seconds, self.term)

    def keepalive(self, lease: int) -> int:
        self._settle()
        granted = self._leases.get(lease)
        if granted is None:
            return 0
        granted.expires_ns = self._now_ns() + granted.ttl_seconds * 1_000_000_000
        return granted.ttl_seconds

    def revoke(self, lease: int) -> None:
        self._settle()
        self._end(lease)

    def get(self, key: str) -> KeyValue | None:
        self._settle()
        return self._pairs.get(key)

    def prefix(self, prefix: str) -> tuple[KeyValue, ...]:
        self._settle()
        return self._read(Get(prefix, prefix=True))

    def put(self, key: str, value: str, lease: int = 0) -> int:
        return self.txn((), (Put(key, value, lease),)).revision

    def delete(self, key: str) -> None:
        self.txn((), (Delete(key),))

    def txn(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        self._settle()
        succeeded = all(self._holds(compare) for compare in compares)
        branch = then if succeeded else otherwise
        if any(isinstance(operation, Put | Delete) for operation in branch):
            self._revision += 1
        reads = []
        for operation in branch:
            if isinstance(operation, Get):
                reads.append(self._read(operation))
            elif isinstance(operation, Put):
                self._put(operation)
            else:
                self._pairs.pop(operation.key, None)
        return Outcome(succeeded, tuple(reads), self._revision, self.term)

    def read(self, *gets: Get) -> Outcome:
        self._settle()
        return Outcome(True, tuple(self._read(get) for get in gets), self._revision, self.term)

    def _holds(self, compare: Compare) -> bool:
        found = self._pairs.get(compare.key)
        if isinstance(compare, Absent):
            return found is None
        return (found.mod_revision if found else 0) == compare.mod_revision

    def _read(self, get: Get) -> tuple[KeyValue, ...]:
        keys = sorted(key for key in self._pairs if (key.startswith(get.key) if get.prefix else key == get.key))
        return tuple(self._pairs[key] for key in keys)

    def _put(self, put: Put) -> None:
        if put.lease and put.lease not in self._leases:
            raise NciaError("etcd.not-found", f"put {put.key}", "requested lease not found")
        before = self._pairs.get(put.key)
        created = before.create_revision if before else self._revision
        self._pairs[put.key] = KeyValue(put.key, put.value, created, self._revision, put.lease)

    def _settle(self) -> None:
        if not self.quorum:
            raise NoQuorum("etcd.no-quorum", "call etcd", "no quorum: the fake was told so")
        for lease in [lease for lease, granted in self._leases.items() if granted.expires_ns <= self._now_ns()]:
            self._end(lease)

    def _end(self, lease: int) -> None:
        self._leases.pop(lease, None)
        for key in [key for key, pair in self._pairs.items() if pair.lease == lease]:
            self._revision += 1
            del self._pairs[key]
