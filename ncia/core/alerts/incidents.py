"""From evidence to incidents: one per fault, with its root named. Pure: ``now`` is passed in.

First every fault is found that the evidence shows; then each one that another explains becomes a member of that one.
What is left over are the roots. A root is ``settled`` once nothing that could stand behind it is in doubt any more: a
caller holds back the unsettled ones for a moment, so that a lost site does not open nine incidents before its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Literal

from ncia.core.alerts import clocks, intrusions
from ncia.core.alerts.away import away, away_from, is_back, unfollowed
from ncia.core.alerts.evidence import Evidence
from ncia.core.alerts.graph import QUORUM, Graph, link, parts, public_site
from ncia.core.alerts.reach import Fault, first_of, fresh, front, no_quorum, saying, unreachable
from ncia.core.alerts.sentences import sentence_of
from ncia.core.alerts.words import HANGS, named
from ncia.core.base.ids import DatasetId, SiteId, SystemId
from ncia.core.estate.model import Estate, Replication

Severity = Literal["critical", "major", "minor"]
RANK: Mapping[str, int] = {"critical": 0, "major": 1, "minor": 2}

SETTLE_SECONDS = 2.5  # a fault's first bad look lies at least so far back: what falls with it has had time to fall
RECEIVER_SETTLES_SECONDS = 5.0  # a site's receivers end one after the other, each after its turn; none is urgent
SILENCE_SETTLES_SECONDS = 8.0  # an agent is silent within 5 s of its site's loss, which others need time to see
PEERLESS = ("app", "api", "etcd", "lease")  # looked at from several sites: one that still sees it up clears it
SETTLES_SECONDS = {"agent-silent": SILENCE_SETTLES_SECONDS, "receiver-gone": RECEIVER_SETTLES_SECONDS}
LOCAL = ("db", "slots", "gate", "canary", "replica", "receiver", "store", "mark", "mirror")  # seen from their own site
OWN_TROUBLES = (  # no cut explains these
    *("db", "slots", "host", "gate", "canary", "store", "mark", "backup", "proof", "program", "certificate"),
    *("snapshot", "forget", "keep"),
)
JUDGED = (
    "missed-run",
    "proof-failed",
    "program-drift",
    "copy-not-kept",
    "snapshot-gone",
    "forget-held",
    "certificate-ending",
)  # when they were written
CAUSES: Mapping[str, str] = {
    "app": "system-down",
    "api": "controller-down",
    "etcd": "etcd-member-down",
    "lease": "lease-lost",
    "db": "database-down",
    "slots": "slot-unread",
    "gate": "gate-down",
    "canary": "canary-stopped",
    "replica": "replica-behind",
    "receiver": "receiver-gone",
    "entry": "entry-down",
    "agent": "agent-silent",
    "backup": "missed-run",
    "proof": "proof-failed",
    "keep": "copy-not-kept",
    "program": "program-drift",
    "snapshot": "snapshot-gone",
    "forget": "forget-held",
    "store": "store-down",
    "mark": "mark-stopped",
    "mirror": "mirror-behind",
    "vouch": "log-unvouched",
    "certificate": "certificate-ending",
}


@dataclass(frozen=True)
class Diagnosis:
    """One incident as it stands now. ``members`` are the roots of the faults that it explains; ``systems`` those on
    which citizens feel it."""

    root: str
    cause: str
    severity: Severity
    sentence: str
    run_next: str
    members: tuple[str, ...]
    systems: tuple[SystemId, ...]
    since: datetime
    settled: bool
    behind: frozenset[str]  # the roots of all faults that could explain it, if they were


def diagnose(estate: Estate, evidence: Evidence, now: datetime) -> tuple[Diagnosis, ...]:
    """One diagnosis per fault that is seen, the gravest first."""
    entered = intrusions.entered(evidence.findings)
    graph = Graph(estate, evidence.site, evidence.active, _blamed(estate, evidence), entered)
    faults = {fault.root: fault for fault in _faults(estate, evidence, now)}

    @cache
    def through(root: str) -> bool:
        """What is seen to be well explains nothing, and passes nothing on."""
        return root in faults or not cleared(estate, evidence, now, root)

    alone = {r: f for r, f in faults.items() if not _behind(graph, f, faults, evidence.site, through) & faults.keys()}
    faults = {**{fault.root: fault for fault in _together(estate, evidence, alone)}, **faults}
    behind = {root: _behind(graph, fault, faults, evidence.site, through) for root, fault in faults.items()}
    unseen = {r for r in evidence.standing if r not in faults and not cleared(estate, evidence, now, r)}
    found = []
    for root, fault in faults.items():
        if behind[root] & (faults.keys() | unseen):
            continue
        members = tuple(sorted(other for other in faults if root in behind[other]))
        systems = _felt(estate, evidence, fault, members)
        severity = _severity(estate, evidence, fault, systems)
        sentence, run_next = sentence_of(estate, evidence, fault, systems, members)
        possible = graph.behind(root).union(*map(graph.behind, members))
        settled = _settled(estate, evidence, fault, possible, now)
        found.append(
            Diagnosis(root, fault.cause, severity, sentence, run_next, members, systems, fault.since, settled, possible)
        )
    return tuple(sorted(found, key=lambda d: (RANK[d.severity], d.since, d.root)))


def cleared(estate: Estate, evidence: Evidence, now: datetime, root: str) -> bool:
    """Whether somebody sees that this fault is no more. Not seeing it is not enough: unknown is not well."""
    kind, name, site = parts(root)
    speaking = evidence.vantages
    if kind == "agent":
        return SiteId(name) in speaking
    if kind == "intrusion":
        return not intrusions.of(evidence.findings, root)
    if kind in ("backup", "proof", "program", "snapshot", "forget"):
        return True
    if kind == "vouch":
        return name != evidence.site  # whose log it is sees it; the voucher itself does not
    if kind == "certificate":
        return site == evidence.site
    if kind == "clock":
        return clocks.cleared(evidence, root)
    if kind == "home":
        return not (away_from(estate, evidence, SiteId(name)) and is_back(evidence, SiteId(name), now))
    if kind == "link":
        ends = next(({each.a, each.b} for each in estate.links if each.id == name), set[SiteId]())
        public = public_site(estate)
        if public in ends:
            return all(_reached_by_citizens(estate, evidence, end) for end in ends - {public})
        return not ends or any(_sees(evidence, a, b) for a in ends for b in ends - {a})
    if kind == "site":
        if name == public_site(estate):
            return any(saying(evidence, f"entry:{system}", "up") for system in estate.systems)
        if name == evidence.site:
            return any(_sees(evidence, SiteId(name), other) for other in estate.sites)
        return SiteId(name) not in estate.sites or any(_sees(evidence, v, SiteId(name)) for v in fresh(evidence, now))
    if root == QUORUM:
        return any(saying(evidence, f"etcd:{voter}", "up") for voter in estate.voters)
    if kind == "host":
        copies = _copies_on(estate, name)
        return not copies or any(saying(evidence, f"db:{system}@{at}", "up") for system, at in copies)
    if kind in ("gate", "receiver") and not site:
        return any(saying(evidence, f"{kind}:{system}@{name}", "up") for system in estate.systems)
    if kind in ("replica", "canary"):
        active = evidence.active.get(SystemId(name))
        if (active == site) is (kind == "replica"):
            return True  # the system moved: there is nothing to look at there any more
    if kind == "receiver" and evidence.active.get(SystemId(name)) == site:
        return True  # it was to receive from the other site, and is a primary now
    if kind in ("mirror", "mark") and (system := _system_of(estate, name)) is not None:
        active = evidence.active.get(system, estate.systems[system].home)
        if (active == site) is (kind == "mirror"):
            return True  # the system moved, as above
        return bool(saying(evidence, root, "up") or saying(evidence, root, "degraded"))
    if kind == "store":
        return bool(saying(evidence, root, "up"))
    if kind not in CAUSES or (kind not in ("api", "etcd", "lease") and SystemId(name) not in estate.systems):
        return True  # the estate has no such thing any more
    return bool(saying(evidence, root, "up") or saying(evidence, root, "degraded"))


# --- the faults --------------------------------------------------------------------------------------------------


def _faults(estate: Estate, evidence: Evidence, now: datetime) -> Iterator[Fault]:
    """Every fault that the evidence shows, roots and consequences alike; the later of two with one root stands."""
    subjects = sorted({subject for vantage in evidence.vantages.values() for subject in vantage.sights})
    yield from (fault for subject in subjects if (fault := _seen(evidence, subject, now)) is not None)
    for site, since in evidence.silent.items():
        yield Fault(f"agent:{site}", CAUSES["agent"], since)
    for lack in evidence.lacks:
        if lack.kind == "mirror" and cleared_by_move(estate, evidence, lack.dataset):
            continue
        yield Fault(f"{lack.kind}:{lack.dataset}", CAUSES[lack.kind], lack.since, (), lack.why)
    yield from intrusions.faults(evidence.findings)
    yield from front(estate, evidence)
    quorum = no_quorum(estate, evidence)
    if quorum is not None:
        yield quorum
    yield from unreachable(estate, evidence, now)
    yield from away(estate, evidence, now)
    yield from clocks.faults(evidence)


def _seen(evidence: Evidence, subject: str, now: datetime) -> Fault | None:
    """The fault of one subject that agents look at, if they agree that there is one."""
    kind, name, site = parts(subject)
    if kind not in (*PEERLESS, *LOCAL, "entry") or subject == f"api:{evidence.site}":
        return None  # whoever diagnoses is there
    downs = saying(evidence, subject, "down")
    if not downs:
        return None
    if kind not in LOCAL:
        at = SiteId(site or name)
        vouching = fresh(evidence, now)
        ups = [v for v in saying(evidence, subject, "up") if v in vouching]
        if ups and at not in downs:  # its own site's word counts most; otherwise whoever reaches it
            return None
    since, why = first_of(evidence, subject, downs)
    return Fault(subject, CAUSES[kind], since, downs, why)


def _together(estate: Estate, evidence: Evidence, single: Mapping[str, Fault]) -> Iterator[Fault]:
    """What fell as one, and nothing else explains: all databases of a host, all gates of a site, all replicas over a
    link."""
    for host in estate.hosts.values():
        roots = [f"db:{system}@{site}" for system, site in _copies_on(estate, host.id)]
        yield from _one(f"host:{host.id}", "host-down", roots, single)
    for site in estate.centres:
        gates = [f"gate:{s.id}@{site}" for s in estate.systems.values() if site in s.postgres.copies]
        yield from _one(f"gate:{site}", CAUSES["gate"], gates, single)
        receivers = [f"receiver:{s.id}@{site}" for s in estate.systems.values() if site in s.postgres.copies]
        looked_at = [root for root in receivers if _looked_at(evidence, root)]
        yield from _one(f"receiver:{site}", CAUSES["receiver"], looked_at, single)
    shipped: dict[str, list[str]] = {}
    for system, active in evidence.active.items():
        for site in estate.systems[system].postgres.copies:
            if site != active:
                shipped.setdefault(link(active, site), []).append(f"replica:{system}@{site}")
    for root, replicas in shipped.items():
        yield from _one(root, "link-slow", [r for r in replicas if _looked_at(evidence, r)], single)


def _one(root: str, cause: str, roots: list[str], single: Mapping[str, Fault]) -> Iterator[Fault]:
    if len(roots) > 1 and all(each in single for each in roots):
        faults = [single[each] for each in roots]
        first = min(faults, key=lambda fault: fault.since)
        yield Fault(root, cause, first.since, first.seen_by, first.evidence)


def _behind(
    graph: Graph, fault: Fault, faults: Mapping[str, Fault], viewer: SiteId, through: Callable[[str], bool]
) -> frozenset[str]:
    """What may explain a fault. To a site that is cut off, its being so explains all that is not its own."""
    found = graph.behind(fault.root, through)
    if fault.cause in intrusions.CAUSES:
        return found
    own = f"site:{viewer}"
    if own in faults and fault.root != own:
        kind, name, site = parts(fault.root)
        if kind not in OWN_TROUBLES or viewer not in (site, name):
            return found | {own}
    return found


def _blamed(estate: Estate, evidence: Evidence) -> dict[str, frozenset[str]]:
    """The dependencies that stand behind a system's failure: the one it named, or, where it hangs, all of its own."""
    found: dict[str, set[str]] = {}
    for vantage in evidence.vantages.values():
        for subject, sight in vantage.sights.items():
            kind, name, _ = parts(subject)
            if sight.verdict != "down" or kind not in ("app", "entry"):
                continue
            blamed = named(sight.evidence)
            if blamed is not None:
                found.setdefault(subject, set()).add(blamed)
            elif HANGS in sight.evidence and SystemId(name) in estate.systems:
                found.setdefault(subject, set()).update(estate.systems[SystemId(name)].depends_on)
    return {subject: frozenset(names) for subject, names in found.items()}


