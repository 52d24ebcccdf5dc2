"""A small world in which things break, and what each agent would come to see of it. It knows nothing of diagnoses.

Only causes and effects of the real thing are modelled: who reaches whom, which process needs which other one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from ncia.core.alerts.evidence import Evidence, Sight, Vantage
from ncia.core.alerts.words import naming
from ncia.core.base.ids import AgencyId, DatasetId, HostId, SiteId, SystemId
from ncia.core.estate.model import (
    Address,
    Application,
    Dataset,
    Estate,
    Etcd,
    Grade,
    Host,
    Isolated,
    Link,
    PostgresCopy,
    Promise,
    Replication,
    Services,
    Site,
    SiteKind,
    System,
    TreeCopy,
)

NOW = datetime(2026, 3, 1, 4, 2, 11, tzinfo=UTC)
BROKE = NOW - timedelta(seconds=30)
ADDRESS = Address("192.0.2.1", 1)
NORTH, SOUTH, THIRD, PUBLIC = SiteId("north"), SiteId("south"), SiteId("third"), SiteId("public")
CENTRES = (NORTH, SOUTH)


@dataclass(frozen=True)
class Shape:
    """What is random of an estate: per system its dependencies (indexes of earlier ones), home, active site, grade."""

    depends_on: tuple[frozenset[int], ...]
    homes: tuple[SiteId, ...]
    active: tuple[SiteId, ...]
    grades: tuple[int, ...]
    hosts: tuple[int, ...]  # which of a site's two database hosts holds the system


def estate_of(shape: Shape) -> Estate:
    etcd = Etcd(ADDRESS, ADDRESS)
    full = Services(api=ADDRESS, warden=ADDRESS, etcd=etcd)
    sites = {
        NORTH: Site(NORTH, "North", SiteKind.CENTRE, "Asia/Seoul", "", {}, full),
        SOUTH: Site(SOUTH, "South", SiteKind.CENTRE, "Asia/Seoul", "", {}, full),
        THIRD: Site(THIRD, "Third", SiteKind.WITNESS, "Asia/Seoul", "", {}, Services(etcd=etcd)),
        PUBLIC: Site(PUBLIC, "Public", SiteKind.PUBLIC, "Asia/Seoul", "", {}, Services(traffic=ADDRESS)),
    }
    pairs = ((NORTH, SOUTH), (NORTH, THIRD), (SOUTH, THIRD), (NORTH, PUBLIC), (PUBLIC, SOUTH))
    hosts = {
        HostId(f"{site}-db{n}"): Host(HostId(f"{site}-db{n}"), site, ADDRESS, "x", ("database",))
        for site in CENTRES
        for n in (0, 1)
    }
    for site, n in ((site, n) for site in CENTRES for n in (0, 1)):
        store = HostId(f"{site}-files{n}")
        hosts[store] = Host(store, site, ADDRESS, "x", ("files",), "files")
    systems = {}
    for index, needs in enumerate(shape.depends_on):
        system, grade = SystemId(f"s{index}"), shape.grades[index]
        copies = {
            site: PostgresCopy(site, HostId(f"{site}-db{shape.hosts[index]}"), ADDRESS, ADDRESS, system)
            for site in CENTRES
        }
        replication = Replication.SYNCHRONOUS if grade == 1 else Replication.ASYNCHRONOUS
        rows = Dataset(
            DatasetId(f"{system}/rows"), system, "postgresql", Promise(0, 60), replication, copies, database=system
        )
        systems[system] = System(
            system,
            f"System {index}",
            "",
            AgencyId("agency"),
            grade,
            shape.homes[index],
            tuple(SystemId(f"s{n}") for n in sorted(needs)),
            Isolated.STOP,
            ADDRESS,
            "/",
            "/",
            {site: Application(site, ADDRESS) for site in CENTRES},
            (rows, papers_of(system, shape.hosts[index], replication)),
        )
    return Estate(
        "random",
        "",
        MappingProxyType(sites),
        hosts,
        tuple(Link(*sorted(pair)) for pair in pairs),
        {},
        {n: Grade(n, Promise(0, 60), Isolated.STOP, 3600) for n in (1, 2, 3, 4)},
        systems,
        {},
    )


def papers_of(system: SystemId, host: int, replication: Replication) -> Dataset:
    """Every system's file tree, on one of a site's two file hosts."""
    copies = {site: TreeCopy(site, HostId(f"{site}-files{host}"), system) for site in CENTRES}
    return Dataset(DatasetId(f"{system}/papers"), system, "files", Promise(0, 60), replication, {}, documents=copies)


def active_of(shape: Shape) -> dict[SystemId, SiteId]:
    return {SystemId(f"s{n}"): site for n, site in enumerate(shape.active)}


@dataclass(frozen=True)
class World:
    """``broken`` names things that do not work: ``site:x``, ``link:a-b``, ``etcd:x``, ``api:x``, ``lease:x`` (its
    warden), ``agent:x``, ``host:h``, ``gate:x``, ``db:s@x``, ``app:s@x``, ``front``, ``shipping:s``, ``store:h@x``,
    ``mirror:s/papers@x``."""

    estate: Estate
    active: dict[SystemId, SiteId]
    broken: frozenset[str]

    def works(self, *names: str) -> bool:
        return not any(name in self.broken for name in names)

    def reaches(self, a: str, b: str) -> bool:
        if not self.works(f"site:{a}", f"site:{b}"):
            return False
        return a == b or self.works("link:" + "-".join(sorted((a, b))))

    # --- what works -----------------------------------------------------------------------------------------------

    def member(self, site: str) -> bool:
        return self.works(f"site:{site}", f"etcd:{site}")

    def healthy(self, site: str) -> bool:
        """A member that itself reaches the leader; the leader is the first that itself reaches a majority."""
        voters = self.estate.voters
        for leader in voters:
            followers = {v for v in voters if self.member(leader) and self.member(v) and self.reaches(leader, v)}
            if len(followers) * 2 > len(voters):
                return site in followers
        return False

    def etcd(self, site: str) -> bool:
        return any(self.reaches(site, voter) and self.healthy(voter) for voter in self.estate.voters)

    def lease(self, site: str) -> bool:
        return self.works(f"site:{site}", f"lease:{site}") and self.etcd(site)

    def db(self, system: str, site: str) -> bool:
        host = self.estate.systems[SystemId(system)].postgres.copies[SiteId(site)].host
        return self.works(f"site:{site}", f"host:{host}", f"db:{system}@{site}")

    def serves(self, system: str, site: str) -> tuple[bool, str]:
        """Whether the application does its work, and its evidence where it does not."""
        if not self.works(f"site:{site}", f"app:{system}@{site}"):
            return False, "refused"
        if self.active[SystemId(system)] != site:
            return True, ""
        if not (self.lease(site) and self.works(f"gate:{site}") and self.db(system, site)):
            return False, "answered 503"
        for dependency in self.estate.systems[SystemId(system)].depends_on:
            at = self.active[dependency]
            if not (self.reaches(site, at) and self.serves(dependency, at)[0]):
                return False, naming("answered 503", dependency)
        return True, ""

    def canary(self, system: str) -> bool:
        at = self.active[SystemId(system)]
        return self.works(f"agent:{at}") and self.db(system, at) and self.lease(at)

    def store(self, system: str, site: str) -> bool:
        host = self.estate.systems[SystemId(system)].documents[0].documents[SiteId(site)].host
        return self.works(f"site:{site}", f"store:{host}@{site}")

    def mark(self, system: str) -> bool:
        at = self.active[SystemId(system)]
        return self.works(f"agent:{at}") and self.store(system, at) and self.lease(at)

    def mirror(self, system: str, site: str) -> bool:
        carried = self.works(f"api:{site}", f"mirror:{system}/papers@{site}") and self.store(system, site)
        return carried and self.reaches(self.active[SystemId(system)], site) and self.mark(system)

    # --- what is seen ---------------------------------------------------------------------------------------------

    def sights(self, viewer: SiteId) -> dict[str, Sight]:
        found: dict[str, Sight] = {}

        def see(subject: str, is_up: bool | None, why: str = "") -> None:
            verdict = "unknown" if is_up is None else "up" if is_up else "down"
            found[subject] = Sight(verdict, BROKE, why)  # type: ignore[arg-type]

        for site in (NORTH, SOUTH, THIRD):
            reached = self.reaches(viewer, site)
            see(f"etcd:{site}", reached and self.healthy(site))
            if site in CENTRES:
                see(f"api:{site}", reached and self.works(f"api:{site}"))
                see(f"lease:{site}", self.lease(site) if self.etcd(viewer) else None)
            if site != viewer:
                services = ("api", "lease", "etcd") if site in CENTRES else ("etcd",)
                see(f"site:{site}", reached and any(self.works(f"{service}:{site}") for service in services))
        for system in self.estate.systems:
            self._see_system(system, viewer, see)
        return found

    def _see_system(self, system: SystemId, viewer: SiteId, see) -> None:
        for site in CENTRES:
            works, why = self.serves(system, site)
            reached = self.reaches(viewer, site)
            see(f"app:{system}@{site}", reached and works, why if reached else "no connection")
        if viewer not in CENTRES:
            return
        active = self.active[system]
        db = self.db(system, viewer)
        see(f"db:{system}@{viewer}", db)
        see(f"slots:{system}@{viewer}", self.works(f"slots:{system}@{viewer}") if db else None)
        see(f"gate:{system}@{viewer}", self.works(f"gate:{viewer}"))
        if viewer == active:
            see(f"canary:{system}@{viewer}", None if not self.lease(viewer) else self.canary(system))
            if self.estate.systems[system].postgres.replication is Replication.SYNCHRONOUS:
                peer = self.estate.peer_of(viewer)
                receives = self.reaches(viewer, peer) and self.works(f"receiver:{peer}")
                see(f"receiver:{system}@{peer}", receives if db else None)
        else:
            ships = self.reaches(active, viewer) and self.canary(system) and self.works(f"shipping:{system}")
            see(f"replica:{system}@{viewer}", ships if db else None)
        host = self.estate.systems[system].documents[0].documents[viewer].host
        see(f"store:{host}@{viewer}", self.store(system, viewer))
        if viewer == active:
            see(f"mark:{system}/papers@{viewer}", None if not self.lease(viewer) else self.mark(system))
        else:
            see(f"mirror:{system}/papers@{viewer}", self.mirror(system, viewer))
        through = self.reaches(viewer, PUBLIC) and self.works("front") and self.reaches(PUBLIC, active)
        works, why = self.serves(system, active)
        see(f"entry:{system}", through and works, why if through else "")

    def evidence(self, controller: SiteId) -> Evidence:
        speaking = {
            site: Vantage(NOW, self.sights(site))
            for site in (NORTH, SOUTH, THIRD)
            if self.works(f"agent:{site}") and self.reaches(site, controller)
        }
        silent = {site: BROKE for site in (NORTH, SOUTH, THIRD) if site not in speaking}
        return Evidence(controller, speaking, silent, self.active)


def single_faults(estate: Estate) -> Iterable[tuple[str, str]]:
    """Everything that can break alone, and the root that its incident must name.

    A controller that is down is named by the other one.
    """
    for site in (NORTH, SOUTH, THIRD):
        yield f"site:{site}", f"site:{site}"
        yield f"agent:{site}", f"agent:{site}"
        if site in CENTRES:
            yield f"etcd:{site}", f"etcd:{site}"
            yield f"api:{site}", f"api:{site}"
            yield f"lease:{site}", f"lease:{site}"
            yield f"gate:{site}", f"gate:{site}"
    for link in estate.links:
        yield f"link:{link.id}", f"link:{link.id}"
    yield "front", f"site:{PUBLIC}"
    for site in CENTRES:
        waiting = [
            s.id
            for s in estate.systems.values()
            if s.postgres.replication is Replication.SYNCHRONOUS and s.home != site
        ]
        if waiting:
            yield f"receiver:{site}", f"receiver:{site}" if len(waiting) > 1 else f"receiver:{waiting[0]}@{site}"
    for dataset in estate.datasets.values():
        for site, copy in dataset.documents.items():
            yield f"store:{copy.host}@{site}", f"store:{copy.host}@{site}"
            yield f"mirror:{dataset.id}@{site}", f"mirror:{dataset.id}@{site}"
    for host in estate.hosts.values():
        held = [s.id for s in estate.systems.values() if s.postgres.copies[host.site].host == host.id]
        if len(held) > 1:
            yield f"host:{host.id}", f"host:{host.id}"
        for system in held:
            yield f"db:{system}@{host.site}", f"db:{system}@{host.site}"
            yield f"app:{system}@{host.site}", f"app:{system}@{host.site}"
