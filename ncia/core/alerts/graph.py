"""What may be behind what: for each possible fault, the faults that would explain it. Pure.

A fault is named by its root, a subject: those that agents look at, and some that only a diagnosis can see:
``link:<a>-<b>``, ``quorum:etcd``, ``agent:<site>``, ``host:<host>``, ``gate:<site>`` and ``receiver:<site>`` (all of
them at once), ``home:<site>`` (systems away from it), ``intrusion:<host>``, ``backup:<dataset>``, ``proof:<dataset>``,
``keep:<dataset>``, ``program:<dataset>``, ``snapshot:<agency>@<site>``, ``forget:<agency>@<site>``,
``vouch:<voucher>``, ``certificate:<holder>@<site>`` and ``clock:<site>`` (``clock:<a>-<b>``).

The edges follow from the estate; some also need a word of evidence: a system is explained by
a dependency only where it names it, or hangs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ncia.core.base.ids import AgencyId, DatasetId, SiteId, SystemId
from ncia.core.estate.model import Estate, SiteKind, store_of

QUORUM = "quorum:etcd"


def parts(root: str) -> tuple[str, str, str]:
    """Kind, name and site of a subject: ``app:hometax@daejeon`` is ("app", "hometax", "daejeon")."""
    kind, _, rest = root.partition(":")
    name, _, site = rest.partition("@")
    return kind, name, site


def link(a: str, b: str) -> str:
    return "link:" + "-".join(sorted((a, b)))


def public_site(estate: Estate) -> SiteId | None:
    return next((s.id for s in estate.sites.values() if s.kind is SiteKind.PUBLIC), None)


class Graph:
    """The edges for one estate, one controller's point of view and one distribution of roles.

    ``blamed`` says which dependencies a system's own evidence lays the blame on; ``entered`` on which hosts somebody
    got in: what breaks there afterwards is that intrusion's until somebody says otherwise.
    """

    def __init__(
        self,
        estate: Estate,
        viewer: SiteId,
        active: Mapping[SystemId, SiteId],
        blamed: Mapping[str, frozenset[str]],
        entered: frozenset[str] = frozenset(),
    ) -> None:
        self._estate = estate
        self._viewer = viewer
        self._active = active
        self._blamed = blamed
        self._entered = entered
        self._public = public_site(estate)
        self._links = {each.id: (each.a, each.b) for each in estate.links}
        self._table: dict[str, Callable[[str, str], Iterator[str]]] = {
            "site": self._of_nothing,
            "home": self._at_site,
            "link": self._of_link,
            "quorum": self._of_quorum,
            "etcd": self._of_etcd,
            "api": self._at_site,
            "lease": self._of_lease,
            "agent": self._of_agent,
            "host": self._of_host,
            "intrusion": self._of_nothing,
            "gate": self._of_gate,
            "db": self._of_db,
            "slots": self._of_slots,
            "canary": self._of_canary,
            "replica": self._of_replica,
            "receiver": self._of_receiver,
            "app": self._of_app,
            "entry": self._of_entry,
            "backup": self._of_copy,
            "proof": self._of_copy,
            "keep": self._of_copy,
            "program": self._of_nothing,  # it was compared when both sides were reached
            "snapshot": self._of_snapshot,
            "forget": self._of_snapshot,
            "vouch": self._of_vouch,
            "certificate": self._of_certificate,
            "clock": self._of_nothing,
            "store": self._at_own_site,
            "mark": self._of_mark,
            "mirror": self._of_mirror,
        }

    def behind(self, root: str, through: Callable[[str], bool] = lambda root: True) -> frozenset[str]:
        """Every fault that would explain ``root``, directly or ``through`` others; never ``root`` itself."""
        found: set[str] = set()
        frontier = [root]
        while frontier:
            kind, name, site = parts(frontier.pop())
            for parent in self._table[kind](name, site):
                if parent not in found and parent != root:
                    found.add(parent)
                    if through(parent):
                        frontier.append(parent)
        return frozenset(found)

    def _active_at(self, system: str) -> SiteId:
        known = SystemId(system)
        return self._active.get(known, self._estate.systems[known].home)

    def _of_nothing(self, name: str, site: str) -> Iterator[str]:
        return iter(())

    def _of_link(self, name: str, site: str) -> Iterator[str]:
        for end in self._links.get(name, ()):
            yield f"site:{end}"

    def _of_quorum(self, name: str, site: str) -> Iterator[str]:
        for voter in self._estate.voters:
            yield f"site:{voter}"
            yield from self._among_voters(voter)

    def _of_etcd(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{name}"
        yield QUORUM
        yield from self._among_voters(name)

    def _among_voters(self, name: str) -> Iterator[str]:
        """A member that does not reach the leader itself cannot commit, though it reaches a third one."""
        yield from (link(name, voter) for voter in self._estate.voters if voter != name)

    def _at_site(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{name}"

    def _of_lease(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{name}"
        yield QUORUM

    def _of_agent(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{name}"
        if name != self._viewer:
            yield link(name, self._viewer)

    def _of_host(self, name: str, site: str) -> Iterator[str]:
        if name in self._entered:
            yield f"intrusion:{name}"
        yield from (f"site:{host.site}" for host in self._estate.hosts.values() if host.id == name)

    def _of_gate(self, name: str, site: str) -> Iterator[str]:
        if site:
            yield f"gate:{site}"
            yield f"site:{site}"
        else:
            yield f"site:{name}"

    def _of_db(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{site}"
        copy = self._estate.systems[SystemId(name)].postgres.copies.get(SiteId(site))
        if copy is not None:
            yield f"host:{copy.host}"
        yield from self._away(name, site)

    def _of_slots(self, name: str, site: str) -> Iterator[str]:
        """Whoever reads from a server is at the other centre: while that is away, what it has not read is kept."""
        yield from (f"db:{name}@{site}", f"agent:{site}", *(f"site:{centre}" for centre in self._estate.centres))
        yield link(*self._estate.centres)
        for reader in self._estate.systems[SystemId(name)].postgres.copies:
            if reader != site:
                yield from (f"db:{name}@{reader}", f"receiver:{name}@{reader}", *self._away(name, reader))

    def _away(self, name: str, site: str) -> Iterator[str]:
        """The copy at a system's home while it is active elsewhere: an old primary until it is brought home."""
        if site == self._estate.systems[SystemId(name)].home != self._active_at(name):
            yield f"home:{site}"

    def _of_canary(self, name: str, site: str) -> Iterator[str]:
        yield from (f"db:{name}@{site}", f"lease:{site}", f"site:{site}", QUORUM)

    def _of_replica(self, name: str, site: str) -> Iterator[str]:
        active = self._active_at(name)
        yield f"db:{name}@{site}"
        yield f"agent:{site}"
        yield f"site:{site}"
        yield f"agent:{active}"
        yield f"canary:{name}@{active}"
        yield link(active, site)
        yield f"site:{self._estate.systems[SystemId(name)].home}"
        yield from self._away(name, site)
        yield from _clocks(active, site)

    def _of_receiver(self, name: str, site: str) -> Iterator[str]:
        if not site:
            yield f"site:{name}"
            yield link(*self._estate.centres)
            return
        active = self._active_at(name)
        yield from (f"receiver:{site}", f"db:{name}@{active}", f"agent:{active}")
        yield from (f"site:{site}", f"site:{active}", link(active, site))

    def _of_app(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{site}"
        if site == self._active_at(name):  # a standby's application needs no database to say that it is one
            yield f"db:{name}@{site}"
            yield f"gate:{name}@{site}"
            yield f"lease:{site}"
        for dependency in self._blamed.get(f"app:{name}@{site}", frozenset()):
            yield from self._dependency(dependency, site)

    def _of_entry(self, name: str, site: str) -> Iterator[str]:
        active = self._active_at(name)
        yield f"app:{name}@{active}"
        yield f"site:{self._estate.systems[SystemId(name)].home}"
        if self._public is not None:
            yield f"site:{self._public}"
            yield link(self._public, active)
        for dependency in self._blamed.get(f"entry:{name}", frozenset()):
            yield from self._dependency(dependency, active)

    def _dependency(self, dependency: str, site: str) -> Iterator[str]:
        if SystemId(dependency) in self._estate.systems:
            active = self._active_at(dependency)
            yield f"app:{dependency}@{active}"
            yield f"site:{self._estate.systems[SystemId(dependency)].home}"
            if active != site:
                yield link(active, site)

    def _of_snapshot(self, name: str, site: str) -> Iterator[str]:
        """A place is looked into by its own site's controller alone."""
        yield f"site:{site}"
        agency = self._estate.agencies.get(AgencyId(name))
        place = agency.repository.places.get(SiteId(site)) if agency and agency.repository else None
        if place is not None:
            yield f"store:{store_of(place)}@{site}"

    def _of_vouch(self, name: str, site: str) -> Iterator[str]:
        """Only whose log it is tells it: the viewer."""
        yield f"site:{name}"
        yield link(name, self._viewer)
        if SiteId(name) in self._estate.centres:
            yield f"api:{name}"

    def _of_certificate(self, name: str, site: str) -> Iterator[str]:
        """A process' certificate never outlives the authority above it."""
        above = {"root": (), "authority": ("root",)}.get(name, ("authority", "root"))
        yield from (f"certificate:{each}@{site}" for each in above)

    def _at_own_site(self, name: str, site: str) -> Iterator[str]:
        yield f"site:{site}"

    def _of_mark(self, name: str, site: str) -> Iterator[str]:
        yield from (f"site:{site}", f"lease:{site}", f"agent:{site}", QUORUM)
        yield from self._store(name, site)

    def _of_mirror(self, name: str, site: str) -> Iterator[str]:
        """A mirror is carried by the controller where it ends, and stands between two stores."""
        dataset = self._estate.datasets.get(DatasetId(name))
        if dataset is None:
            return
        active = self._active_at(dataset.system)
        yield from (f"site:{site}", f"agent:{site}", f"api:{site}", f"agent:{active}", f"mark:{name}@{active}")
        yield from self._store(name, site)
        if active != site:
            yield link(active, site)
            yield f"site:{active}"
            yield from self._store(name, active)
        yield f"site:{self._estate.systems[dataset.system].home}"
        yield from _clocks(active, site)

    def _store(self, name: str, site: str) -> Iterator[str]:
        dataset = self._estate.datasets.get(DatasetId(name))
        copy = dataset.documents.get(SiteId(site)) if dataset else None
        if copy is not None:
            yield f"store:{store_of(copy)}@{site}"

    def _of_copy(self, name: str, site: str) -> Iterator[str]:
        dataset = self._estate.datasets.get(DatasetId(name))
        centres = self._estate.centres
        yield from (f"site:{centre}" for centre in centres)
        yield link(*centres)
        if dataset is not None:
            for centre in dataset.copies:
                yield f"db:{dataset.system}@{centre}"


def _clocks(active: str, site: str) -> Iterator[str]:
    """A lag is the difference of two sites' times."""
    yield from (f"clock:{active}", f"clock:{site}", "clock:" + "-".join(sorted((active, site))))
