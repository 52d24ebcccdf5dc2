"""The systems' web applications: a marked transaction at our own site's, and a read as a citizen would do it."""

from __future__ import annotations

import httpx

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Address, Estate, SiteKind
from recovery.ports import Answer

VERIFY_SECONDS = 4.0
READ_SECONDS = 2.0
CONNECTIONS_MAX = 32
TEXT_CHARACTERS_MAX = 200


class HttpApplications:
    """:class:`recovery.ports.Applications` as seen from ``site``."""

    def __init__(self, estate: Estate, site: SiteId) -> None:
        self._estate = estate
        self._site = site
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        self._http = httpx.Client(trust_env=False, limits=limits)

    def verify(self, system: SystemId) -> Answer:
        told = self._estate.systems[system]
        address = told.applications[self._site].address
        return self._ask("POST", address, told.verify_path, VERIFY_SECONDS)

    def read_from_outside(self, system: SystemId) -> Answer:
        told = self._estate.systems[system]
        address = self._estate.seen(told.entry, public_site(self._estate), self._site)
        return self._ask("GET", address, told.read_path, READ_SECONDS)

    def close(self) -> None:
        self._http.close()

    def _ask(self, method: str, address: Address, path: str, seconds: float) -> Answer:
        url = f"http://{address}{path}"
        try:
            found = self._http.request(method, url, timeout=seconds)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise Unreachable("recovery.no-application", f"{method} {url}", why) from error
        epoch = found.headers.get("X-NCIA-Epoch", "")
        site = found.headers.get("X-NCIA-Site", "")
        return Answer(found.status_code, int(epoch) if epoch.isdecimal() else 0, site, found.text[:TEXT_CHARACTERS_MAX])


def public_site(estate: Estate) -> SiteId:
    """Where citizens come in."""
    return next(site.id for site in estate.sites.values() if site.kind is SiteKind.PUBLIC)
