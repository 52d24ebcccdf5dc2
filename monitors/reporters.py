"""The way to a controller: its unix socket, or TCP with the agents' token."""

from __future__ import annotations

from pathlib import Path

from monitors.probes.wire import NoAnswer, Wire, request, tcp, unix
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Address

TIMEOUT_SECONDS = 2.0


class HttpReporter:
    """Posts reports (or ``findings``) over one kept connection. The token stays in the request's head and in no log."""

    def __init__(self, name: str, wire: Wire, vantage: SiteId, token: str = "", told: str = "report") -> None:
        self.name = name
        self._wire = wire
        self._path = f"/v1/agents/{vantage}/{told}"
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    @classmethod
    def unix(cls, path: Path, vantage: SiteId, told: str = "report") -> HttpReporter:
        return cls(f"unix:{path.name}", Wire(unix(path), path.name, TIMEOUT_SECONDS), vantage, told=told)

    @classmethod
    def tcp(cls, address: Address, vantage: SiteId, token: str) -> HttpReporter:
        return cls(str(address), Wire(tcp(address), str(address), TIMEOUT_SECONDS), vantage, token)

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
            raise Unreachable("monitors.report-refused", what, why, "compare secrets/agent_token with the controller's")

    async def close(self) -> None:
        await self._wire.close()
