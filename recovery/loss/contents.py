"""The acts in a system's active database, asked by role ``ncia_backup``, which may read everything and change nothing.

A hosted system shows its acts as a view ``act_contents(id, content jsonb)``, and what document belongs to an act as a
table ``act_documents(act, name, size_bytes, sha256)``; the hash is taken of both, in the database, so that what travels
is one hash an act. A document is looked for where it is kept, by name and size; its bytes are not read again here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import BucketCopy, TreeCopy
from ncia.core.work.documents import Documents

ROLE = "ncia_backup"
SCHEMA = "app"
CONNECT_SECONDS = 5
BATCH_MAX = 20_000  # acts asked for in one statement
STATEMENT_MS = 120_000
OTHER_DOCUMENT = "a document of another size"  # where a hash would stand

HASHES = """
select id::text, encode(sha256(convert_to(content::text, 'UTF8')), 'hex'), name, size_bytes
from (
    select c.id, d.name, d.size_bytes, case when d.act is null then c.content
        else c.content || jsonb_build_object('kept_document',
            jsonb_build_object('name', d.name, 'size_bytes', d.size_bytes, 'sha256', d.sha256)) end as content
    from unnest(%(acts)s::uuid[]) as held(id)
    join app.act_contents c on c.id = held.id left join app.act_documents d on d.act = c.id
) found
"""

StoreOf = Callable[[TreeCopy | BucketCopy], Documents]


@dataclass(frozen=True)
class Found:
    """An act as the rows give it; ``name`` is None where it has no document."""

    act: str
    content_sha256: str
    name: str | None
    size_bytes: int | None


class PostgresContents:
    """:class:`recovery.loss.ports.Contents` as ``viewer`` reaches them; ``passfile`` is in libpq's format, ``store_of``
    opens the store of a copy of documents."""

    def __init__(self, estate: Estate, viewer: SiteId, passfile: Path, store_of: StoreOf) -> None:
        self._estate = estate
        self._viewer = viewer
        self._passfile = passfile
        self._store_of = store_of

    def hashes(self, system: SystemId, site: SiteId, acts: Sequence[str]) -> Mapping[str, str]:
        found = self._rows(system, site, acts)
        with_document = [each for each in found if each.name is not None]
        hashes = {each.act: each.content_sha256 for each in found}
        return self._with_documents(system, site, hashes, with_document) if with_document else hashes

    def _with_documents(
        self, system: SystemId, site: SiteId, hashes: Mapping[str, str], acts: Sequence[Found]
    ) -> Mapping[str, str]:
        """Without the acts whose document is not there; one of another size is another content."""
        copies = [d.documents[site] for d in self._estate.systems[system].documents if site in d.documents]
        if not copies:
            what = f"look for {len(acts)} documents of {system} at {site}"
            raise NciaError("loss.no-documents", what, "the estate names no copy of them there", "ncia estate show")
        kept = sizes_of(self._store_of(copies[0]), {str(each.name) for each in acts})
        known = dict(hashes)
        for each in acts:
            size = kept.get(str(each.name))
            if size is None:
                del known[each.act]
            elif size != each.size_bytes:
                known[each.act] = OTHER_DOCUMENT
        return known

    def _rows(self, system: SystemId, site: SiteId, acts: Sequence[str]) -> list[Found]:
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
                found: list[Found] = []
                for start in range(0, len(acts), BATCH_MAX):
                    batch = list(acts[start : start + BATCH_MAX])
                    found += [Found(*row) for row in connection.execute(HASHES, {"acts": batch}).fetchall()]
                return found
        except psycopg.OperationalError as error:
            raise Unreachable("loss.no-server", what, _first_line(error), "see that its server runs") from error
        except psycopg.Error as error:
            hint = "the system must show its acts as app.act_contents(id, content)"
            raise NciaError("loss.no-contents", what, _first_line(error), hint) from error


def sizes_of(store: Documents, names: Iterable[str]) -> dict[str, int]:
    """The size of each document that the store lists, folder by folder; those it does not list are absent."""
    wanted = set(names)
    folders = sorted({name.rpartition("/")[0] for name in wanted})
    listed = {seen.name: seen.size_bytes for folder in folders for seen in store.look(folder).documents}
    return {name: size for name, size in listed.items() if name in wanted}


def _first_line(error: Exception) -> str:
    """libpq's message without its hints; it never holds a password."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
