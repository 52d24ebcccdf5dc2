"""etcd v3 over its JSON gateway: the small facts on which both sites must agree.

Every read is linearisable. A call tries the members in order, this site's own first, within one budget of time, and
ends in :class:`NoQuorum` where none of them could commit. After ``NoQuorum`` from a writing call nothing is known about
whether it took effect: read before trying again.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from ncia.core.base.errors import NciaError, NoQuorum
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate

BUDGET_SECONDS = 1.5  # of one call over all members; etcd itself would take 5 to 7 s to admit that it has no quorum
CONNECT_SECONDS = 0.4
FIRST_SHARE = 0.6  # of the budget, for the first member: a slow link is not a missing quorum
AVOID_SECONDS = 5.0  # a member that failed is asked last for so long
GRPC_UNAVAILABLE = (4, 8, 13, 14)  # deadline exceeded, exhausted, internal, unavailable: another member may do better


@dataclass(frozen=True)
class KeyValue:
    """One key as stored; ``value`` is text (JSON by our convention)."""

    key: str
    value: str
    create_revision: int
    mod_revision: int
    lease: int

    def json(self) -> dict[str, Any]:
        """The value as a JSON object; an error names the key."""
        try:
            found = json.loads(self.value)
        except ValueError as error:
            raise NciaError("etcd.bad-value", f"read {self.key}", f"not JSON: {error}") from error
        if not isinstance(found, dict):
            raise NciaError("etcd.bad-value", f"read {self.key}", "not a JSON object")
        return found


@dataclass(frozen=True)
class Lease:
    """A granted lease; ``term`` is the raft term in which it was granted."""

    id: int
    ttl_seconds: int
    term: int


@dataclass(frozen=True)
class Absent:
    """Compare: the key does not exist."""

    key: str


@dataclass(frozen=True)
class Unchanged:
    """Compare: the key was last written at ``mod_revision``."""

    key: str
    mod_revision: int


@dataclass(frozen=True)
class Put:
    key: str
    value: str
    lease: int = 0


@dataclass(frozen=True)
class Get:
    """Read one key, or with ``prefix`` every key that starts with it."""

    key: str
    prefix: bool = False


@dataclass(frozen=True)
class Delete:
    key: str


Compare = Absent | Unchanged
Operation = Put | Get | Delete


@dataclass(frozen=True)
class Outcome:
    """Of a transaction: ``reads`` has one tuple per :class:`Get` of the branch taken, in order."""

    succeeded: bool
    reads: tuple[tuple[KeyValue, ...], ...]
    revision: int
    term: int


class EtcdClient(Protocol):
    """What fencing and recovery need from etcd; every method raises :class:`NoQuorum` where etcd cannot commit."""

    def grant(self, ttl_seconds: int) -> Lease:
        """A new lease; etcd may grant a longer TTL than asked for."""
        ...

    def keepalive(self, lease: int) -> int:
        """Renew; the TTL in seconds that the lease has from now, 0 where it is gone."""
        ...

    def revoke(self, lease: int) -> None:
        """End the lease and delete its keys; a lease already gone is no error."""
        ...

    def get(self, key: str) -> KeyValue | None: ...

    def prefix(self, prefix: str) -> tuple[KeyValue, ...]:
        """Every key under ``prefix``, by name."""
        ...

    def put(self, key: str, value: str, lease: int = 0) -> int:
        """Write; the revision of the write."""
        ...

    def delete(self, key: str) -> None: ...

    def txn(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        """Atomically: if all compares hold do ``then``, else ``otherwise``. To read only, :meth:`read`."""
        ...

    def read(self, *gets: Get) -> Outcome:
        """All of them as of one revision, linearisable."""
        ...


def endpoints(estate: Estate, viewer: SiteId) -> tuple[str, ...]:
    """Every member's client URL as dialled from ``viewer``: its own site's member first."""
    order = sorted(estate.voters, key=lambda site: site != viewer)
    urls = []
    for site in order:
        etcd = estate.sites[site].services.etcd
        if etcd is not None:
            urls.append(f"http://{estate.seen(etcd.client, site, viewer)}")
    return tuple(urls)


class Etcd:
    """The real client; safe to share between threads. ``budget_seconds`` bounds a call over all members."""

    def __init__(self, urls: Sequence[str], *, budget_seconds: float = BUDGET_SECONDS) -> None:
        if not urls:
            raise NciaError(
                "etcd.no-members", "reach etcd", "the estate names no member", "add services.etcd to a site"
            )
        self.urls = tuple(urls)
        self._budget_seconds = budget_seconds
        self._avoid_until: dict[str, float] = {}
        # trust_env off: a proxy variable of the shell must never stand between us and the third vote
        self._http = httpx.Client(trust_env=False, limits=httpx.Limits(max_connections=16, keepalive_expiry=30))

    @classmethod
    def of(cls, estate: Estate, viewer: SiteId, *, budget_seconds: float = BUDGET_SECONDS) -> Etcd:
        return cls(endpoints(estate, viewer), budget_seconds=budget_seconds)

    def close(self) -> None:
        self._http.close()

    def grant(self, ttl_seconds: int) -> Lease:
        answer = self._call("/v3/lease/grant", {"TTL": str(ttl_seconds)}, repeatable=False)
        return Lease(int(answer["ID"]), int(answer["TTL"]), _term(answer))

    def keepalive(self, lease: int) -> int:
        answer = self._call("/v3/lease/keepalive", {"ID": str(lease)})
        return int(answer.get("result", {}).get("TTL", 0))

    def revoke(self, lease: int) -> None:
        try:
            self._call("/v3/lease/revoke", {"ID": str(lease)})
        except NciaError as error:
            if error.code != "etcd.not-found":
                raise

    def get(self, key: str) -> KeyValue | None:
        found = self.read(Get(key)).reads[0]
        return found[0] if found else None

    def prefix(self, prefix: str) -> tuple[KeyValue, ...]:
        return self.read(Get(prefix, prefix=True)).reads[0]

    def read(self, *gets: Get) -> Outcome:
        """By one range that spans them all, so that what lies between comes along: members before 3.5.5 die of a
        transaction that only reads when its caller gives up on it (etcd's issue 14110)."""
        start, end = min(get.key for get in gets), max(_end_of(get) for get in gets)
        answer = self._call("/v3/kv/range", {"key": _encode(start), "range_end": _encode(end)})
        found = [_key_value(pair) for pair in answer.get("kvs", ())]
        reads = tuple(tuple(pair for pair in found if get.key <= pair.key < _end_of(get)) for get in gets)
        return Outcome(True, reads, int(answer["header"]["revision"]), _term(answer))

    def put(self, key: str, value: str, lease: int = 0) -> int:
        return self.txn((), (Put(key, value, lease),)).revision

    def delete(self, key: str) -> None:
        self.txn((), (Delete(key),))

    def txn(
        self, compares: Sequence[Compare], then: Sequence[Operation], otherwise: Sequence[Operation] = ()
    ) -> Outcome:
        body = {
            "compare": [_compare(compare) for compare in compares],
            "success": [_request(operation) for operation in then],
            "failure": [_request(operation) for operation in otherwise],
        }
        answer = self._call("/v3/kv/txn", body, repeatable=False)
        reads = tuple(
            tuple(_key_value(pair) for pair in response["response_range"].get("kvs", ()))
            for response in answer.get("responses", ())
            if "response_range" in response
        )
        revision = int(answer["header"]["revision"])
        # `succeeded` is left out when false
        return Outcome(bool(answer.get("succeeded", False)), reads, revision, _term(answer))

    def health(self) -> dict[str, bool]:
        """Each member's URL and whether it says that it is healthy (which includes: has a leader)."""
        found = {}
        for url in self.urls:
            try:
                answer = self._http.get(f"{url}/health", timeout=self._timeout(self._budget_seconds))
                found[url] = answer.status_code == httpx.codes.OK and answer.json().get("health") in ("true", True)
            except (httpx.HTTPError, ValueError):
                found[url] = False
        return found

    def leader(self) -> str | None:
        """The URL of the member that leads, as the members that answer tell it; ``None`` where there is none."""
        member_of, leader = {}, ""
        for url in self.urls:
            try:
                status = self._ask(url, "/v3/maintenance/status", {}, self._budget_seconds / len(self.urls))
            except (httpx.HTTPError, _TryAnother):
                continue
            member_of[status["header"]["member_id"]] = url
            leader = status.get("leader", "") if int(status.get("leader", 0)) else leader
        return member_of.get(leader)

    def _call(self, path: str, body: Mapping[str, Any], *, repeatable: bool = True) -> dict[str, Any]:
        """Ask members in turn until one commits. A call that is not repeatable goes to another member only where the
        first certainly did not take it."""
        end = time.monotonic() + self._budget_seconds
        order = self._order()
        failures = []
        for index, url in enumerate(order):
            left = end - time.monotonic()
            if left <= 0:
                break
            share = left if index == len(order) - 1 else left * (FIRST_SHARE if index == 0 else 0.5)
            try:
                answer = self._ask(url, path, body, share)
            except (httpx.HTTPError, _TryAnother) as error:
                self._avoid_until[url] = time.monotonic() + AVOID_SECONDS
                failures.append(f"{url}: {error or type(error).__name__}")
                if not repeatable and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    break
                continue
            self._avoid_until.pop(url, None)
            return answer
        raise NoQuorum(
            "etcd.no-quorum",
            f"call etcd {path}",
            "no quorum: " + ("; ".join(failures) or "no member was asked in time"),
            "see that two of the three etcd members run and reach each other",
        )

    def _order(self) -> list[str]:
        now = time.monotonic()
        return sorted(self.urls, key=lambda url: self._avoid_until.get(url, 0.0) > now)

    def _ask(self, url: str, path: str, body: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        response = self._http.post(f"{url}{path}", json=body, timeout=self._timeout(seconds))
        try:
            answer = response.json()
        except ValueError as error:
            raise _TryAnother(f"answered {response.status_code} and no JSON") from error
        if response.status_code == httpx.codes.OK and "error" not in answer:
            return dict(answer)
        why = answer.get("error", answer)
        code = answer.get("code")
        if isinstance(why, dict):  # a stream (keepalive) wraps its error
            code, why = why.get("grpc_code"), why.get("message", "")
        if code in GRPC_UNAVAILABLE or (response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR and code != 5):
            raise _TryAnother(str(why))
        name = "etcd.not-found" if code == 5 else "etcd.refused"
        raise NciaError(name, f"call etcd {path}", str(why), "look at the log of that etcd member")

    @staticmethod
    def _timeout(seconds: float) -> httpx.Timeout:
        return httpx.Timeout(max(seconds, 0.05), connect=min(CONNECT_SECONDS, max(seconds, 0.05)))


class _TryAnother(Exception):
    """This member cannot commit now."""


def _term(answer: Mapping[str, Any]) -> int:
    return int(answer["header"].get("raft_term", 0))


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()


def _key_value(pair: Mapping[str, Any]) -> KeyValue:
    return KeyValue(
        key=_decode(pair["key"]),
        value=_decode(pair.get("value", "")),
        create_revision=int(pair["create_revision"]),
        mod_revision=int(pair["mod_revision"]),
        lease=int(pair.get("lease", 0)),
    )


def _compare(compare: Compare) -> dict[str, Any]:
    if isinstance(compare, Absent):
        return {"key": _encode(compare.key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"}
    revision = str(compare.mod_revision)
    return {"key": _encode(compare.key), "target": "MOD", "result": "EQUAL", "mod_revision": revision}


def _request(operation: Operation) -> dict[str, Any]:
    if isinstance(operation, Put):
        put = {"key": _encode(operation.key), "value": _encode(operation.value), "lease": str(operation.lease)}
        return {"request_put": put}
    if isinstance(operation, Delete):
        return {"request_delete_range": {"key": _encode(operation.key)}}
    return {"request_range": {"key": _encode(operation.key), "range_end": _encode(_end_of(operation))}}


def _end_of(get: Get) -> str:
    """The first key after those of ``get`` (etcd's range is half open)."""
    return range_end(get.key) if get.prefix else get.key + "\0"


def range_end(prefix: str) -> str:
    """The first key after every key that starts with ``prefix``."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)
