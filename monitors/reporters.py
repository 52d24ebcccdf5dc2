"""The way to a controller: its unix socket, or TLS with the agent's certificate."""

from __future__ import annotations

import ssl
from pathlib import Path

from monitors.probes.wire import NoAnswer, Wire, request, tls, unix
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Address

TIMEOUT_SECONDS = 2.0


class HttpReporter:
    """Posts reports (or ``findings``) over one kept connection."""

    def __init__(self, name: str, wire: Wire, vantage: SiteId, told: str = "report") -> None:
        self.name = name
        self._wire = wire
        self._path = f"/v1/agents/{vantage}/{told}"
        self._headers = {"Content-Type": "application/json"}

    @classmethod
    def unix(cls, path: Path, vantage: SiteId, told: str = "report") -> HttpReporter:
        return cls(f"unix:{path.name}", Wire(unix(path), path.name, TIMEOUT_SECONDS), vantage, told=told)

    @classmethod
    def tls(cls, address: Address, vantage: SiteId, context: ssl.SSLContext, server_name: str) -> HttpReporter:
        """To the controller that proves to be ``server_name``; ``context`` shows who we are."""
        return cls(str(address), Wire(tls(address, context, server_name), str(address), TIMEOUT_SECONDS), vantage)

    @property
    def connected(self) -> bool:
        return self._wire.connected

    async def send(self, body: bytes) -> None:
        what = f"report to the controller at {self.name}"
        try:
            # not again when stale: a new controller behind the same address must get the full picture first
            answer = await self._wire.ask(
                request("POST", self._path, "ncia", self._headers, body), again_when_stale=False
            )
        except NoAnswer as error:
            raise Unreachable("monitors.controller-away", what, str(error), "is `ncia serve` running?") from error
        if not 200 <= answer.status < 300:
            await self._wire.close()
            why = f"answered {answer.status}: {answer.body[:200].decode(errors='replace')}"
            raise Unreachable("monitors.report-refused", what, why, "ncia pki show, at both sites")

    async def close(self) -> None:
        await self._wire.close()
