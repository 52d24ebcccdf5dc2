"""Time: UTC wall clock for what is written down, CLOCK_BOOTTIME for what must not be fooled."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

CANARY_AHEAD_SECONDS_MAX = 2.0  # a canary that is dated so far in the future shows two clocks, and no lag


class Clock(Protocol):
    """The time, passed in so that tests and simulated worlds can own it."""

    def now(self) -> datetime:
        """The wall clock, aware, in UTC."""
        ...

    def boottime_ns(self) -> int:
        """Nanoseconds since boot, through suspend too (``CLOCK_BOOTTIME``); the same for all processes of a host."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def to_text(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds and ``Z``: the one spelling of a moment in entries and answers."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_text(text: str) -> datetime:
    """The inverse of :func:`to_text`; raises ``ValueError`` on anything that is not an aware RFC 3339 moment."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a moment needs its offset: {text!r}")
    return moment.astimezone(UTC)
