"""Who reaches whom: a lost site, a lost link and "I am the one cut off", told apart by comparing vantages. Pure.

Nobody can tell a dead peer from a cut cable alone. A site is lost when every other agent that speaks sees nothing of
it; where one still sees it, or its own agent is still heard, the link to the other is lost; and who sees nobody else
and cannot reach etcd's majority is cut off itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncia.core.alerts.evidence import Evidence
from ncia.core.alerts.graph import QUORUM, link, public_site
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate, SiteKind

TESTIMONY_SECONDS = 2.5  # an agent that has not spoken for so long no longer vouches for anybody


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong. ``seen_by`` are the agents that see it; ``evidence`` the clause of one of them."""

    root: str
    cause: str
    since: datetime
    seen_by: tuple[SiteId, ...] = ()
    evidence: str = ""


def fresh(evidence: Evidence, now: datetime) -> frozenset[SiteId]:
    """The agents that spoke so lately that their "up" still counts."""
    limit = timedelta(seconds=TESTIMONY_SECONDS)
    return frozenset(site for site, vantage in evidence.vantages.items() if now - vantage.heard_at <= limit)


def saying(evidence: Evidence, subject: str, verdict: str) -> tuple[SiteId, ...]:
    return tuple(sorted(s for s, vantage in evidence.vantages.items() if vantage.verdict(subject) == verdict))


def first_of(evidence: Evidence, subject: str, among: tuple[SiteId, ...]) -> tuple[datetime, str]:
    """The earliest of these agents' sights: since when, and its evidence."""
    sights = [evidence.vantages[site].sights[subject] for site in among]
    earliest = min(sights, key=lambda sight: sight.since)
    return earliest.since, earliest.evidence


def unreachable(estate: Estate, evidence: Evidence, now: datetime) -> Iterator[Fault]:
    """Sites lost, links lost, or the one fact that this controller's own site is cut off."""
    cut_off = _cut_off(estate, evidence, now)
    if cut_off is not None:
        yield cut_off
        return
    vouching = fresh(evidence, now)
    for site in _watched(estate):
        subject = f"site:{site}"
        downs = tuple(v for v in saying(evidence, subject, "down") if v != site)
        if not downs:
            continue
        since, why = first_of(evidence, subject, downs)
        ups = [v for v in saying(evidence, subject, "up") if v != site and v in vouching]
        speaks = site in vouching and evidence.vantages[site].heard_at > since + timedelta(seconds=TESTIMONY_SECONDS)
        if ups or (speaks and evidence.site in downs and len(downs) == 1):
            yield from (Fault(link(v, site), "link-lost", since, (v,), why) for v in downs)
        elif site in vouching:
            # its agent spoke a moment ago: its services ended, or it is about to fall silent; or, where it sees the
            # other one no more than it is seen, the link between them is lost
            blind = (v for v in downs if evidence.vantages[site].verdict(f"site:{v}") == "down")
            yield from (Fault(link(v, site), "link-lost", since, (v,), why) for v in blind)
        elif _is_lost(estate, evidence, site, downs):
            yield Fault(subject, "site-lost", since, downs, why)
        else:
            yield from (Fault(link(v, site), "link-lost", since, (v,), why) for v in downs)


def _cut_off(estate: Estate, evidence: Evidence, now: datetime) -> Fault | None:
    own = evidence.vantages.get(evidence.site)
    others = [site for site in _watched(estate) if site != evidence.site]
    if own is None or len(others) < 2 or any(site in fresh(evidence, now) for site in others):
        return None
    seen = [own.sights.get(f"site:{site}") for site in others]
    if any(sight is None or sight.verdict != "down" for sight in seen):
        return None
    if any(own.verdict(f"etcd:{voter}") == "up" for voter in estate.voters):
        return None
    since = max(sight.since for sight in seen if sight is not None)
    return Fault(f"site:{evidence.site}", "isolated", since, (evidence.site,), "nobody else is seen from here")


def _is_lost(estate: Estate, evidence: Evidence, site: SiteId, downs: tuple[SiteId, ...]) -> bool:
    """Seen by nobody: two agents are enough; with one alone, etcd's word on the lease decides."""
    if len(downs) > 1 or estate.sites[site].services.warden is None:
        return True
    return bool(saying(evidence, f"lease:{site}", "down"))


def _watched(estate: Estate) -> list[SiteId]:
    return [s.id for s in estate.sites.values() if s.kind is not SiteKind.PUBLIC]


def no_quorum(estate: Estate, evidence: Evidence) -> Fault | None:
    """No agent sees any healthy member: a healthy member is one that can commit."""
    members = [f"etcd:{voter}" for voter in estate.voters]
    if not members or any(saying(evidence, member, "up") for member in members):
        return None
    seen = [(member, downs) for member in members if (downs := saying(evidence, member, "down"))]
    if len(seen) < len(members):
        return None
    since = max(first_of(evidence, member, downs)[0] for member, downs in seen)
    viewers = tuple(sorted({site for _, downs in seen for site in downs}))
    return Fault(QUORUM, "no-quorum", since, viewers, "no member of etcd can commit")


def front(estate: Estate, evidence: Evidence) -> Iterator[Fault]:
    """The citizens' side, judged by all entries together: the front door itself, or a site's link to it."""
    public = public_site(estate)
    if public is None:
        return
    entries = {f"entry:{system}": system for system in estate.systems}
    downs = {entry: saying(evidence, entry, "down") for entry in entries}
    ups = {entry: saying(evidence, entry, "up") for entry in entries}
    if len(entries) < 2:
        return
    for viewer, vantage in evidence.vantages.items():
        blind = all(vantage.verdict(entry) == "down" for entry in entries)
        if blind and any(ups.values()):
            since = max(vantage.sights[entry].since for entry in entries)
            yield Fault(link(public, viewer), "link-lost", since, (viewer,), "no entry answers from here")
    dark = {entry for entry in entries if downs[entry] and not ups[entry]}
    by_site = {
        site: {e for e, system in entries.items() if evidence.active.get(system) == site} for site in estate.centres
    }
    served = {site: {e for e in mine if _serves(evidence, entries[e], site)} for site, mine in by_site.items()}
    if dark == set(entries) and any(served.values()):
        since = max(first_of(evidence, entry, downs[entry])[0] for entry in dark)
        yield Fault(f"site:{public}", "front-door-down", since, (), "no entry answers, while the systems do")
        return
    for site, mine in by_site.items():
        if len(mine) > 1 and mine <= dark and served[site] == mine:
            since = max(first_of(evidence, entry, downs[entry])[0] for entry in mine)
            yield Fault(link(public, site), "link-lost", since, (), "its entries do not answer, while its systems do")


def _serves(evidence: Evidence, system: str, site: SiteId) -> bool:
    return bool(saying(evidence, f"app:{system}@{site}", "up"))
