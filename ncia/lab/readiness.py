"""Waiting for what was started: until it serves, or until it is plain that it will not."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, SiteKind
from ncia.lab.layout import endpoints_at
from ncia.lab.processes import POLL_SECONDS, Started, reap

SECONDS_MAX = 60.0
CONNECT_SECONDS_MAX = 0.2


def wait(what: str, holds: Callable[[], bool]) -> None:
    """Raises :class:`NciaError` where it does not come to hold."""
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        if time.monotonic() > deadline:
            raise NciaError("lab.too-late", f"wait until {what}", f"not within {SECONDS_MAX:g} s", "lab status")
        time.sleep(POLL_SECONDS)


def wait_until_serving(estate: Estate, started: Sequence[Started]) -> list[tuple[Started, str]]:
    """Until each has answered at its address or died; those that did not, and what they did instead."""
    awaited = {one: listeners(estate, one.site).get(one.name) for one in started}
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        awaited = {one: at for one, at in awaited.items() if at is not None and one.alive and not accepts(at)}
        if not awaited:
            break
        time.sleep(POLL_SECONDS)
    reap()
    dead = [(one, "died") for one in started if not one.alive]
    return dead + [(one, f"does not listen on {at}") for one, at in awaited.items() if one.alive]


def listeners(estate: Estate, site: SiteId) -> dict[str, Address]:
    """One address by which each process of a site shows that it serves."""
    if site not in estate.sites:
        return {}
    at = estate.sites[site]
    own = at.services
    found: dict[str, Address | None] = {"serve": own.api, "warden": own.warden, "witness": own.witness}
    found |= {f"ssh/{host.id}": host.ssh for host in estate.hosts.values() if host.site == site}
    found["s3"] = next(iter(endpoints_at(estate, site)), None)
    if at.kind is SiteKind.PUBLIC:
        found["front-door"] = at.services.traffic
    for system in estate.systems.values():
        if site in system.applications:
            found["applications"] = system.applications[site].address
            found["gate"] = system.postgres.copies[site].gate
    return {name: address for name, address in found.items() if address is not None}


def accepts(address: Address) -> bool:
    with socket.socket() as own:
        own.settimeout(CONNECT_SECONDS_MAX)
        return own.connect_ex((address.host, address.port)) == 0


def demand_free(addresses: Sequence[Address]) -> None:
    """Raises where somebody listens already: two labs cannot share a network."""
    for address in addresses:
        if accepts(address):
            why = f"somebody listens on {address}: another lab runs in this network"
            raise NciaError("lab.addresses-taken", "bring the lab up", why, "lab down, there (NCIA_LAB)")
