"""The disks of a dark site, read by the lab's own means: what databases and stores there held when the power went."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.core.work.documents import is_own
from ncia.lab.apps.definition import CONTENT, SCHEMA
from ncia.lab.lab import Lab
from ncia.lab.layout import Layout
from ncia.lab.namespaces import as_database_user
from ncia.lab.segments import POSTMASTER_PID

AT_ONCE = 3
START_SECONDS_MAX = 120
ALONE = (
    "-c listen_addresses= -c unix_socket_directories={sockets} -c port=5432 -c fsync=off -c autovacuum=off"
    " -c synchronous_standby_names= -c primary_conninfo= -c default_transaction_read_only=on"
)


def keep(site: Path, place: Path) -> None:
    """A copy of the databases of ``site`` as they lie there, for looking at later."""
    shutil.copytree(site / "pg", place, symlinks=True)


def acts_at(lab: Lab, estate: Estate, site: SiteId, place: Path) -> dict[str, Mapping[str, str]]:
    """By system at home at ``site``: every act that the kept disks hold, with the hash of its content."""
    systems = estate.at_home(site)
    tools = lab.layout.tools(estate.peer_of(site))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda system: _acts(system, site, place, tools), systems)
    return {system.id: acts for system, acts in zip(systems, found, strict=True)}


def documents_only_at(layout: Layout, estate: Estate, site: SiteId) -> dict[str, dict[str, str]]:
    """By system at home at ``site``: the name and SHA-256 (hex) of every document that lies there and not, or with
    other bytes, at the other site. True of a moment at which neither side is mirrored into the other."""
    found: dict[str, dict[str, str]] = {}
    for system in estate.at_home(site):
        found[system.id] = {}
        for dataset in system.documents:
            here, there = (layout.documents(dataset.documents[each]) for each in (site, estate.peer_of(site)))
            found[system.id].update(_only_in(here, there))
    return found


def _only_in(here: Path, there: Path) -> Iterator[tuple[str, str]]:
    for file in here.rglob("*"):
        name = str(file.relative_to(here))
        if is_own(name) or not file.is_file():
            continue
        content, other = file.read_bytes(), there / name
        if not other.is_file() or other.read_bytes() != content:
            yield name, hashlib.sha256(content).hexdigest()


def _acts(system: System, site: SiteId, place: Path, tools: Path) -> dict[str, str]:
    data = place / system.postgres.copies[site].data_directory
    sockets = place / f"s-{system.id}"
    sockets.mkdir(mode=0o700)
    (data / POSTMASTER_PID).unlink(missing_ok=True)
    (data / "postgresql.auto.conf").write_text("")
    (data / "pg_hba.conf").write_text("local all all trust\n")
    options = ALONE.format(sockets=sockets)
    _pg_ctl(tools, data, "-o", options, "-l", f"{data}.log", "-w", "-t", str(START_SECONDS_MAX), "start")
    try:
        with psycopg.connect(host=str(sockets), port=5432, user="app", dbname=system.postgres.database) as connection:
            connection.execute(f"set search_path = {SCHEMA}".encode())
            return {act: sha256 for act, _, sha256 in connection.execute(CONTENT.encode())}
    finally:
        _pg_ctl(tools, data, "-m", "immediate", "-w", "stop")


def _pg_ctl(tools: Path, data: Path, *arguments: str) -> None:
    command = as_database_user([str(tools / "pg_ctl"), "-D", str(data), *arguments])
    with Path(f"{data}.told").open("wb") as told:  # a pipe would be kept open by the server
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, timeout=START_SECONDS_MAX)
    if done.returncode != 0:
        why = Path(f"{data}.told").read_text().strip()[-300:]
        raise NciaError("lab.postgresql", f"look at the old disks of {data.name}", why)
