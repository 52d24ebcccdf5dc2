"""Names and positions of WAL, as PostgreSQL writes them. Pure.

A segment's file is named by its timeline and number (``0000000100000000000000A7``), a position is ``0/A7000028``
(PostgreSQL documentation, "WAL Internals"). ``pg_receivewal`` writes ``<name>.partial`` until a segment is whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ncia.core.base.ids import SiteId
from ncia.core.base.lsn import lsn_number

PARTIAL = ".partial"
SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})(\.partial)?")
HISTORY = re.compile(r"[0-9A-F]{8}\.history")
RECORD = re.compile(r"\blsn: ([0-9A-F]+/[0-9A-F]+),")  # of a line of pg_waldump
XLOG_ID_BYTES = 1 << 32


def receiver_name(site: SiteId) -> str:
    """Under this name a commit at the other site waits for the receiver of ``site``."""
    return f"{site}-receiver"


def joining_name(site: SiteId) -> str:
    """Under this one nobody waits for it."""
    return f"{site}-joining"


def slot_name(site: SiteId) -> str:
    """Its replication slot at the primary; PostgreSQL allows lower-case letters, digits and underscores."""
    return receiver_name(site).replace("-", "_")


@dataclass(frozen=True)
class Segment:
    """One file of WAL. ``start`` is the position of its first byte."""

    name: str  # without .partial
    timeline: int
    start: int
    size_bytes: int
    partial: bool

    @property
    def end(self) -> int:
        return self.start + self.size_bytes

    @property
    def file(self) -> str:
        return self.name + (PARTIAL if self.partial else "")


def segment_of(file: str, size_bytes: int) -> Segment | None:
    """The segment in a file of that name and size; ``None`` where it is something else, or empty."""
    found = SEGMENT.fullmatch(file)
    if found is None or size_bytes <= 0:
        return None
    timeline, high, low, partial = found.groups()
    number = int(high, 16) * (XLOG_ID_BYTES // size_bytes) + int(low, 16)
    return Segment(timeline + high + low, int(timeline, 16), number * size_bytes, size_bytes, partial is not None)


def unbroken(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """The newest segments that follow one another without a gap, oldest first; one held twice counts as the whole one.

    What lies before a gap cannot be replayed into what lies behind it.
    """
    by_start: dict[int, Segment] = {}
    for segment in sorted(segments, key=lambda s: (s.timeline, not s.partial)):
        by_start[segment.start] = segment  # the newest timeline's, and of that the whole one, comes last
    found: list[Segment] = []
    for segment in sorted(by_start.values(), key=lambda s: s.start, reverse=True):
        if found and segment.end != found[0].start:
            break
        found.insert(0, segment)
    return tuple(found)


def needless(segments: Iterable[Segment], replayed: int, kept: int) -> tuple[Segment, ...]:
    """What the standby has replayed already and nobody will ask for: all but the ``kept`` newest of those segments."""
    behind = sorted((s for s in segments if not s.partial and s.end <= replayed), key=lambda s: s.start)
    return tuple(behind[: len(behind) - kept] if kept else behind)


def last_record(told: Iterable[str]) -> int | None:
    """The position of the last whole record in what ``pg_waldump`` printed; ``None`` where it printed none."""
    found = None
    for line in told:
        record = RECORD.search(line)
        if record:
            found = lsn_number(record.group(1))
    return found
