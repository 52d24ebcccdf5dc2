"""Databases in which a commit is durable when it returns: SQLite beside the process, or a PostgreSQL of the site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event

BUSY_TIMEOUT_MS = 10_000


def engine_of(url: str, isolation: str | None = None) -> Engine:
    """An engine whose commits are durable: SQLite in WAL with ``synchronous=FULL``, PostgreSQL synchronous.

    ``sqlite:///file`` makes the file's folder; ``postgresql://…`` is served by psycopg.
    """
    if url.startswith("postgresql://"):
        url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, isolation_level=isolation) if isolation else create_engine(url)
    if engine.dialect.name == "sqlite":
        if engine.url.database:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begin)
    else:
        event.listen(engine, "connect", _postgresql_connected)
    return engine


def shown(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=True)


def _sqlite_connected(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would come too late for reads
    # The wait first: going over to WAL takes a lock, which another process may hold for a moment.
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _sqlite_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _postgresql_connected(connection: Any, _: Any) -> None:
    before, connection.autocommit = connection.autocommit, True
    connection.execute("SET synchronous_commit TO on")
    connection.autocommit = before