# --- what it means -----------------------------------------------------------------------------------------------


def _felt(estate: Estate, evidence: Evidence, fault: Fault, members: Iterable[str]) -> tuple[SystemId, ...]:
    """The systems on which citizens feel the fault: those that do not serve, and all that depend on them."""
    found = {system for root in (fault.root, *members) for system in _stopped(estate, evidence, root)}
    if fault.cause in ("link-lost", "link-slow") and fault.root == link(*estate.centres):
        found |= {
            s.id for s in estate.systems.values() if s.postgres.replication is Replication.SYNCHRONOUS
        }  # their commits wait for the other site
    for system in tuple(found):
        found |= estate.dependents_of(system)
    return tuple(system for system in estate.systems if system in found)


def _stopped(estate: Estate, evidence: Evidence, root: str) -> Iterator[SystemId]:
    kind, name, site = parts(root)
    at = {system: evidence.active.get(system, estate.systems[system].home) for system in estate.systems}
    if kind == "entry":
        yield SystemId(name)
    elif kind in ("app", "db", "gate") and site:
        yield from (system for system in at if system == name and at[system] == site)
    elif kind in ("site", "gate", "lease"):
        yield from (system for system in at if at[system] == name)
    elif kind == "host":
        yield from (SystemId(system) for system, copy_at in _copies_on(estate, name) if at[SystemId(system)] == copy_at)


