"""What planned moves need of the world in memory: histories that fork, hosts that obey, citizens writing on.

A server's history is a branch and a length. A promotion begins a branch; a copy follows a primary only where its
history is a part of the primary's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    DivergenceListed,
    DocumentsStranded,
    StrandedTable,
)
from recovery.fencing.holds import Holds
from recovery.fencing.keys import Epoch, epoch_key
from recovery.ports import CopyFacts, Pair, Stranded
from recovery.stranded_documents import Span, StrandedDocuments
from recovery.sync import standby_names

if TYPE_CHECKING:
    from tests.fakes.world import FakeWorld, Server


class LawBroken(AssertionError):
    """An invariant of the two sites does not hold any more."""


@dataclass
class Histories:
    """``parents[branch]`` is where a branch began: the branch it left, and how long that was then."""

    parents: dict[int, tuple[int, int]] = field(default_factory=dict)

    def fork(self, server: Server) -> None:
        branch = len(self.parents) + 1
        self.parents[branch] = (server.branch, server.length)
        server.branch, server.length = branch, server.length + 1

    def shared(self, branch: int, server: Server) -> int:
        """How much of ``branch`` is in the history of ``server``."""
        at, length = server.branch, server.length
        while at != branch:
            if at not in self.parents:
                return 0
            at, length = self.parents[at]
        return length

    def holds(self, server: Server, branch: int, length: int) -> bool:
        return length <= self.shared(branch, server)


def slots_of(reader: SiteId) -> tuple[str, ...]:
    """Its copy's, and its receiver's."""
    return (reader, f"{reader}_receiver")


class PairSide:
    """The planned half of :class:`tests.fakes.world.FakeWorld`."""

    def __init__(self, world: FakeWorld) -> None:
        self.world = world
        self.histories = Histories()
        self.holds = Holds(world.etcd)
        self.acked: dict[SystemId, tuple[int, int]] = {}
        self.planned = False  # positions are those of the histories here
        self.listed: dict[tuple[SystemId, RunId], Stranded] = {}
        self.listed_documents: dict[tuple[SystemId, RunId], StrandedDocuments] = {}
        self.documents = {(s, site): 0 for s in world.estate.systems for site in world.estate.centres}  # how many
        self.acked_documents: dict[SystemId, int] = dict.fromkeys(world.estate.systems, 0)
        self.documents_behind: dict[SystemId, float | None] = {}
        self.journalled: Callable[[], Iterable[Body]] = lambda: ()
        self.slots: dict[tuple[SystemId, SiteId], tuple[str, ...]] = {}  # what each server keeps WAL for
        for system in world.estate.systems.values():
            self.slots[system.id, system.home] = slots_of(world.estate.peer_of(system.home))

    def take_over(self, by: SiteId, stranded: int = 2) -> None:
        """As after a blackout: ``by`` has every system of the other site, whose old primaries lie there, stopped."""
        world, lost = self.world, self.world.estate.peer_of(by)
        for system in world.estate.at_home(lost):
            world.etcd.put(epoch_key(system.id), Epoch(system.id, 2, by, "run-of-the-loss", 0).value())
            old, new = world.servers[system.id, lost], world.servers[system.id, by]
            new.length = old.length
            old.length += stranded
            old.alive, old.waits_for, new.waits_for = False, standby_names(by), ""
            self.promoted(new)
            self.acked[system.id] = (new.branch, new.length)
            world.positions[system.id] = type(world.positions[system.id])(by, 2)
        world.live(3)

    def promoted(self, server: Server) -> None:
        server.in_recovery = server.standby = False
        server.primary_from_ns = 0
        self.histories.fork(server)

    def streams(self, system: SystemId, standby: SiteId) -> bool:
        world = self.world
        copy, primary = world.servers[system, standby], world.servers[system, world.estate.peer_of(standby)]
        if not (copy.alive and primary.alive and copy.in_recovery and not primary.in_recovery):
            return False
        return self.histories.holds(primary, copy.branch, copy.length)

    def write(self) -> None:
        """Every system that can be written is; a copy that streams gets it, an asynchronous one a little later."""
        world = self.world
        for system in world.estate.systems:
            for site in world.estate.centres:
                if not world.writable(system, site):
                    continue
                server, peer = world.servers[system, site], world.estate.peer_of(site)
                streams = self.streams(system, peer)
                if server.waits_for and not streams:
                    continue  # the commit waits
                server.length += 1
                self.acked[system] = (server.branch, server.length)
                if streams:
                    self.ship(system, peer, server.length - (0 if server.waits_for else 1))
                self._keep_documents(system, site)

    def _keep_documents(self, system: SystemId, site: SiteId) -> None:
        """One more with each act; the mirror of the other site, which pulls from the active one, is one behind."""
        if not self.world.estate.systems[system].documents:
            return
        self.acked_documents[system] += 1
        self.documents[system, site] = self.acked_documents[system]
        peer = self.world.estate.peer_of(site)
        if self.world.sides[peer].alive:
            self.documents[system, peer] = max(self.documents[system, peer], self.acked_documents[system] - 1)

    def ship(self, system: SystemId, standby: SiteId, length: int) -> None:
        copy, primary = (self.world.servers[system, s] for s in (standby, self.world.estate.peer_of(standby)))
        copy.branch, copy.length = primary.branch, max(length, copy.length)

    def demand_kept(self, system: SystemId, server: Server) -> None:
        """What was acknowledged is in the history of whoever is to serve."""
        if system in self.acked and not self.histories.holds(server, *self.acked[system]):
            raise LawBroken(f"{system}: acknowledged {self.acked[system]}, lost at {server.branch}, {server.length}")

    def demand_documents(self, system: SystemId, site: SiteId) -> None:
        """Every acknowledged document is at the site that is to serve."""
        acked, held = self.acked_documents[system], self.documents[system, site]
        if held < acked:
            raise LawBroken(f"{system}: {acked} documents are acknowledged and {site} holds {held}")

    def ports(self, there: Any) -> Pair:
        return Pair(_Holds(self), there, copies=_Copies(self), documents=_Documents(self), drain=_Drain(self))


class _Holds:
    """The real holds on the fake etcd, with a place to be killed before and after each."""

    def __init__(self, side: PairSide) -> None:
        self._side = side

    def __getattr__(self, name: str) -> Any:
        real, world = getattr(self._side.holds, name), self._side.world

        def called(*arguments: Any) -> Any:
            told = f"holds.{name}({', '.join(map(str, arguments))})"
            world.call(told)
            found = real(*arguments)
            world.done(told)
            return found

        return called


class _Copies:
    def __init__(self, side: PairSide) -> None:
        self._side = side
        self._world = side.world

    def _server(self, what: str, system: SystemId, site: SiteId) -> Server:
        self._world.call(f"copies.{what}({system}@{site})")
        if not self._world.sides[site].alive:
            raise Unreachable("remote.unreachable", f"reach the host at {site}", "it is silent")
        return self._world.servers[system, site]

    def facts(self, system: SystemId, site: SiteId) -> CopyFacts:
        server = self._server("facts", system, site)
        return CopyFacts(True, server.alive, server.standby, server.clean, lsn(server.checkpoint), server.rewound_by)

    def stop(self, system: SystemId, site: SiteId) -> None:
        server = self._server("stop", system, site)
        if self._world.writable(system, site):
            raise LawBroken(f"{system} is stopped at {site} while citizens write there")
        if server.alive:
            server.length += 1  # its last checkpoint
            server.checkpoint = server.length - 1
            peer = self._world.estate.peer_of(site)
            if self._side.streams(system, peer):
                self._side.ship(system, peer, server.length)
            server.alive, server.clean = False, True
        self._world.done(f"copies.stop({system})")

    def start(self, system: SystemId, site: SiteId) -> None:
        server = self._server("start", system, site)
        if not server.standby and self._world.claims.epochs()[system].site != site:
            raise LawBroken(f"{system}: a primary is started at {site}, where it is not active")
        server.alive, server.clean, server.in_recovery = True, False, server.standby
        self._world.done(f"copies.start({system})")

    def follow(self, system: SystemId, site: SiteId, primary: SiteId) -> None:
        server = self._server("follow", system, site)
        if server.alive:
            raise LawBroken(f"{system}: a running server is told to follow")
        server.standby = True
        self._side.slots[system, primary] = slots_of(site)
        self._world.done(f"copies.follow({system})")

    def forget(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        self._server("forget", system, site)
        self._side.slots.pop((system, site), None)
        self._world.done(f"copies.forget({system})")
        return ()

    def slots_left(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        if not self._server("slots_left", system, site).alive:
            raise Unreachable("recovery.no-server", f"look for {standby}'s slots at {site}", "it does not run")
        return self._side.slots.get((system, site), ())

    def rewind(self, system: SystemId, site: SiteId, source: SiteId, run: RunId) -> str:
        server = self._server("rewind", system, site)
        written = {
            type(body)
            for body in self._side.journalled()
            if isinstance(body, DivergenceListed | DocumentsStranded)
            and (body.run, body.system, body.site) == (run, system, site)
        }
        if written != {DivergenceListed, DocumentsStranded}:
            raise LawBroken(f"{system} is rewound at {site} before the journal holds what is stranded there")
        if server.alive or self._world.claims.epochs()[system].site != source:
            raise LawBroken(f"{system} is rewound at {site}: it runs, or {source} does not have it")
        primary = self._world.servers[system, source]
        server.branch, server.length, server.rewound_by = primary.branch, primary.length - 1, run
        server.waits_for = primary.waits_for
        self._world.done(f"copies.rewind({system})")
        return "pg_rewind"

    def list_stranded(self, system: SystemId, site: SiteId, active: SiteId, run: RunId) -> Stranded:
        server = self._server("list_stranded", system, site)
        if server.alive and not server.standby:
            raise NciaError("recovery.host", f"list {system}", "the old server runs")
        rows = 0
        if not server.standby:
            rows = server.length - self._side.histories.shared(server.branch, self._world.servers[system, active])
        tables = (StrandedTable(table="app.acts", only_here=rows, differs=0),) if rows else ()
        found = Stranded(0 if server.standby else 1, "0/1", rows, tables, f"evidence/{run}/{system}.json", "00ff")
        self._side.listed[system, run] = found
        self._world.done(f"copies.list_stranded({system})")
        return found

    def stranded_listed(self, system: SystemId, run: RunId) -> Stranded | None:
        self._world.call(f"copies.stranded_listed({system})")
        return self._side.listed.get((system, run))


class _Documents:
    """Lists as the stores' adapter makes them, of one document a system."""

    def __init__(self, side: PairSide) -> None:
        self._side = side
        self._world = side.world

    def list_stranded(
        self, system: SystemId, site: SiteId, active: SiteId, run: RunId, taken_by: str
    ) -> StrandedDocuments:
        self._world.call(f"documents.list_stranded({system}@{site} since {taken_by})")
        for each in (site, active):
            if not self._world.sides[each].alive:
                raise Unreachable("documents.unreachable", f"list {system}", f"the store at {each} is silent")
        found = StrandedDocuments(Span(), 1, 2048, f"evidence/{run}/{system}.documents.json", "00ff")
        self._side.listed_documents[system, run] = found
        self._world.done(f"documents.list_stranded({system})")
        return found

    def stranded_listed(self, system: SystemId, run: RunId) -> StrandedDocuments | None:
        self._world.call(f"documents.stranded_listed({system})")
        return self._side.listed_documents.get((system, run))


@dataclass(frozen=True)
class _Compared:
    looked_at: int
    lacking: tuple[str, ...]
    refused: tuple[str, ...] = ()


class _Drain:
    """The stores' comparison, by counting; what the other site has and ours has not is brought."""

    def __init__(self, side: PairSide) -> None:
        self._side = side
        self._world = side.world

    def behind(self, system: SystemId) -> dict[str, float | None]:
        self._world.call(f"drain.behind({system})")
        datasets = self._world.estate.systems[system].documents
        return {dataset.id: self._side.documents_behind.get(system, 1.0) for dataset in datasets}

    def compare(self, system: SystemId) -> _Compared:
        self._world.call(f"drain.compare({system})")
        here, there = (self._side.documents[system, site] for site in (self._world.own, self._world.other))
        return _Compared(there, tuple(f"{system}/documents: {number}" for number in range(here, there)))

    def bring(self, system: SystemId, now: datetime) -> int:
        self._world.call(f"drain.bring({system})")
        here, there = (self._side.documents[system, site] for site in (self._world.own, self._world.other))
        self._side.documents[system, self._world.own] = max(here, there)
        self._world.done(f"drain.bring({system})")
        return there - here


def lsn(length: int) -> str:
    return f"0/{length * 256:X}"
