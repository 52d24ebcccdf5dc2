"""How seconds and moments are spelled for people, the same on every surface."""

from __future__ import annotations

from datetime import datetime

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
_DAYS_FROM_SECONDS = 4 * 86400  # an RTO of 72 h is said in hours


def span(seconds: float | None, unknown: str = "never measured") -> str:
    """A length of time in the unit a person would say it in: ``0 s``, ``40 ms``, ``12 s``, ``3 h``, ``5 d 4 h``."""
    if seconds is None:
        return unknown
    if 0 < seconds < 0.1:  # never rounded to 0: 0 s of loss is a promise of its own
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f}".rstrip("0").rstrip(".") + " s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    whole = round(seconds)
    for index, (unit, size) in enumerate(_UNITS):
        if whole >= (_DAYS_FROM_SECONDS if unit == "d" else size):
            count, rest = divmod(whole, size)
            smaller = _UNITS[index + 1] if index + 1 < len(_UNITS) else ("s", 1)
            part = rest // smaller[1]
            return f"{count} {unit}" + (f" {part} {smaller[0]}" if part and count < 10 else "")
    return f"{whole} s"


def ago(moment: datetime | None, now: datetime, never: str = "never") -> str:
    if moment is None:
        return never
    return f"{span(max(0.0, (now - moment).total_seconds()))} ago"
