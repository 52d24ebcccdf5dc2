"""The acts in a system's active database, asked by role ``ncia_backup``, which may read everything and change nothing.

A hosted system shows its acts as a view ``act_contents(id, content jsonb)``; the hash is taken of the rows, in the
database, so that what travels is one hash an act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate

ROLE = "ncia_backup"
SCHEMA = "app"
CONNECT_SECONDS = 5
BATCH_MAX = 20_000  # acts asked for in one statement
STATEMENT_MS = 120_000

HASHES = """
select held.id::text, encode(sha256(convert_to(found.content::text, 'UTF8')), 'hex')
from unnest(%(acts)s::uuid[]) as held(id) join app.act_contents as found on found.id = held.id
"""


class PostgresContents:
    """:class:`recovery.loss.ports.Contents` as ``viewer`` reaches them; ``passfile`` is in libpq's format."""

    def __init__(self, estate: Estate, viewer: SiteId, passfile: Path) -> None:
        self._estate = estate
        self._viewer = viewer
        self._passfile = passfile

    def hashes(self, system: SystemId, site: SiteId, acts: Sequence[str]) -> Mapping[str, str]:
        dataset = self._estate.systems[system].postgres
        server = self._estate.seen(dataset.copies[site].server, site, self._viewer)
        what = f"look for {len(acts)} acts of {system} at {server}"
        try:
            with psycopg.connect(
                host=server.host,
                port=server.port,
                dbname=dataset.database,
                user=ROLE,
                passfile=str(self._passfile),
                connect_timeout=CONNECT_SECONDS,
                application_name="ncia loss",
                # search_path: a content's text must not depend on who reads it.
                options=f"-c statement_timeout={STATEMENT_MS} -c search_path={SCHEMA} -c timezone=UTC",
                client_encoding="utf8",
                autocommit=True,
            ) as connection:
                found: dict[str, str] = {}
                for start in range(0, len(acts), BATCH_MAX):
                    batch = list(acts[start : start + BATCH_MAX])
                    found.update(connection.execute(HASHES, {"acts": batch}).fetchall())
                return found
        except psycopg.OperationalError as error:
            raise Unreachable("loss.no-server", what, _first_line(error), "see that its server runs") from error
        except psycopg.Error as error:
            hint = "the system must show its acts as app.act_contents(id, content)"
            raise NciaError("loss.no-contents", what, _first_line(error), hint) from error


def _first_line(error: Exception) -> str:
    """libpq's message without its hints; it never holds a password."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
