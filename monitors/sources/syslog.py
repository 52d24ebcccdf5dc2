"""The head of a syslog line: RFC 3339 times as rsyslog writes them now, or RFC 3164's without year and zone. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
MONTHS = {name: number for number, name in enumerate(NAMES, 1)}
AHEAD_SECONDS_MAX = 86_400.0  # a time without a year that lies further ahead is last year's

_LINE = re.compile(
    r"(?:<\d{1,3}>)?"
    r"(?P<time>\d{4}-\d\d-\d\dT\S+|[A-Z][a-z]{2} [ \d]?\d \d\d:\d\d:\d\d) "
    r"(?P<host>\S+) "
    r"(?P<program>[^\s:\[]+)(?:\[(?P<pid>\d+)\])?: ?"
    r"(?P<message>.*)"
)


@dataclass(frozen=True, slots=True)
class Line:
    at: float
    host: str
    program: str
    pid: str  # empty where the line names none
    message: str


def read(line: str, now: float) -> Line | None:
    """The parts of a syslog line; None where it is none. A time without a zone is taken as UTC."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    time, host, program, pid, message = found.groups()
    at = _iso(time) if time[0].isdigit() else _without_year(time, now)
    return None if at is None else Line(at, host, program, pid or "", message)


def _iso(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _without_year(text: str, now: float) -> float | None:
    """The newest moment of that name that is not more than a day ahead."""
    month, day, clock = text[:3], text[4:6], text[7:] if text[6] == " " else text[6:]
    year = datetime.fromtimestamp(now, UTC).year
    for candidate in (year + 1, year, year - 1, year - 2, year - 3, year - 4):  # 29 February needs up to four
        try:
            hour, minute, second = (int(part) for part in clock.split(":"))
            at = datetime(candidate, MONTHS[month], int(day), hour, minute, min(second, 59), tzinfo=UTC).timestamp()
        except (ValueError, KeyError):
            continue
        if at <= now + AHEAD_SECONDS_MAX:
            return at
    return None
