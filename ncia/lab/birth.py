"""The birth of all clusters: made at home, seeded, copied to the other site, then synchronous where promised."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import util

from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.lab import postgres, processes
from ncia.lab.layout import Layout
from ncia.lab.secrets import ROLES

AT_ONCE = 3  # clusters being made at the same time: more only queue for the same two cores


def of_clusters(
    layout: Layout,
    estate: Estate,
    note: Callable[[processes.Started], None],
    say: Callable[[str], None],
) -> None:
    """Make every system's primary and standby; ``note`` hears of each server that was started."""
    seeding = util.find_spec("ncia.lab.apps.seeding") is not None

    def bear(system: System) -> None:
        home = postgres.home(layout, estate, system)
        note(home.create(passwords_of(layout, estate, system.id)))
        if seeding:
            from ncia.lab.apps.seeding import seed_home

            seed_home(estate, system, layout.secrets(system.home) / "pgpass")
        away = home.peer
        note(away.copy_from_peer())
        if home.synchronous:
            home.make_synchronous(away.copy.site)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bear, estate.systems.values()))
    say(f"PostgreSQL: {len(estate.systems)} primaries{' seeded' if seeding else ''}, as many streaming copies")


def passwords_of(layout: Layout, estate: Estate, system: SystemId) -> dict[str, str]:
    """The roles' passwords of a system, read from its home's own pgpass: no other record of them exists."""
    home = estate.systems[system].home
    server = estate.systems[system].postgres.copies[home].server
    found = {}
    for line in (layout.secrets(home) / "pgpass").read_text().splitlines():
        host, port, _, role, password = line.split(":", 4)
        if (host, port) == (server.host, str(server.port)):
            found[role] = password
    return {role: found[role] for role in ROLES}
