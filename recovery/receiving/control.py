"""A recovery run's word with our own site's receivers; :class:`recovery.ports.Receivers` on their unix socket."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.base.lsn import lsn_text
from ncia.core.estate.model import Estate, Replication
from recovery.ports import Received
from recovery.receiving.term import Held

CONTROL_SECONDS = 10.0
COUNTED = "counted"


class ReceiverControl:
    """``estate`` tells which systems have a receiver at all: those whose commits wait for the other site."""

    def __init__(self, estate: Estate, socket: Path) -> None:
        self._estate = estate
        self._socket = socket

    def received(self, system: SystemId) -> Received | None:
        if not self._has_one(system):
            return None
        told = self._ask("GET", "/status").get(system)
        if not told or told["first"] is None or told["newest_at"] is None:
            return None
        newest = datetime.fromtimestamp(float(told["newest_at"]), UTC)
        return Received(lsn_text(int(told["first"])), newest)

    def hand_over(self, system: SystemId) -> Held | None:
        if not self._has_one(system):
            return None
        held = self._ask("POST", "/hand-over", {"system": system})["held"]
        return Held(**held) if held else None

    def follow_again(self, system: SystemId) -> None:
        if self._has_one(system):
            self._ask("POST", "/follow-again", {"system": system})

    def _has_one(self, system: SystemId) -> bool:
        return self._estate.systems[system].postgres.replication is Replication.SYNCHRONOUS

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        transport = httpx.HTTPTransport(uds=str(self._socket), verify=False)
        try:
            with httpx.Client(transport=transport, base_url="http://receiver", timeout=CONTROL_SECONDS) as http:
                response = http.request(method, path, json=dict(body or {}))
        except httpx.HTTPError as error:
            hint = "ncia receiver must run at this site"
            raise Unreachable("receiver.not-there", f"ask the receivers {path}", str(error), hint) from error
        if response.status_code != httpx.codes.OK:
            raise NciaError("receiver.refused", f"ask the receivers {path}", response.text[:300])
        return dict(response.json())
