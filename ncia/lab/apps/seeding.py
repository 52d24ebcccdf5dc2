"""A system's birth: its schema and its first rows, on the primary of its home, before anybody is served.

Idempotent: one transaction makes everything or nothing, and where the acts' table stands there is nothing to do.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import psycopg

from ncia.core.config import load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, System
from ncia.lab.apps.definition import ACTS, HISTORY, SCHEMA
from ncia.lab.apps.definitions import definition_of

CONNECT_SECONDS_MAX = 3


def seed(system: System, server: Address, passfile: Path) -> bool:
    """Make schema and rows of ``system`` in the cluster at ``server``; false where they were there already."""
    with psycopg.connect(
        host=server.host,
        port=server.port,
        user="app",
        dbname=system.postgres.database,
        passfile=str(passfile),
        connect_timeout=CONNECT_SECONDS_MAX,
        client_encoding="utf8",
        application_name="seeding",
    ) as connection:
        return seed_into(connection, str(system.id))


def seed_into(connection: psycopg.Connection, system: str) -> bool:
    """The same over an open connection, in its transaction, which is committed at the end."""
    definition = definition_of(system)
    found = connection.execute("select to_regclass(%s) is not null", (f"{SCHEMA}.acts",)).fetchone()
    if found is not None and found[0]:
        return False
    # At birth no copy exists that could confirm, and nobody has been promised anything yet.
    connection.execute("set local synchronous_commit = local")
    connection.execute(f"create schema if not exists {SCHEMA}".encode())
    connection.execute(f"set local search_path = {SCHEMA}".encode())
    for script in (ACTS, definition.schema):
        connection.execute(script.encode())
    connection.execute(f"comment on schema {SCHEMA} is '{definition.schema_version}'".encode())
    connection.execute(HISTORY, {"system": system, "history": definition.history})
    for script in (definition.seed, "analyze"):
        connection.execute(script.encode())
    connection.commit()
    return True


def seed_home(estate: Estate, system: System, passfile: Path) -> bool:
    """Seed ``system`` at its home's own server address."""
    return seed(system, system.postgres.copies[system.home].server, passfile)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.apps.seeding", description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--system", required=True)
    told = parser.parse_args(arguments)
    settings = load_settings(told.settings)
    estate = load_estate(settings.estate)
    seed_home(estate, estate.system(told.system), settings.secrets / "pgpass")


if __name__ == "__main__":
    main()
