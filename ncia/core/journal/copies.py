"""Copies of logs as they lie in files: a journal's database, or an export of it. Read as they are, nothing is judged.

A single signed note, such as the witness keeps, is a copy without entries. An export is JSON lines: ``{"journal":
{"site", "peer"}}`` first, then ``{"entry": …}`` and ``{"checkpoint": {"note"}}`` in any mixture; entries of a log in
their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, make_url, select
from sqlalchemy.exc import SQLAlchemyError

from ncia.core.base.database import engine_of
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.canonical import canonical, parse
from ncia.core.journal.checkpoint import ORIGIN
from ncia.core.journal.entry import entry_from_text, entry_to_wire
from ncia.core.journal.store import ENTRIES, HEADS, NODES, OWNER
from ncia.core.journal.tree import Node

SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True)
class Row:
    """One entry as found. ``number`` is where it lies, None where the file does not say; ``leaf_hash`` what is claimed
    beside it, None where nothing readable is; ``place`` where a person finds it."""

    number: int | None
    leaf_hash: bytes | None
    text: str
    place: str


@dataclass
class Copy:
    """One log in one file, in the file's order. ``own`` tells that the file is the log's own site's."""

    file: str
    site: SiteId
    own: bool
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    head_alone: bool = False  # a signed note that never had entries beside it
    nodes: list[Node] | None = None  # the stored subtree hashes; None where the file has no place for them


def read_copies(source: str) -> list[Copy]:
    """Every log in ``source``: a SQLite file, an exported file, a signed note, or the URL of a database."""
    if "://" in source:
        return _read_database(source, make_url(source).render_as_string(hide_password=True))
    path = Path(source)
    try:
        with path.open("rb") as file:
            magic = file.read(len(SQLITE_MAGIC))
        if magic == SQLITE_MAGIC:
            return _read_database(f"sqlite:///file:{quote(str(path.absolute()))}?mode=ro&uri=true", source)
        text = path.read_text(encoding="utf-8", errors="replace")
        if text.startswith(ORIGIN):
            site = SiteId(text.split("\n", 1)[0].removeprefix(ORIGIN))
            return [Copy(source, site, own=False, notes=[text], head_alone=True)]
        return _read_lines(text.splitlines(), source)
    except OSError as error:
        raise NciaError("journal.unreadable", f"read the journal {source}", str(error.strerror)) from error


def export_lines(copies: Iterable[Copy]) -> Iterator[str]:
    """The copies of one file as JSON lines, each head behind the entries that it covers."""
    copies = list(copies)
    owner = next((each.site for each in copies if each.own), None)
    peer = next((each.site for each in copies if not each.own), None)
    yield _line({"journal": {"site": owner, "peer": peer}})
    for copy in copies:
        for row in copy.rows:
            yield _line({"entry": entry_to_wire(entry_from_text(row.text))})
        for note in copy.notes:
            yield head_line(note)


def head_line(note: str) -> str:
    return _line({"checkpoint": {"note": note}})


def _line(fields: dict[str, Any]) -> str:
    return canonical(fields).decode("utf-8")


def _read_database(url: str, shown: str) -> list[Copy]:
    engine = create_engine(url) if url.startswith("sqlite") else engine_of(url, isolation="REPEATABLE READ")
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")  # one moment for all that is read: the journal may be in use
            owner = connection.execute(select(OWNER.c.site, OWNER.c.peer)).first()
            sites = [owner.site, owner.peer] if owner else []
            found = connection.scalars(select(ENTRIES.c.site).union(select(HEADS.c.site)))
            sites += sorted(set(found) - set(sites))
            return [
                _read_log(connection, SiteId(site), shown, owner is not None and site == owner.site) for site in sites
            ]
    except SQLAlchemyError as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise NciaError(
            "journal.unreadable", f"read the journal {shown}", why, "is it a journal's database?"
        ) from error
    finally:
        engine.dispose()


def _read_log(connection: Connection, site: SiteId, file: str, own: bool) -> Copy:
    rows = connection.execute(
        select(ENTRIES.c.number, ENTRIES.c.leaf_hash, ENTRIES.c.text)
        .where(ENTRIES.c.site == site)
        .order_by(ENTRIES.c.number)
    )
    notes = connection.scalars(select(HEADS.c.note).where(HEADS.c.site == site).order_by(HEADS.c.size))
    nodes = connection.execute(
        select(NODES.c.level, NODES.c.index, NODES.c.hash)
        .where(NODES.c.site == site)
        .order_by(NODES.c.level, NODES.c.index)
    )
    return Copy(
        file=file,
        site=site,
        own=own,
        rows=[Row(number, bytes(leaf), str(text), f"row {number}") for number, leaf, text in rows],
        notes=list(notes),
        nodes=[Node(level, index, bytes(found)) for level, index, found in nodes],
    )


def _read_lines(lines: list[str], file: str) -> list[Copy]:
    copies: dict[SiteId, Copy] = {}
    owner: Any = None
    last = SiteId("")

    def copy_of(site: Any) -> Copy:
        known = SiteId(str(site))
        return copies.setdefault(known, Copy(file, known, known == owner))

    for place, line in enumerate(lines, 1):
        try:
            told = parse(line)
            if "journal" in told:
                owner = told["journal"]["site"]
                for site in filter(None, (owner, told["journal"]["peer"])):
                    copy_of(site)
            elif "checkpoint" in told:
                note = str(told["checkpoint"]["note"])
                copy_of(note.split("\n", 1)[0].rpartition("/")[2]).notes.append(note)
            else:
                wire = dict(told["entry"])
                claimed = bytes.fromhex(wire.pop("leaf_hash"))
                last = SiteId(str(wire["site"]))
                copy_of(last).rows.append(Row(None, claimed, canonical(wire).decode("utf-8"), f"line {place}"))
        except (NciaError, ValueError, KeyError, TypeError, AttributeError):
            copy_of(last or owner).rows.append(Row(None, None, line, f"line {place}"))
    return list(copies.values())
