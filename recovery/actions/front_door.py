"""The front door's switch: where each system's citizens are sent, and under which epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Estate
from recovery.actions.applications import public_site
from recovery.ports import Position

SECONDS = 2.0


class FrontDoor:
    """:class:`recovery.ports.Traffic`; ``token`` is the bearer token of the switch."""

    def __init__(self, estate: Estate, site: SiteId, token: str) -> None:
        public = public_site(estate)
        address = estate.sites[public].services.traffic
        if address is None:
            what, hint = "reach the front door", "services: {traffic: host:port} at the public site"
            raise NciaError("recovery.no-front-door", what, f"{public} names none in the estate", hint)
        self._url = f"http://{estate.seen(address, public, site)}/switch"
        self._http = httpx.Client(trust_env=False, timeout=SECONDS, headers={"authorization": f"Bearer {token}"})

    def positions(self) -> Mapping[SystemId, Position]:
        told: dict[str, Any] = self._ask("GET", self._url).json()
        return {SystemId(s): Position(SiteId(p["site"]), int(p["epoch"])) for s, p in told.items()}

    def switch(self, system: SystemId, site: SiteId, epoch: int) -> None:
        self._ask("PUT", f"{self._url}/{system}", {"site": site, "epoch": epoch})

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        what = f"{method} {url}"
        try:
            found = self._http.request(method, url, json=body)
        except httpx.HTTPError as error:
            raise Unreachable("recovery.no-front-door", what, str(error) or type(error).__name__) from error
        if found.status_code == httpx.codes.CONFLICT:
            why = found.text[:300]
            raise Refusal("recovery.traffic-newer", what, why, "a newer run has moved this system: ncia recover status")
        if found.status_code != httpx.codes.OK:
            raise NciaError("recovery.front-door", what, f"HTTP {found.status_code}: {found.text[:300]}")
        return found
