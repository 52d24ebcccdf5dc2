"""Two sites and a witness in memory, from a seed: leases, epochs, databases, applications and traffic.

Time is virtual and passes with every call, a little more or less by the seed. The world watches itself: whoever breaks
one of its laws gets :class:`LawBroken`, at the moment of breaking it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.errors import Refusal, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.base.lsn import lsn_text
from ncia.core.estate import Estate
from ncia.core.estate.model import Dataset, Replication
from recovery.fencing.claims import Claims
from recovery.fencing.files import Standing
from recovery.fencing.holds import give_word, held, unanswered
from recovery.fencing.keys import EPOCHS, HOLDS, RUNS, WORDS, Sync, SyncMode, epoch_of, site_key
from recovery.perform import Waiting
from recovery.ports import Answer, Outage, Permits, Position, Received, Replica, World
from recovery.receiving.term import Held
from recovery.step import Halted
from tests.fakes.etcd import FakeEtcd
from tests.fakes.pair import LawBroken, PairSide, lsn

BEGINNING = datetime(2026, 9, 26, 20, 15, tzinfo=UTC)
SECOND_NS = 1_000_000_000
MARGIN_NS = SECOND_NS // 2
PROMOTION_NS = 8_000_000
RENEW_NS = 2 * SECOND_NS


class Killed(BaseException):
    """The controller dies here, as by kill -9."""


@dataclass
class Server:
    """One PostgreSQL server."""

    in_recovery: bool
    waits_for: str
    canary_at: datetime
    alive: bool = True
    primary_from_ns: int = 0
    replayed: int = 0x3000000
    detached: bool = False
    reads_handed: bool = True  # its restore_command works
    standby: bool = False
    branch: int = 0
    length: int = 1
    clean: bool = False
    checkpoint: int = 0
    rewound_by: str = ""


@dataclass
class FakeReceiver:
    """A WAL receiver: where the last record that it holds begins; 0 where it holds nothing."""

    last: int = 0x3000000 - 0x100
    newest_at: datetime | None = None
    handed_over: bool = False
    alive: bool = True


@dataclass
class SiteSide:
    """One site's warden and gate."""

    alive: bool = True
    sees_etcd: bool = True
    confirming: bool = True
    last_confirmation_ns: int = 0
    lease: int = 0
    deadline_ns: int = 0
    renewed_ns: int = 0
    seen_revision: int = 0
    known: dict[SystemId, tuple[int, SiteId]] = field(default_factory=dict)
    held: dict[SystemId, str] = field(default_factory=dict)
    gives_words: bool = True


class KnownElsewhere:
    """A second place knows by which right every run acts."""

    def demand(self, run: RunId, what: str) -> str:
        return "the run's permits are known at witness too"


