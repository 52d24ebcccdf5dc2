"""Moments as Go writes them (RFC 3339 with nanoseconds, trailing zeros cut), from integers only."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

SECOND_NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_SECOND = int((datetime(1, 1, 1, tzinfo=UTC) - EPOCH).total_seconds())
LAST_SECOND = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - EPOCH).total_seconds())
FORM = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|z|[+-]\d\d:\d\d)")


def ns_text(ns: int) -> str:
    """Nanoseconds since 1970 in UTC; what no year of four digits can hold becomes the nearest moment that one can."""
    second, rest = divmod(ns, SECOND_NS)
    if not FIRST_SECOND <= second <= LAST_SECOND:
        second, rest = (FIRST_SECOND, 0) if second < 0 else (LAST_SECOND, SECOND_NS - 1)
    if not rest:
        return _second_text(second) + "Z"
    fraction = f"{rest:09d}" if rest % 10 else f"{rest:09d}".rstrip("0")
    return f"{_second_text(second)}.{fraction}Z"


def ns_of(text: str) -> int:
    """The inverse, for any offset; raises ``ValueError``."""
    if text[10:20:9] == "T." and text.endswith("Z") and text[20:-1].isdigit() and len(text) <= 30:  # by far the most
        return _second_of(text[:10], text[11:19], "Z") * SECOND_NS + int(text[20:-1].ljust(9, "0"))
    found = FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"not a moment: {text!r}")
    day, clock, fraction, zone = found.groups()
    return _second_of(day, clock, zone.upper()) * SECOND_NS + int((fraction or "").ljust(9, "0"))


def moment_text(moment: datetime) -> str:
    return ns_text((moment - EPOCH) // timedelta(microseconds=1) * 1000)


def moment_of(text: str) -> datetime:
    """To the microsecond, which is all that a ``datetime`` holds; raises ``ValueError``."""
    return EPOCH + timedelta(microseconds=ns_of(text) // 1000)


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


@lru_cache(maxsize=4096)
def _second_of(day: str, clock: str, zone: str) -> int:
    return round((datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone == 'Z' else zone}") - EPOCH).total_seconds())
