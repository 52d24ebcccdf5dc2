"""Certificates that come to their end and are not renewed: told while there is time to do something. Pure.

A process' certificate is renewed by itself ten days before its end; an authority only by whoever keeps the root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncia.core.requests.certificates import DOMAIN, RENEW_BEFORE_END, Facts, ProcessName

LATE = timedelta(days=1)  # due for so long and not renewed, though nobody says why
AUTHORITY_BEFORE_END = timedelta(days=30)  # people must be found who keep the root, and come
HOURS_BELOW = timedelta(days=2)


@dataclass(frozen=True)
class Ending:
    """``holder`` is the process, or ``authority`` or ``root``; ``since``: when it should have been renewed."""

    holder: str
    since: datetime
    why: str


def endings(facts: Sequence[Facts], failure: str, now: datetime) -> Iterator[Ending]:
    """Of all certificates of a site those that end soon; ``failure`` is why the newest renewal did not succeed."""
    for each in facts:
        process = ProcessName.of(each.name)
        if process is not None:
            due = each.not_after - RENEW_BEFORE_END
            late = now >= due + LATE
            if late or (failure and now >= due):
                yield Ending(
                    process.process, due, _why(each, now, failure or "it was not renewed, and nobody says why")
                )
            continue
        due = each.not_after - AUTHORITY_BEFORE_END
        if now >= due:
            holder = "root" if each.name == each.issuer else "authority"
            yield Ending(holder, due, _why(each, now, "only whoever keeps the root can renew it"))


def _why(facts: Facts, now: datetime, reason: str) -> str:
    name = facts.name if facts.name.endswith(f".{DOMAIN}") else f"the {facts.name}"
    ends = "ends" if now < facts.not_after else "ended"
    return f"{name} {ends} {left(facts.not_after - now)} ({facts.not_after:%Y-%m-%d %H:%M} UTC): {reason}"


def left(time: timedelta) -> str:
    """``in 9 days``, ``in 30 hours``, ``5 hours ago``."""
    size = abs(time)
    if size >= HOURS_BELOW:
        count, unit = size.days, "days"
    else:
        count, unit = int(size.total_seconds() // 3600), "hours"
    return f"in {count} {unit}" if time > timedelta(0) else f"{count} {unit} ago"