def _severity(estate: Estate, evidence: Evidence, fault: Fault, systems: tuple[SystemId, ...]) -> Severity:
    if fault.cause in intrusions.CAUSES:
        return intrusions.severity(evidence.findings, fault.root)
    if fault.cause in ("isolated", "lease-lost", "no-quorum", "front-door-down"):
        return "critical"
    if fault.cause in ("missed-run", "copy-not-kept", "etcd-member-down", "forget-held"):
        return "minor"
    if fault.cause == "away-from-home":  # where its copy follows, nothing is in danger
        return "major" if unfollowed(estate, evidence, SiteId(parts(fault.root)[1])) else "minor"
    if any(estate.systems[system].grade <= 2 for system in systems):
        return "critical"
    if fault.cause == "system-down" and not systems:
        return "minor"  # a standby's application: nobody feels it, until it is needed
    return "major"


def _settled(estate: Estate, evidence: Evidence, fault: Fault, behind: frozenset[str], now: datetime) -> bool:
    if fault.cause in JUDGED or fault.cause in intrusions.CAUSES:
        return True
    vouching = fresh(evidence, now)
    hesitant = {site for site in evidence.vantages if site not in vouching}
    kind, name, _ = parts(fault.root)
    if kind == "site" and fault.cause == "site-lost":
        # Whoever could still contradict has to have made up its mind; the lost site itself is not asked. Who hears
        # nobody but itself is more likely cut off, which etcd's silence shows a little later.
        if vouching <= {evidence.site}:
            return False
        others = [v for v in evidence.vantages if v != name]
        return not any(fault.root in evidence.vantages[v].doubts for v in others) and not (hesitant - {SiteId(name)})
    age = SETTLES_SECONDS.get(fault.cause, SETTLE_SECONDS)
    if hesitant or now - fault.since < timedelta(seconds=age):
        return False
    doubted = {subject for vantage in evidence.vantages.values() for subject in vantage.doubts}
    public = public_site(estate) or "no such site"
    return not any(_decides(subject, {fault.root, *behind}, public) for subject in doubted)


