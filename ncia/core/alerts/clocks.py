"""Clocks that are wrong: an agent's clock, as it tells the time, against this controller's. Pure.

Leases, epochs and fences do not depend on the time of day. What compares times of two sites does: lags, due times, ends
of sessions and approvals. Of three clocks the one that differs is wrong; of two nobody can say which.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from ncia.core.alerts.evidence import Evidence
from ncia.core.alerts.reach import Fault
from ncia.core.base.ids import SiteId

CAUSE = "clock-wrong"
CLOCK_SECONDS_MAX = 5.0
"""A report under way across a slow link may look so late; a clock that is kept is right to 0.1 s."""


def root_of(*sites: SiteId) -> str:
    return "clock:" + "-".join(sorted(sites))


def faults(evidence: Evidence) -> Iterator[Fault]:
    """One fault for each clock that is wrong, or for the pair of which one is."""
    own = evidence.site
    others = {site: skew for site, skew in evidence.clocks.items() if site != own}
    off = {site: skew for site, skew in others.items() if skew.since is not None}
    seconds = [skew.seconds for skew in off.values()]
    if len(off) >= 2 and len(off) == len(others) and max(seconds) - min(seconds) <= CLOCK_SECONDS_MAX:
        since = max(skew.since for skew in off.values() if skew.since is not None)
        yield Fault(root_of(own), CAUSE, since, tuple(sorted(off)), told(-seconds[0]))
        return
    for site, skew in off.items():
        if skew.since is not None:
            root = root_of(site) if len(others) >= 2 else root_of(own, site)
            yield Fault(root, CAUSE, skew.since, (own,), told(skew.seconds))


def cleared(evidence: Evidence, root: str) -> bool:
    """Whether the clocks that the root names are heard; it is asked only where no fault is found."""
    heard = {site for site in evidence.clocks if site != evidence.site}
    named = {site for site in heard if root in (root_of(site), root_of(evidence.site, site))}
    return bool(named) or (root == root_of(evidence.site) and bool(heard))


def told(seconds: float) -> str:
    """``1 h 0 min ahead of``, to be followed by whose."""
    size, way = timedelta(seconds=round(abs(seconds))), "ahead of" if seconds > 0 else "behind"
    minutes, left = divmod(int(size.total_seconds()), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min {way}"
    return f"{minutes} min {left} s {way}" if minutes else f"{left} s {way}"
