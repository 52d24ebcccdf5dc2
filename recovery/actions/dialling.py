"""Connections to the PostgreSQL servers of either site, by role, as seen from one site."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Estate

CONNECT_SECONDS = 3


@dataclass(frozen=True)
class Dialler:
    """``passfile`` is in libpq's format. Raises :class:`Unreachable`, without a password in it."""

    estate: Estate
    viewer: SiteId
    passfile: Path

    def connect(self, system: SystemId, site: SiteId, role: str, what: str) -> psycopg.Connection[Any]:
        return self._connect(system, site, what, user=role, dbname=self.estate.systems[system].postgres.database)

    def connect_for_replication(self, system: SystemId, site: SiteId, what: str) -> psycopg.Connection[Any]:
        """For the commands of the replication protocol."""
        return self._connect(system, site, what, user="replicator", replication="true")

    def _connect(self, system: SystemId, site: SiteId, what: str, **words: str) -> psycopg.Connection[Any]:
        copy = self.estate.systems[system].postgres.copies[site]
        seen = self.estate.seen(copy.server, site, self.viewer)
        told = make_conninfo(
            host=seen.host,
            port=seen.port,
            passfile=str(self.passfile),
            connect_timeout=CONNECT_SECONDS,
            application_name="ncia recovery",
            **words,
        )
        try:
            return psycopg.connect(told, autocommit=True)
        except psycopg.OperationalError as error:
            why = str(error).strip().splitlines()[0]
            raise Unreachable("recovery.no-server", what, why, "see that its server runs") from error
