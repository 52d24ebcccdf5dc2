"""Looks at the sites' lease keys in etcd, all in one linearisable read."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime

from monitors.ports import Findings, Look, Outcome
from monitors.probes.wire import NoAnswer, Wire, request, tcp
from ncia.core.alerts.words import NO_QUORUM
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, Subject
from ncia.core.estate.model import Address

PREFIX = "/ncia/sites/"  # docs/architecture.md, "Leases and epochs"


class LeaseProbe:
    """Asks the vantage's own member first; after a failure the next turn asks the next member."""

    phase_seconds: float | None = None
    turns_at_once = 1

    def __init__(
        self,
        sites: Sequence[SiteId],
        members: Sequence[Address],
        interval_seconds: float,
        timeout_seconds: float,
        clock: Clock,
    ) -> None:
        self.name = "leases"
        self.interval_seconds = interval_seconds
        self._sites = tuple(sites)
        self._clock = clock
        self._members = [(Wire(tcp(address), str(address), timeout_seconds), _range(address)) for address in members]
        self._turn = 0

    async def turn(self) -> Findings:
        at = self._clock.now()
        wire, asked = self._members[self._turn % len(self._members)]
        try:
            answer = await wire.ask(asked)
            held = _held(answer.body) if answer.status == 200 else None
            why = f"{NO_QUORUM}: answered {answer.status}"
        except NoAnswer as error:
            held, why = None, f"{NO_QUORUM}: {error}"
        if held is None:
            self._turn += 1
            return Findings(tuple(Look(_of(site), Outcome.BLIND, "no-quorum", why, at) for site in self._sites))
        return Findings(tuple(_judged(_of(site), site in held, at) for site in self._sites))

    async def close(self) -> None:
        for wire, _ in self._members:
            await wire.close()


def _of(site: SiteId) -> Subject:
    return Subject(f"lease:{site}")


def _judged(subject: Subject, held: bool, at: datetime) -> Look:
    if held:
        return Look(subject, Outcome.GOOD, "held", "the lease is held", at)
    return Look(subject, Outcome.BAD, "gone", "the lease is gone from etcd", at)


def _range(address: Address) -> bytes:
    end = PREFIX[:-1] + chr(ord(PREFIX[-1]) + 1)
    body = json.dumps({"key": _base64(PREFIX), "range_end": _base64(end), "keys_only": True}).encode()
    return request("POST", "/v3/kv/range", str(address), {"Content-Type": "application/json"}, body)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode("ascii")


def _held(body: bytes) -> frozenset[str] | None:
    """The sites whose key exists; ``None`` where the answer is not one."""
    try:
        told = json.loads(body)
        if "header" not in told:
            return None
        return frozenset(base64.b64decode(pair["key"]).decode().removeprefix(PREFIX) for pair in told.get("kvs", ()))
    except (ValueError, KeyError, TypeError):
        return None
