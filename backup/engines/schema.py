"""The version that a system's database bears: the comment on its owner's schema, which its program's releases set."""

from __future__ import annotations

from pathlib import Path

import psycopg

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate, System

ROLE = "ncia_watch"
OWNER = "app"  # the role that owns the schema, and its schema's name
CONNECT_SECONDS = 5
VERSION = """
select coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = %s
"""


class PostgresSchemas:
    """As ``viewer`` dials the estate's servers; ``passfile`` is libpq's password file of that site."""

    def __init__(self, estate: Estate, viewer: SiteId, passfile: Path) -> None:
        self._estate = estate
        self._viewer = viewer
        self._passfile = passfile

    def version(self, system: System, site: SiteId) -> str:
        server = self._estate.seen(system.postgres.copies[site].server, site, self._viewer)
        try:
            with psycopg.connect(
                host=server.host,
                port=server.port,
                user=ROLE,
                dbname=system.postgres.database,
                passfile=str(self._passfile),
                connect_timeout=CONNECT_SECONDS,
                client_encoding="utf8",
                application_name="ncia-schema",
                options=f"-c statement_timeout={CONNECT_SECONDS * 1000}",
            ) as connection:
                row = connection.execute(VERSION, (OWNER,)).fetchone()
        except psycopg.Error as error:
            what = f"read the schema version of {system.id} at {site}"
            raise Unreachable("program.no-schema", what, " ".join(str(error).split())) from error
        return str(row[0]) if row else ""
