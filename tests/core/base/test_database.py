"""The engines that the journal, the queue and the receipts share."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from sqlalchemy import text

from ncia.core.base.database import BUSY_TIMEOUT_MS, engine_of

HELD_SECONDS = 0.3


def test_a_sqlite_file_is_made_with_its_folder_in_wal_and_every_commit_is_synced(tmp_path: Path) -> None:
    engine = engine_of(f"sqlite:///{tmp_path / 'state' / 'some.db'}")
    with engine.connect() as connection:
        told = [connection.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "busy_timeout")]
    engine.dispose()
    assert told == ["wal", 2, BUSY_TIMEOUT_MS]


def test_a_file_that_another_process_holds_for_a_moment_is_waited_for_before_it_goes_over_to_wal(
    tmp_path: Path,
) -> None:
    file = tmp_path / "some.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE kept (id INTEGER)")
    other.execute("BEGIN EXCLUSIVE")
    letting_go = threading.Timer(HELD_SECONDS, other.execute, ("COMMIT",))
    letting_go.start()
    engine = engine_of(f"sqlite:///{file}?timeout=0")  # the driver's own wait would hide the order
    with engine.connect() as connection:
        assert connection.scalar(text("PRAGMA journal_mode")) == "wal"
    letting_go.join()
    engine.dispose()
    other.close()
