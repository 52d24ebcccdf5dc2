"""Replication slots that nobody reads while they keep WAL: they fill a server's disk, slowly and for good.

Asked now and then over the connection that looks at the database anyway. A reader that is away for a moment keeps
little; a base backup's slot is unread between two of its tools.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from monitors.ports import Look, Outcome
from ncia.core.base.ids import SiteId, Subject, SystemId

LOOK_SECONDS = 20.0
KEPT_BYTES_MAX = 64 << 20  # what PostgreSQL keeps between two checkpoints anyway is of that order
NAMES_MAX = 3

UNREAD = b"""SELECT slot_name, pg_wal_lsn_diff(
    CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END, restart_lsn)::bigint
FROM pg_replication_slots WHERE NOT active AND restart_lsn IS NOT NULL ORDER BY 2 DESC NULLS LAST"""


def subject(system: SystemId, site: SiteId) -> Subject:
    return Subject(f"slots:{system}@{site}")


def judged(subject: Subject, rows: Sequence[tuple[Any, ...]], at: datetime, kept_bytes_max: int) -> Look:
    """``rows`` of :data:`UNREAD`: name and kept bytes, most first."""
    found = [(_text(name), int(kept)) for name, kept in rows if kept is not None and kept > kept_bytes_max]
    if not found:
        return Look(subject, Outcome.GOOD, "ok", "no slot keeps WAL that nobody reads", at)
    names = ", ".join(name for name, _ in found[:NAMES_MAX]) + (", …" if len(found) > NAMES_MAX else "")
    kept = found[0][1] / (1 << 20)
    return Look(subject, Outcome.BAD, "unread", f"nobody reads {names}, which keeps {kept:,.0f} MiB of WAL", at)


def _text(name: str | bytes) -> str:
    """A database without an encoding answers in bytes; a slot's name is ASCII."""
    return name.decode() if isinstance(name, bytes) else name