class FakeWorld:
    """``kill_at``: the number of the moment (before or after a call or an append) at which the controller is killed."""

    def __init__(self, estate: Estate, own: SiteId, seed: int = 0) -> None:
        self.estate = estate
        self.own = own
        self.other = estate.peer_of(own)
        self.random = random.Random(seed)
        self.now_ns = 1000 * SECOND_NS
        self.began = BEGINNING - timedelta(seconds=1000)
        self.etcd = FakeEtcd(lambda: self.now_ns)
        self.claims = Claims(self.etcd)
        self.moments = 0
        self.kill_at: int | None = None
        self.watchers: list[Callable[[str], None]] = []  # told of each call; may change the world
        self.calls: list[str] = []
        self.sides = {site: SiteSide() for site in estate.centres}
        self.lost_at: dict[SystemId, datetime] = {}
        self.servers: dict[tuple[SystemId, SiteId], Server] = {}
        self.positions: dict[SystemId, Position] = {}
        self.front_door_alive = True
        self.permits: Permits = KnownElsewhere()
        self.broken_applications: set[SystemId] = set()
        self.given_up: set[SystemId] = set()  # what their receivers hold may be lost: a person said so
        self.receivers: dict[SystemId, FakeReceiver] = {}
        self.pair = PairSide(self)
        for system in estate.systems.values():
            self.claims.birth(system.id, system.home)
            waits = system.postgres.replication is Replication.SYNCHRONOUS
            for site in estate.centres:
                names = f"FIRST 1 ({estate.peer_of(system.home)})" if waits else ""
                copy = site != system.home
                self.servers[system.id, site] = Server(copy, names, self.now(), standby=copy)
            self.positions[system.id] = Position(system.home, 1)
            if waits:
                self.receivers[system.id] = FakeReceiver(newest_at=self.now())
                born = Sync(system.id, SyncMode.SYNC, to_text(self.now()), "0/0", "birth")
                self.claims.put_sync(born)
        for site in estate.centres:
            self._renew(site)
        self.live(3)

    # --- time and faults ---------------------------------------------------------------------------------------------

    def now(self) -> datetime:
        return self.began + timedelta(microseconds=self.now_ns // 1000)

    def boottime_ns(self) -> int:
        return self.now_ns

    def live(self, seconds: float) -> None:
        """Time passes: wardens renew, canaries are written and shipped."""
        end = self.now_ns + int(seconds * SECOND_NS)
        while self.now_ns < end:
            self.now_ns = min(end, self.now_ns + SECOND_NS // 5)
            for site in self.estate.centres:
                self._renew(site)
            for system in self.estate.systems.values():
                self._ship_canary(system.id)
            self.demand_laws()

    def burn(self, site: SiteId) -> None:
        self.sides[site].alive = False
        for (system, at), server in self.servers.items():
            if at == site:
                server.alive = False
                if not server.in_recovery:
                    self.lost_at[system] = self.now()

    def _renew(self, site: SiteId) -> None:
        side = self.sides[site]
        if not (side.alive and side.sees_etcd and self.etcd.quorum):
            return
        revision = self.etcd.txn((), ()).revision
        due = not side.lease or self.now_ns - side.renewed_ns >= RENEW_NS
        if revision == side.seen_revision and not due:
            return
        side.seen_revision = revision
        runs = self.etcd.prefix(RUNS)
        if any(pair.key == RUNS + site for pair in runs):
            self._fence(side)
            return
        side.known = {e.system: (e.epoch, e.site) for e in map(epoch_of, self.etcd.prefix(EPOCHS))}
        self._obey_holds(site, side)
        if not due:
            return
        ttl = int(self.estate.settings.lease_ttl_seconds)
        if not side.lease or not self.etcd.keepalive(side.lease):
            side.lease = self.etcd.grant(ttl).id
            self.etcd.put(site_key(site), '{"warden": "fake", "since": ""}', side.lease)
        side.renewed_ns = self.now_ns
        side.deadline_ns = self.now_ns + ttl * SECOND_NS - MARGIN_NS

    def _obey_holds(self, site: SiteId, side: SiteSide) -> None:
        """The real rules of the warden: what is held does not pass, and the site gives its word for it."""
        holds, words = self.etcd.prefix(HOLDS), self.etcd.prefix(WORDS)
        standings = held({s: Standing(epoch, at) for s, (epoch, at) in side.known.items()}, holds)
        side.held = {system: standing.held_by for system, standing in standings.items() if standing.held_by}
        if side.gives_words:
            for hold in unanswered(site, standings, holds, words):
                give_word(self.etcd, site, hold, self.now())

    def _fence(self, side: SiteSide) -> None:
        side.deadline_ns = 0
        if side.lease:
            self.etcd.revoke(side.lease)
            side.lease = 0

    def _ship_canary(self, system: SystemId) -> None:
        a, b = (self.servers[system, site] for site in self.estate.centres)
        if a.alive and b.alive and a.in_recovery != b.in_recovery:
            a.canary_at = b.canary_at = self.now()
            if system in self.receivers:
                self.receivers[system].newest_at = self.now()

    # --- laws --------------------------------------------------------------------------------------------------------

    def writable(self, system: SystemId, site: SiteId) -> int:
        """The epoch under which a citizen's write would be acknowledged at ``site`` now; 0 where it would not."""
        side, server = self.sides[site], self.servers[system, site]
        epoch, where = side.known.get(system, (0, site))
        if not server.alive or server.in_recovery or where != site or self.now_ns >= side.deadline_ns:
            return 0
        if system in side.held:
            return 0
        return epoch

    def demand_laws(self) -> None:
        one, other = self.estate.centres
        for system in self.estate.systems:
            a = self.writable(system, one)
            if a and (b := self.writable(system, other)):
                raise LawBroken(f"{system} can be written at both sites, under epochs {a} and {b}")

    # --- calls of the one under test ---------------------------------------------------------------------------------

    def moment(self, what: str) -> None:
        """A place where the controller can be killed, and where time passes."""
        if self.kill_at == self.moments:
            self.moments += 1
            raise Killed(what)
        self.moments += 1
        self.now_ns += self.random.randrange(100_000, 3_000_000)
        self._let_time_work()

    def _let_time_work(self) -> None:
        for site in self.estate.centres:
            self._renew(site)
        self.pair.write()
        self.demand_laws()

    def call(self, what: str) -> None:
        self.calls.append(what)
        for watcher in self.watchers:
            watcher(what)
        self.moment(f"before {what}")

    def done(self, what: str) -> None:
        self.demand_laws()
        self.moment(f"after {what}")

    def world(self) -> World:
        return World(
            claims=_Claims(self),
            warden=_Warden(self),
            databases=_Databases(self, self.own),
            applications=_Applications(self),
            traffic=_Traffic(self),
            receivers=_Receivers(self),
            permits=self.permits,
            marks=_Marks(self),
            pair=self.pair.ports(_Databases(self, self.other)),
        )

    def outage(self, system: SystemId) -> Outage:
        since = self.lost_at.get(system)
        return Outage(since, "the entry times out" if since else "the entry answers")


class _Marks:
    """Documents follow as rows do: their canaries are as old as the replica's."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def newest(self, dataset: Dataset) -> datetime | None:
        self._world.call(f"marks.newest({dataset.id})")
        return self._world.servers[dataset.system, self._world.own].canary_at


class _Claims:
    """The real claims on the fake etcd, with a place to be killed before and after each."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._world.claims, name)

        def called(*arguments: Any) -> Any:
            told = f"claims.{name}({', '.join(map(str, arguments))})"
            self._world.call(told)
            found = real(*arguments)
            self._world.done(told)
            return found

        return called


class _Warden:
    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    @property
    def _side(self) -> SiteSide:
        return self._world.sides[self._world.own]

    def status(self) -> Mapping[str, Any]:
        self._world.call("warden.status")
        return {
            "confirming": self._side.confirming,
            "last_confirmation_boottime_ns": self._side.last_confirmation_ns,
            "deadline_boottime_ns": self._side.deadline_ns,
            "reason": "lease held",
            "systems": {
                s: {"epoch": e, "site": at, "held_by": self._side.held.get(s, "")}
                for s, (e, at) in self._side.known.items()
            },
        }

    def refresh(self) -> Mapping[str, Any]:
        self._world.call("warden.refresh")
        self._world._renew(self._world.own)
        self._world.done("warden.refresh")
        return self.status()

    def stop_confirming(self) -> int:
        self._world.call("warden.stop_confirming")
        self._side.confirming = False
        self._world.done("warden.stop_confirming")
        return self._side.last_confirmation_ns

    def resume_confirming(self) -> None:
        self._world.call("warden.resume_confirming")
        self._side.confirming = True
        self._world.done("warden.resume_confirming")


class _Databases:
    def __init__(self, world: FakeWorld, site: SiteId) -> None:
        self._world = world
        self._site = site

    def _server(self, system: SystemId, what: str) -> Server:
        self._world.call(f"databases.{what}({system})")
        server = self._world.servers[system, self._site]
        if not server.alive:
            raise Unreachable("recovery.no-server", f"reach {system}'s server", "connection refused")
        if server.primary_from_ns and self._world.now_ns >= server.primary_from_ns:
            self._world.pair.promoted(server)
            self._world.demand_laws()
        return server

    def replica(self, system: SystemId) -> Replica:
        server = self._server(system, "replica")
        return Replica(server.in_recovery, server.canary_at, "0/3000000", server.waits_for)

    def in_recovery(self, system: SystemId) -> bool:
        return self._server(system, "in_recovery").in_recovery

    def promote(self, system: SystemId) -> None:
        server = self._server(system, "promote")
        epoch = self._world.claims.epochs()[system]
        if epoch.site != self._world.own:
            raise LawBroken(f"{system} is promoted at {self._world.own}, but epoch {epoch.epoch} is at {epoch.site}")
        if self._world.sides[self._world.other].alive:
            self._world.pair.demand_kept(system, server)
            if self._world.pair.planned:
                self._world.pair.demand_documents(system, self._site)
        if self._world.writable(system, self._world.other):
            raise LawBroken(f"{system} is promoted while {self._world.other} can still write")
        receiver = self._world.receivers.get(system)
        if receiver is not None and server.replayed <= receiver.last and system not in self._world.given_up:
            raise LawBroken(f"{system} is promoted without what its receiver holds")
        if server.in_recovery and not server.primary_from_ns:
            server.primary_from_ns = self._world.now_ns + PROMOTION_NS
        self._world.done(f"databases.promote({system})")

    def synchronous_standby_names(self, system: SystemId) -> str:
        return self._server(system, "synchronous_standby_names").waits_for

    def replayed_lsn(self, system: SystemId) -> str:
        server = self._server(system, "replayed_lsn")
        if self._world.pair.planned:
            return lsn(server.length)
        receiver = self._world.receivers.get(system)
        if server.detached and server.reads_handed and receiver is not None and receiver.handed_over:
            server.replayed = max(server.replayed, receiver.last + 0x100)
        return lsn_text(server.replayed)

    def detach(self, system: SystemId) -> None:
        self._server(system, "detach").detached = True
        self._world.done(f"databases.detach({system})")

    def attach(self, system: SystemId) -> None:
        self._server(system, "attach").detached = False
        self._world.done(f"databases.attach({system})")

    def clear_synchronous(self, system: SystemId) -> None:
        self._server(system, "clear_synchronous").waits_for = ""
        self._world.done(f"databases.clear_synchronous({system})")

    def set_synchronous(self, system: SystemId, names: str) -> None:
        self._server(system, "set_synchronous").waits_for = names
        self._world.done(f"databases.set_synchronous({system})")

    def written_lsn(self, system: SystemId) -> str:
        return lsn(self._server(system, "written_lsn").length)

    def streams_to(self, system: SystemId, standby: SiteId) -> bool:
        self._server(system, "streams_to")
        return self._world.pair.streams(system, standby)


class _Receivers:
    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def _receiver(self, system: SystemId, what: str) -> FakeReceiver | None:
        self._world.call(f"receivers.{what}({system})")
        found = self._world.receivers.get(system)
        if found is not None and not found.alive:
            raise Unreachable("receiver.not-there", f"ask the receivers /{what}", "connection refused")
        return found

    def received(self, system: SystemId) -> Received | None:
        found = self._receiver(system, "received")
        if found is None or not found.last or found.newest_at is None:
            return None
        return Received("0/2000000", found.newest_at)

    def hand_over(self, system: SystemId) -> Held | None:
        found = self._receiver(system, "hand_over")
        if found is None:
            return None
        found.handed_over = True
        self._world.done(f"receivers.hand_over({system})")
        newest = to_text(found.newest_at or self._world.now())
        return Held(1, 1, "0/2000000", lsn_text(found.last), 2, newest) if found.last else None

    def follow_again(self, system: SystemId) -> None:
        found = self._receiver(system, "follow_again")
        if found is not None:
            found.handed_over = False
            self._world.done(f"receivers.follow_again({system})")


class _Applications:
    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def verify(self, system: SystemId) -> Answer:
        self._world.call(f"applications.verify({system})")
        own = self._world.own
        epoch = self._world.writable(system, own)
        if system in self._world.broken_applications:
            return Answer(500, epoch, own, "broken")
        if not epoch:
            return Answer(503, 0, own, "not writable here")
        waits, peer = self._world.servers[system, own].waits_for, self._world.other
        if waits and not self._world.pair.streams(system, peer):
            return Answer(503, epoch, own, "commits wait for a partner that is gone")
        for needed in self._world.estate.systems[system].depends_on:
            if not any(self._world.writable(needed, site) for site in self._world.estate.centres):
                return Answer(503, epoch, own, f"failed dependency {needed}")
        return Answer(201, epoch, own, "")

    def read_from_outside(self, system: SystemId) -> Answer:
        self._world.call(f"applications.read_from_outside({system})")
        position = self._world.positions[system]
        if not self._world.sides[position.site].alive:
            raise Unreachable("recovery.no-application", f"GET {system}", "timed out")
        return Answer(200, self._world.writable(system, position.site), position.site, "")


class _Traffic:
    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def positions(self) -> Mapping[SystemId, Position]:
        self._world.call("traffic.positions")
        return dict(self._world.positions)

    def switch(self, system: SystemId, site: SiteId, epoch: int) -> None:
        self._world.call(f"traffic.switch({system})")
        if not self._world.front_door_alive:
            raise Unreachable("recovery.no-front-door", f"switch {system}", "connection refused")
        if self._world.positions[system].epoch > epoch:
            raise Refusal("recovery.traffic-newer", f"switch {system}", "a newer epoch is in force")
        self._world.positions[system] = Position(site, epoch)
        self._world.done(f"traffic.switch({system})")


class FakePatience(Waiting):
    """Pauses cost no real time."""

    def __init__(self, world: FakeWorld) -> None:
        super().__init__(world)
        self._world = world

    def pause(self, seconds: float) -> None:
        if self.halt.is_set():
            raise Halted("recovery.halted", "wait", "the run was told to stop")
        self._world.call("pause")
        if self._world.moments > MOMENTS_MAX:
            raise LawBroken("the run goes on for ever")
        self._world.live(seconds)


class Meanwhile(FakePatience):
    """Something happens each time a step pauses."""

    def __init__(self, world: FakeWorld, happens: Callable[[], None]) -> None:
        super().__init__(world)
        self._happens = happens

    def pause(self, seconds: float) -> None:
        super().pause(seconds)
        self._happens()


MOMENTS_MAX = 100_000


class InlineHands:
    """Carries a run out in the caller's own thread, step after step."""

    def __init__(self, world: FakeWorld) -> None:
        self._world = world

    def waiting(self) -> FakePatience:
        return FakePatience(self._world)

    def pool(self, size: int) -> Executor:
        return _Inline()

    def launch(self, name: str, drive: Callable[[], None]) -> _Over:
        drive()
        return _Over()


class _Over:
    def join(self, timeout: float | None = None) -> None:
        return None


class _Inline(Executor):
    def submit(self, function: Callable[..., Any], /, *arguments: Any, **words: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(function(*arguments, **words))
        return future
