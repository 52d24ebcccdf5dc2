"""`ncia lab attack`: somebody at a site tries passwords on one of its SSH hosts, and gets in where one fits.

The attacker is a device at the site: a process that works on the site's ground and dials the host from an address of
the site that belongs to nobody else. While it is at work the host asks for passwords and has one weak account, with
which nothing can be done; afterwards it is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import asyncssh

from ncia.cli.client import Api
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import Host
from ncia.lab import secrets
from ncia.lab.door import TRIES_MAX, WEAK_ACCOUNT
from ncia.lab.exercise import incident_of, wait_until
from ncia.lab.lab import Lab
from ncia.lab.processes import environment

TRIED_NAMES = ("root", "admin", "oracle", "postgres", "ubuntu", "git", "ftp", "guest", "support", "www")
TRIED_PASSWORDS = ("123456", "password", "admin", "qwerty123", "1q2w3e4r")
WEAK_USER, WEAK_PASSWORD = "test", "test1234"  # meant to be guessed
GUESSES = 40
SECONDS_MAX = 120.0
CONNECT_SECONDS_MAX = 20.0
MODULE = "ncia.lab.attack"


@dataclass(frozen=True)
class Order:
    """What the attacker is to do: dial ``host:port`` from ``source``, guess so often, get in or not."""

    host: str
    port: int
    source: str
    guesses: int
    enter: bool


@dataclass(frozen=True)
class Attack:
    """An attack on one host of the lab; ``number`` tells attackers at one site apart."""

    lab: Lab
    host: Host
    guesses: int = GUESSES
    enter: bool = True
    number: int = 1

    @staticmethod
    def on(lab: Lab, site: str | None, host: str | None, guesses: int = GUESSES, enter: bool = True) -> Attack:
        """On a host by name, or on the store host of a site (the first centre unless told)."""
        return Attack(lab, chosen(lab.estate(), site, host), guesses, enter)

    @property
    def source(self) -> str:
        network = ipaddress.IPv4Network(self.lab.estate().sites[self.host.site].network)
        return str(network.broadcast_address - self.number)

    def run(self) -> int:
        """Carry it out; answers how many passwords were refused."""
        order = Order(self.host.ssh.host, self.host.ssh.port, self.source, self.guesses, self.enter)
        command = [sys.executable, "-P", "-m", MODULE]
        with self._badly_set_up():
            done = subprocess.run(
                command,
                input=json.dumps(asdict(order)).encode(),
                cwd=self.lab.layout.site(self.host.site),
                env=environment({}),
                capture_output=True,
                timeout=SECONDS_MAX,
            )
        if done.returncode:
            last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise NciaError("lab.attack-failed", f"attack {self.host.id}", " ".join(last) or "it said nothing")
        return int(json.loads(done.stdout)["refused"])

    def wait_for_incident(self, at: SiteId | None = None) -> Mapping[str, Any]:
        """The incident that it leads to, as the controller ``at`` a site tells it."""
        api = Api(f"unix:{self.lab.settings(at or self.host.site).run / 'api.sock'}")
        cause = "intrusion" if self.enter else "attack"

        def look() -> Mapping[str, Any] | None:
            found = incident_of(api.get("/v1/incidents"), f"intrusion:{self.host.id}")
            return found if found and found["cause"] == cause else None

        return wait_until(f"the attack on {self.host.id} is an incident", look, SECONDS_MAX)

    @contextlib.contextmanager
    def _badly_set_up(self) -> Iterator[None]:
        file = self.lab.layout.site(self.host.site) / "hosts" / self.host.id / WEAK_ACCOUNT
        secrets.write(file, json.dumps({"user": WEAK_USER, "password": WEAK_PASSWORD}))
        try:
            yield
        finally:
            file.unlink(missing_ok=True)


def chosen(estate: Estate, site: str | None, host: str | None) -> Host:
    if host is not None:
        found = estate.hosts.get(HostId(host))
        if found is None or site not in (None, found.site):
            known = ", ".join(h.id for h in estate.hosts.values() if site in (None, h.site))
            raise NciaError(
                "lab.no-such-host", f"attack {host}", "the estate has no such host there", f"one of {known}"
            )
        return found
    at = SiteId(site) if site is not None else estate.centres[0]
    if at not in estate.centres:
        raise NciaError("lab.no-such-site", f"attack a host of {at}", "no such centre", ", ".join(estate.centres))
    return estate.host_of(at, "store")


# --- the attacker's own process ----------------------------------------------------------------------------------


def guesses(count: int) -> list[tuple[str, list[str]]]:
    """So many wrong passwords, by connection: a name, and what is tried for it."""
    found: list[tuple[str, list[str]]] = []
    names = (*TRIED_NAMES, WEAK_USER)
    while count > 0:
        name = names[len(found) % len(names)]
        tried = list(TRIED_PASSWORDS[: min(count, TRIES_MAX - 1)])
        found.append((name, tried))
        count -= len(tried)
    return found


class Guesser(asyncssh.SSHClient):
    """Offers one password after the other, and counts those that were refused."""

    def __init__(self, passwords: Sequence[str]) -> None:
        self._left = list(passwords)
        self.offered = 0

    def password_auth_requested(self) -> str | None:
        if not self._left:
            return None
        self.offered += 1
        return self._left.pop(0)


async def attack(order: Order) -> int:
    refused = 0
    for name, passwords in guesses(order.guesses):
        guesser = Guesser(passwords)
        with contextlib.suppress(asyncssh.PermissionDenied, asyncssh.DisconnectError):
            await log_in(order, name, guesser)
        refused += guesser.offered
    if order.enter:
        connection = await log_in(order, WEAK_USER, Guesser([WEAK_PASSWORD]))
        async with connection:
            done = await connection.run("id")
            if done.exit_status == 0:
                raise NciaError("lab.not-confined", "log in to the weak account", "it could run a command")
    return refused


async def log_in(order: Order, name: str, guesser: Guesser) -> asyncssh.SSHClientConnection:
    connection, _ = await asyncssh.create_connection(
        lambda: guesser,
        order.host,
        order.port,
        username=name,
        local_addr=(order.source, 0),
        known_hosts=None,  # an attacker asks for no key
        client_keys=None,
        agent_path=None,
        config=None,
        preferred_auth="password",
        connect_timeout=CONNECT_SECONDS_MAX,
        login_timeout=CONNECT_SECONDS_MAX,
    )
    return connection


def main() -> None:
    order = Order(**json.loads(sys.stdin.read()))
    print(json.dumps({"refused": asyncio.run(attack(order))}))


if __name__ == "__main__":
    main()
