"""Where logs are kept: tables of entries, subtree hashes and signed heads, on SQLite or PostgreSQL.

The store keeps what it is given and judges nothing; ``log.py`` decides what may be written. Each call of ``add`` is
one durable transaction. A number can be taken once: two writers end in an error, never in a fork.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    create_engine,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from ncia.core.base.database import engine_of, shown
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Signature, checkpoint_from_note
from ncia.core.journal.entry import Entry
from ncia.core.journal.tree import Node, StoredHash

INSERT_ROWS_MAX = 5_000

METADATA = MetaData()
OWNER = Table("journal_owner", METADATA, Column("site", Text, primary_key=True), Column("peer", Text, nullable=False))
ENTRIES = Table(
    "journal_entries",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("text", Text, nullable=False),
)
NODES = Table(  # complete subtrees above the leaves
    "journal_nodes",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("level", Integer, primary_key=True),
    Column("index", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)
HEADS = Table(  # every head that was signed, cosignatures included: a fault is found between two of them
    "journal_heads",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("size", BigInteger, primary_key=True),
    Column("note", Text, nullable=False),
)


@dataclass(frozen=True)
class Row:
    """An entry as it lies in the store, not judged."""

    number: int
    leaf_hash: bytes
    text: str


class WriterLock(Protocol):
    """The right to write, held until released or until the process ends."""

    def release(self) -> None: ...


class Store:
    """Logs in a database named by a SQLAlchemy URL (``sqlite:///file`` or ``postgresql://…``)."""

    def __init__(self, url: str) -> None:
        self.engine = engine_of(url)
        try:
            METADATA.create_all(self.engine)
        except SQLAlchemyError as error:
            raise _failed("open", self.engine, error) from error

    def claim(self, site: SiteId, peer: SiteId) -> WriterLock:
        """Become the one writer of ``site``'s journal here; raises :class:`NciaError` where another process is."""
        lock: WriterLock
        if self.engine.dialect.name == "sqlite":
            lock = FileLock(Path(f"{self.engine.url.database}.writer"))
        else:
            lock = AdvisoryLock(self.engine, site)
        try:
            self._own(site, peer)
        except BaseException:
            lock.release()
            raise
        return lock

    def size(self, site: SiteId) -> int:
        with self.read() as connection:
            found = connection.scalar(select(func.max(ENTRIES.c.number)).where(ENTRIES.c.site == site))
        return 0 if found is None else int(found) + 1

    def rows(self, site: SiteId, start: int, limit: int) -> tuple[Row, ...]:
        wanted = (
            select(ENTRIES.c.number, ENTRIES.c.leaf_hash, ENTRIES.c.text)
            .where(ENTRIES.c.site == site, ENTRIES.c.number >= start)
            .order_by(ENTRIES.c.number)
            .limit(limit)
        )
        with self.read() as connection:
            return tuple(Row(number, leaf, told) for number, leaf, told in connection.execute(wanted))

    def head(self, site: SiteId, cosigner: str = "") -> Checkpoint | None:
        """The newest signed head of that log that is kept here; with ``cosigner`` one with a line of that name."""
        wanted = select(HEADS.c.note).where(HEADS.c.site == site).order_by(HEADS.c.size.desc()).limit(1)
        if cosigner:
            wanted = wanted.where(HEADS.c.note.contains(f"\n— {cosigner} ", autoescape=True))
        with self.read() as connection:
            note = connection.scalar(wanted)
        return None if note is None else checkpoint_from_note(note)

    def head_at(self, site: SiteId, size: int) -> Checkpoint | None:
        """The signed head of exactly that size, if one is kept here."""
        with self.read() as connection:
            note = connection.scalar(select(HEADS.c.note).where(HEADS.c.site == site, HEADS.c.size == size))
        return None if note is None else checkpoint_from_note(note)

    def cosign(self, site: SiteId, size: int, lines: Sequence[Signature]) -> bool:
        """Add cosignatures to the head of that size; whether such a head is kept here."""
        row = (HEADS.c.site == site, HEADS.c.size == size)
        try:
            with self.engine.begin() as connection:
                note = connection.scalar(select(HEADS.c.note).where(*row))
                if note is None:
                    return False
                cosigned = checkpoint_from_note(note).with_cosignatures(lines).note()
                if cosigned != note:
                    connection.execute(update(HEADS).where(*row).values(note=cosigned))
        except SQLAlchemyError as error:
            raise _failed(f"write {site}'s heads to", self.engine, error) from error
        return True

    def of_kind(self, site: SiteId, kind: str) -> tuple[Row, ...]:
        """Every entry of a kind. It reads the whole log: for what is asked once in a disaster."""
        wanted = (
            select(ENTRIES.c.number, ENTRIES.c.leaf_hash, ENTRIES.c.text)
            .where(ENTRIES.c.site == site, ENTRIES.c.text.contains(f'"kind":"{kind}"', autoescape=True))
            .order_by(ENTRIES.c.number)
        )
        with self.read() as connection:
            return tuple(Row(number, leaf, told) for number, leaf, told in connection.execute(wanted))

    @contextmanager
    def hashes(self, site: SiteId) -> Iterator[StoredHash]:
        """The stored subtree hashes of one log, read in one transaction."""
        with self.read() as connection:

            def stored(level: int, index: int) -> bytes:
                found = connection.scalar(_hash_at(site, level, index))
                if found is None:
                    what = f"read the tree of {site}'s log"
                    why = f"the hash at level {level}, index {index} is missing"
                    raise NciaError("journal.damaged", what, why, "ncia journal verify FILE")
                return bytes(found)

            yield stored

    def add(self, site: SiteId, entries: Sequence[Entry], nodes: Sequence[Node], head: Checkpoint | None) -> None:
        """Store all or nothing; durable when it returns. Raises :class:`NciaError` where a number is taken."""
        try:
            with self.engine.begin() as connection:
                _insert(connection, ENTRIES, [_entry_row(each) for each in entries])
                _insert(connection, NODES, [_node_row(site, each) for each in nodes if each.level])
                if head is not None:
                    _insert(connection, HEADS, [{"site": site, "size": head.size, "note": head.note()}])
        except IntegrityError as error:
            numbers = f"{entries[0].number}..{entries[-1].number}" if entries else "no entry"
            what = f"write {site}'s log, {numbers}"
            why = "another writer has taken these numbers"
            raise NciaError("journal.second-writer", what, why, "only one `ncia serve` per site may run") from error
        except SQLAlchemyError as error:
            raise _failed(f"write {site}'s log to", self.engine, error) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        try:
            with self.engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _failed("read", self.engine, error) from error

    def close(self) -> None:
        self.engine.dispose()

    def _own(self, site: SiteId, peer: SiteId) -> None:
        with self.engine.begin() as connection:
            found = connection.execute(select(OWNER.c.site, OWNER.c.peer)).first()
            if found is None:
                connection.execute(insert(OWNER).values(site=site, peer=peer))
            elif (found.site, found.peer) != (site, peer):
                why = f"it belongs to {found.site} (peer {found.peer})"
                what = f"open the journal of {site} (peer {peer}) in {shown(self.engine)}"
                raise NciaError("journal.other-site", what, why, "each site has a journal of its own")


class FileLock:
    """One process per SQLite file; the kernel drops it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise _taken(str(path)) from error

    def release(self) -> None:
        os.close(self._descriptor)


class AdvisoryLock:
    """One session per PostgreSQL database and site; the server drops it when the connection ends."""

    def __init__(self, engine: Engine, site: SiteId) -> None:
        number = int.from_bytes(sha256(f"ncia journal {site}".encode()).digest()[:8], "big", signed=True)
        alone = create_engine(engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        try:
            self._connection = alone.connect()
            held = self._connection.scalar(text("SELECT pg_try_advisory_lock(:number)"), {"number": number})
        except SQLAlchemyError as error:
            raise _failed("open", engine, error) from error
        if not held:
            self._connection.close()
            raise _taken(shown(engine))

    def release(self) -> None:
        self._connection.close()


def _hash_at(site: SiteId, level: int, index: int) -> Any:
    if level == 0:
        return select(ENTRIES.c.leaf_hash).where(ENTRIES.c.site == site, ENTRIES.c.number == index)
    place = (NODES.c.site == site, NODES.c.level == level, NODES.c.index == index)
    return select(NODES.c.hash).where(*place)


def _entry_row(entry: Entry) -> dict[str, Any]:
    return {"site": entry.site, "number": entry.number, "leaf_hash": entry.leaf_hash, "text": entry.text}


def _node_row(site: SiteId, node: Node) -> dict[str, Any]:
    return {"site": site, "level": node.level, "index": node.index, "hash": node.hash}


def _insert(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    for start in range(0, len(rows), INSERT_ROWS_MAX):
        connection.execute(insert(table), rows[start : start + INSERT_ROWS_MAX])


def _taken(where: str) -> NciaError:
    what = f"become the writer of the journal in {where}"
    return NciaError("journal.second-writer", what, "another process is its writer", "stop the other `ncia serve`")


def _failed(act: str, engine: Engine, error: SQLAlchemyError) -> NciaError:
    why = str(getattr(error, "orig", None) or error).splitlines()[0]
    return NciaError("journal.store-failed", f"{act} the journal in {shown(engine)}", why, "disk space, permissions")
