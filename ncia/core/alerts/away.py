"""Systems away from home: their site is back (its agent speaks, its lease is held), and they live elsewhere. Pure.

While it is so, the copies of those systems at their home may be down or behind: that is what bringing them home mends.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from ncia.core.alerts.evidence import Evidence
from ncia.core.alerts.reach import Fault, first_of, fresh, saying
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate, System

CAUSE = "away-from-home"


def root_of(site: SiteId) -> str:
    return f"home:{site}"


def away_from(estate: Estate, evidence: Evidence, site: SiteId) -> tuple[System, ...]:
    """The systems at home at ``site`` that are active elsewhere."""
    return tuple(s for s in estate.at_home(site) if evidence.active.get(s.id, site) != site)


def unfollowed(estate: Estate, evidence: Evidence, site: SiteId) -> tuple[System, ...]:
    """Those of them that have no copy at home which is seen to follow."""
    return tuple(s for s in away_from(estate, evidence, site) if not saying(evidence, f"replica:{s.id}@{site}", "up"))


def is_back(evidence: Evidence, site: SiteId, now: datetime) -> bool:
    return site in fresh(evidence, now) and bool(saying(evidence, f"lease:{site}", "up"))


def away(estate: Estate, evidence: Evidence, now: datetime) -> Iterator[Fault]:
    """One fault for each site that is back while systems of its are elsewhere."""
    for site in estate.centres:
        if away_from(estate, evidence, site) and is_back(evidence, site, now):
            since, _ = first_of(evidence, f"lease:{site}", saying(evidence, f"lease:{site}", "up"))
            yield Fault(root_of(site), CAUSE, since, (site,))
