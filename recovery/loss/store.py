"""Receipts on disk: SQLite in WAL, a store of its own beside the journal, which is not made for so many.

Writing the same batch twice is writing it once: a door that got no answer sends it again. Receipts are let go of by
age alone, and the time since which they are kept is told.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    delete,
    func,
    select,
    tuple_,
)
from sqlalchemy.dialects.sqlite import dialect, insert
from sqlalchemy.exc import SQLAlchemyError

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.database import engine_of
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, SiteId, SystemId
from ncia.core.reports.loss import Dropped, Receipt, Stream

DELETED_AT_ONCE_MAX = 20_000  # writers never wait for a deletion longer than that takes

METADATA = MetaData()
RECEIPTS = Table(
    "receipts",
    METADATA,
    Column("site", Text, primary_key=True),
    Column("system", Text, primary_key=True),
    Column("act", Text, primary_key=True),
    Column("content_sha256", Text, primary_key=True),
    Column("agency", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("acked_at", Text, nullable=False),
    sqlite_with_rowid=False,
)
Index("receipts_acked_at", RECEIPTS.c.acked_at)
STREAMS = Table(
    "streams",
    METADATA,
    Column("stream", Text, primary_key=True),
    Column("door", Text, nullable=False),
    Column("served_by", Text, nullable=False),
    Column("began_at", Text, nullable=False),
    Column("complete_until", Text, nullable=False),
    Column("closed", Boolean, nullable=False),
)
DROPS = Table(
    "drops",
    METADATA,
    Column("stream", Text, primary_key=True),
    Column("since", Text, primary_key=True),
    Column("until", Text, nullable=False),
    Column("count", Integer, nullable=False),
)


def _upsert(table: Table, only: Any, *changed: str) -> str:
    """An insert that changes what is there already where ``only`` holds; compiled once, for SQLAlchemy keeps nothing of
    an upsert that it compiled, and would spend a millisecond of every receipt on it."""
    fresh = insert(table)
    if changed:
        told = {name: fresh.excluded[name] for name in changed}
        keys = [column.name for column in table.primary_key]
        statement = fresh.on_conflict_do_update(index_elements=keys, set_=told, where=only(fresh.excluded))
    else:
        statement = fresh.on_conflict_do_nothing()
    return str(statement.compile(dialect=dialect(paramstyle="named")))


KEEP = _upsert(RECEIPTS, None)
# A stream only ever goes forward, whatever order its batches arrive in.
TELL_STREAM = _upsert(
    STREAMS, lambda fresh: fresh.complete_until >= STREAMS.c.complete_until, "complete_until", "closed"
)
# The same gap may be told again, grown together with the next one.
TELL_DROP = _upsert(DROPS, lambda fresh: fresh["count"] > DROPS.c["count"], "until", "count")


class ReceiptStore:
    """:class:`recovery.loss.ports.Receipts` in a file. Safe from several threads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._writing = threading.Lock()
        self._engine = engine_of(f"sqlite:///{file}")
        with self._failing("open"):
            METADATA.create_all(self._engine)

    def keep(self, stream: Stream, receipts: Sequence[Receipt]) -> None:
        with self._writing, self._failing("write"), self._engine.begin() as connection:
            if receipts:
                connection.exec_driver_sql(KEEP, [_row(receipt) for receipt in receipts])
            for drop in stream.drops:
                connection.exec_driver_sql(TELL_DROP, _drop_row(stream.id, drop))
            connection.exec_driver_sql(TELL_STREAM, _stream_row(stream))

    def held(self, site: SiteId, systems: Sequence[SystemId], since: datetime, until: datetime) -> tuple[Receipt, ...]:
        wanted = select(RECEIPTS).where(
            RECEIPTS.c.site == site,
            RECEIPTS.c.system.in_(systems),
            RECEIPTS.c.acked_at >= to_text(since),
            RECEIPTS.c.acked_at <= to_text(until),
        )
        with self._failing("read"), self._engine.connect() as connection:
            return tuple(_receipt(row) for row in connection.execute(wanted))

    def streams(self, served_by: SiteId) -> tuple[Stream, ...]:
        with self._failing("read"), self._engine.connect() as connection:
            drops: dict[str, list[Dropped]] = {}
            for row in connection.execute(select(DROPS).order_by(DROPS.c.since)).mappings():
                drop = Dropped(from_text(row["since"]), from_text(row["until"]), row["count"])
                drops.setdefault(row["stream"], []).append(drop)
            wanted = select(STREAMS).where(STREAMS.c.served_by == served_by).order_by(STREAMS.c.began_at)
            return tuple(
                Stream(
                    row.stream,
                    SiteId(row.door),
                    served_by,
                    from_text(row.began_at),
                    from_text(row.complete_until),
                    row.closed,
                    tuple(drops.get(row.stream, ())),
                )
                for row in connection.execute(wanted)
            )

    def count(self) -> int:
        with self._failing("read"), self._engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(RECEIPTS)) or 0)

    def forget(self, before: datetime) -> int:
        """A bounded number of receipts at a time, the oldest first; streams and drops that ended before go with the
        last of them."""
        oldest = (
            select(RECEIPTS.c.site, RECEIPTS.c.system, RECEIPTS.c.act, RECEIPTS.c.content_sha256)
            .where(RECEIPTS.c.acked_at < to_text(before))
            .order_by(RECEIPTS.c.acked_at)
            .limit(DELETED_AT_ONCE_MAX)
        )
        keys = tuple_(RECEIPTS.c.site, RECEIPTS.c.system, RECEIPTS.c.act, RECEIPTS.c.content_sha256)
        with self._writing, self._failing("write"), self._engine.begin() as connection:
            gone = connection.execute(delete(RECEIPTS).where(keys.in_(oldest))).rowcount
            if gone < DELETED_AT_ONCE_MAX:
                connection.execute(delete(STREAMS).where(STREAMS.c.complete_until < to_text(before), ~STREAMS.c.closed))
                connection.execute(delete(DROPS).where(DROPS.c.until < to_text(before)))
        return gone

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _failing(self, act: str) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            why = str(getattr(error, "orig", None) or error).splitlines()[0]
            what = f"{act} the receipts in {self._file}"
            raise NciaError("receipts.store-failed", what, why, "disk space, permissions") from error


def _stream_row(stream: Stream) -> dict[str, Any]:
    return {
        "stream": stream.id,
        "door": stream.door,
        "served_by": stream.served_by,
        "began_at": to_text(stream.began_at),
        "complete_until": to_text(stream.complete_until),
        "closed": stream.closed,
    }


def _drop_row(stream: str, drop: Dropped) -> dict[str, Any]:
    return {"stream": stream, "since": to_text(drop.since), "until": to_text(drop.until), "count": drop.count}


def _row(receipt: Receipt) -> dict[str, Any]:
    return {
        "site": receipt.site,
        "system": receipt.system,
        "act": receipt.act,
        "content_sha256": receipt.content_sha256,
        "agency": receipt.agency,
        "epoch": receipt.epoch,
        "acked_at": to_text(receipt.acked_at),
    }


def _receipt(row: Any) -> Receipt:
    return Receipt(
        row.act,
        row.content_sha256,
        SystemId(row.system),
        AgencyId(row.agency),
        SiteId(row.site),
        row.epoch,
        from_text(row.acked_at),
    )