def _decides(subject: str, roots: set[str], public: str) -> bool:
    """Whether a look at ``subject`` may still change what ``roots`` are. Sites and etcd stand behind everything."""
    kind, _, site = parts(subject)
    if kind in ("site", "etcd", "lease") or subject in roots:
        return True
    if kind in ("entry", "app"):
        return any(public in root for root in roots)
    if kind in ("gate", "receiver"):
        return f"{kind}:{site}" in roots
    return kind == "db" and any(root.startswith("host:") for root in roots)


def _sees(evidence: Evidence, viewer: SiteId, site: SiteId) -> bool:
    vantage = evidence.vantages.get(viewer)
    return vantage is not None and vantage.verdict(f"site:{site}") == "up"


def _reached_by_citizens(estate: Estate, evidence: Evidence, site: SiteId) -> bool:
    """Whether the site sees an entry, and an entry of what is active there is seen, as far as there is either."""
    own = evidence.vantages.get(site)
    sees = own is None or any(own.verdict(f"entry:{system}") == "up" for system in estate.systems)
    active = [system for system, at in evidence.active.items() if at == site]
    return sees and (not active or any(saying(evidence, f"entry:{system}", "up") for system in active))


def _looked_at(evidence: Evidence, subject: str) -> bool:
    return any(vantage.verdict(subject) != "unknown" for vantage in evidence.vantages.values())


def cleared_by_move(estate: Estate, evidence: Evidence, mirror: str) -> bool:
    """Whether a mirror (``<dataset>@<site>``) ends where its system is active now: there is nothing for it to do."""
    name, _, site = mirror.partition("@")
    system = _system_of(estate, name)
    return system is None or evidence.active.get(system, estate.systems[system].home) == site


def _system_of(estate: Estate, dataset: str) -> SystemId | None:
    found = estate.datasets.get(DatasetId(dataset))
    return None if found is None else found.system


def _copies_on(estate: Estate, host: str) -> list[tuple[SystemId, SiteId]]:
    return [
        (dataset.system, site)
        for dataset in estate.datasets.values()
        for site, copy in dataset.copies.items()
        if copy.host == host
    ]
