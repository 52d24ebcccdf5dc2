"""Spans of time as restic writes them (``1y5m7d2h``), counted back in the calendar, and moments told by them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.repository.format.times import moment_of
from ncia.core.base.errors import NciaError

FORM = re.compile(r"(?:(\d{1,4})y)?(?:(\d{1,5})m)?(?:(\d{1,6})d)?(?:(\d{1,7})h)?")
DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s)?")
FIRST_YEAR = 1
MONTHS = 12


@dataclass(frozen=True)
class Span:
    """Years and months are the calendar's."""

    years: int = 0
    months: int = 0
    days: int = 0
    hours: int = 0

    def __bool__(self) -> bool:
        return bool(self.years or self.months or self.days or self.hours)

    def __str__(self) -> str:
        parts = ((self.years, "y"), (self.months, "m"), (self.days, "d"), (self.hours, "h"))
        return "".join(f"{count}{unit}" for count, unit in parts if count) or "0h"

    def before(self, moment: datetime) -> datetime:
        """As Go's ``AddDate``: the 31st of a month that has 30 is the 1st of the next."""
        month = moment.year * MONTHS + moment.month - 1 - self.years * MONTHS - self.months
        year, month = divmod(month, MONTHS)
        if year < FIRST_YEAR:
            return datetime.min.replace(tzinfo=moment.tzinfo)
        first = moment.replace(year=year, month=month + 1, day=1)
        try:
            return first + timedelta(days=moment.day - 1 - self.days, hours=-self.hours)
        except OverflowError:
            return datetime.min.replace(tzinfo=moment.tzinfo)


def span_of(text: str) -> Span:
    """Raises ``repository.bad-span``."""
    found = FORM.fullmatch(text)
    if not text or found is None:
        raise NciaError("repository.bad-span", "read a span of time", f"{text!r} is none", "such as 7d, 36h, 1y5m7d2h")
    return Span(*(int(each or 0) for each in found.groups()))


def seconds_of(text: str) -> float:
    """A duration as Go writes it, such as 90s, 5m, 1h30m; 0 of nothing. Raises ``repository.bad-span``."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise NciaError("repository.bad-span", "read a duration", f"{text!r} is none", "such as 90s, 5m, 1h30m")
    hours, minutes, seconds = (int(each or 0) for each in found.groups())
    return 3600.0 * hours + 60 * minutes + seconds


def moment_or_ago(text: str, now: datetime) -> datetime:
    """A moment (RFC 3339), or how long ago it was. Raises ``repository.bad-span``."""
    try:
        return moment_of(text)
    except ValueError:
        pass
    try:
        return span_of(text).before(now)
    except NciaError as error:
        hint = "such as 2026-11-26T03:00:00Z, or how long ago it was: 36h, 7d"
        raise NciaError(error.code, "read a moment", f"{text!r} is none", hint) from error
