"""The gate: the only way from a site's applications to its databases, open only while the site's lease is held.

One thread, one epoll. The deadline (CLOCK_BOOTTIME) is checked for every buffer, in both directions, between receiving
it and sending it: what the database answered before the check was done before the deadline, and nothing that it
answers later gets to the client, also where this process or the machine was frozen meanwhile. asyncio would not do: its
transports keep what a full socket does not take, and send it later unchecked.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate.model import Address
from recovery.fencing import files, pgwire
from recovery.fencing.files import GATE_FILE, LEASE_FILE, NANOSECONDS, GateFile, LeaseFile, Watched
from recovery.fencing.pgwire import First, Greeting

LOOK_NS = 50_000_000  # between looks at lease.json
BEAT_NS = NANOSECONDS  # between heartbeats in gate.json where nothing changed
OPENING_NS = 10 * NANOSECONDS  # a client may take so long to say who it is, a database to accept
SESSIONS_MAX = 512  # of one system
ACCEPT_MAX = 64  # in one turn
BUFFER_BYTES = 65536
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER 0: what the kernel still holds is dropped, not sent
EPOCH_PARAMETER = "ncia_epoch"


@dataclass(frozen=True)
class Door:
    """A system's gate address and the database behind it."""

    system: SystemId
    gate: Address
    server: Address


@dataclass
class _System:
    """What lease.json permits for one system, and who uses it now."""

    door: Door
    deadline_ns: int = 0
    epoch: int = 0
    active_site: SiteId | None = None
    sessions: set[_Session] = field(default_factory=set)


class _Side:
    """One socket of a session: ``unsent`` is what it did not take yet; while there is some, its peer is not read."""

    __slots__ = ("events", "other", "session", "sock", "unsent")

    def __init__(self, session: _Session, sock: socket.socket) -> None:
        self.session = session
        self.sock = sock
        self.unsent = b""
        self.events = 0
        self.other: _Side = self


class _Session:
    """One connection of an application."""

    __slots__ = ("begun_ns", "client", "connected", "greeting", "opening", "server", "system")

    def __init__(self, system: _System, sock: socket.socket, begun_ns: int) -> None:
        self.system = system
        self.client = _Side(self, sock)
        self.server: _Side | None = None
        self.opening: bytes | None = b""  # what the client has said of itself so far; None once it is complete
        self.connected = False
        self.greeting: Greeting | None = None
        self.begun_ns = begun_ns


class Gate:
    """``turn`` serves what is ready and keeps watch; ``serve`` does nothing else until it is told to end."""

    def __init__(
        self,
        site: SiteId,
        doors: Mapping[SystemId, Door],
        run: Path,
        ttl_seconds: float,
        now_ns: Callable[[], int],
        pid: int,
        *,
        boot: str | None = None,
    ) -> None:
        self._site, self._run, self._now_ns, self._pid = site, run, now_ns, pid
        self._ttl_ns = int(ttl_seconds * NANOSECONDS)
        self._boot = boot or files.boot_id()
        self._log = structlog.get_logger()
        self._epoll = select.epoll()
        self._listeners: dict[int, tuple[socket.socket, _System]] = {}
        self._sides: dict[int, _Side] = {}
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._watched = Watched(run / LEASE_FILE, LeaseFile.from_json)
        self._lease: LeaseFile | None = None
        self._systems = {door.system: _System(door) for door in doors.values()}
        self._earliest_ns = 0  # the first deadline that is still to come; 0 where all is shut
        self._next_look_ns = 0
        self._next_beat_ns = 0
        self._told: tuple[int, tuple[SystemId, ...]] | None = None
        self._fenced_at_ns: int | None = now_ns()

    def open(self) -> None:
        """Listen at every door; raises :class:`NciaError` naming the address that is taken."""
        for system in self._systems.values():
            address = system.door.gate
            try:
                listener = socket.create_server((address.host, address.port), backlog=256)
            except OSError as error:
                what = f"open the gate of {system.door.system} at {address}"
                raise NciaError("gate.cannot-listen", what, str(error), "see who listens there (ss -ltnp)") from error
            listener.setblocking(False)
            self._listeners[listener.fileno()] = (listener, system)
            self._epoll.register(listener.fileno(), select.EPOLLIN)

    def serve(self, goes_on: Callable[[], bool]) -> None:
        while goes_on():
            self.turn()

    def turn(self) -> None:
        """Wait for traffic until the next look is due, then: shut what has run out, serve, look, tell."""
        left = (self._next_look_ns - self._now_ns()) / NANOSECONDS
        ready = self._epoll.poll(max(0.0, left), 256)
        # before anything else: after a freeze the old deadline counts, whatever lease.json says by now
        self._shut_expired()
        for fd, events in ready:
            side = self._sides.get(fd)
            if side is not None:
                self._serve(side, events)
            elif fd in self._listeners:
                self._accept(*self._listeners[fd])
        if self._now_ns() >= self._next_look_ns:
            self._shut_expired()
            self._look()

    def close(self) -> None:
        """Shut everything and say so."""
        for system in self._systems.values():
            self._shut(system)
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self._tell(self._now_ns(), beat=True)
        self._epoll.close()

    # --- what is permitted -------------------------------------------------------------------------------------------

    def _look(self) -> None:
        now = self._now_ns()
        self._next_look_ns = now + LOOK_NS
        lease = self._watched.look()
        if lease is not None and lease is not self._lease and lease.boot == self._boot and lease.site == self._site:
            self._lease = lease
            for name, system in self._systems.items():
                self._permit(system, lease, name, now)
            self._find_earliest(now)
        self._tell(now, beat=now >= self._next_beat_ns)
        for system in self._systems.values():
            for session in [s for s in system.sessions if not s.connected and now - s.begun_ns > OPENING_NS]:
                self._end(session)

    def _permit(self, system: _System, lease: LeaseFile, name: SystemId, now: int) -> None:
        standing = lease.systems.get(name)
        epoch = standing.epoch if standing else 0
        # no honest deadline is further away than one TTL
        deadline = min(lease.deadline_of(name), now + self._ttl_ns)
        if system.sessions and (epoch != system.epoch or deadline <= now):
            self._log.info("cut", system=name, sessions=len(system.sessions), why=lease.reason, epoch=epoch)
            self._shut(system)
        system.deadline_ns, system.epoch = deadline, epoch
        system.active_site = standing.site if standing else None

    def _shut_expired(self) -> None:
        now = self._now_ns()
        if not self._earliest_ns or now < self._earliest_ns:
            return
        for name, system in self._systems.items():
            if 0 < system.deadline_ns <= now:
                late = (now - system.deadline_ns) / NANOSECONDS
                self._log.warning(
                    "the lease's deadline has passed: shut", system=name, cut=len(system.sessions), seconds_late=late
                )
                self._shut(system)
        self._find_earliest(now)
        self._tell(now, beat=False)

    def _shut(self, system: _System) -> None:
        system.deadline_ns = 0
        for session in list(system.sessions):
            self._end(session, abruptly=True)

    def _find_earliest(self, now: int) -> None:
        self._earliest_ns = min((s.deadline_ns for s in self._systems.values() if s.deadline_ns > now), default=0)

    def _tell(self, now: int, *, beat: bool) -> None:
        """Write gate.json: at once where something changed, else as a heartbeat."""
        passing = tuple(sorted(name for name, system in self._systems.items() if system.deadline_ns > now))
        told = (self._lease.version if self._lease else 0, passing)
        if told == self._told and not beat:
            return
        if passing:
            self._fenced_at_ns = None
        elif self._fenced_at_ns is None:
            self._fenced_at_ns = now
        sessions = sum(len(system.sessions) for system in self._systems.values())
        if self._told is None or passing != self._told[1]:
            why = self._lease.reason if self._lease else "the warden has said nothing yet"
            self._log.info("open" if passing else "shut", systems=passing, version=told[0], lease=why)
        said = GateFile(told[0], self._boot, self._pid, now, passing, self._fenced_at_ns, sessions)
        try:
            files.replace(self._run / GATE_FILE, said.to_json())
        except OSError as error:
            self._log.error("cannot write gate.json", error=str(error))
        self._told, self._next_beat_ns = told, now + BEAT_NS

    # --- a client comes ----------------------------------------------------------------------------------------------

    def _accept(self, listener: socket.socket, system: _System) -> None:
        for _ in range(ACCEPT_MAX):
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            session = _Session(system, sock, self._now_ns())
            system.sessions.add(session)
            self._want(session.client, select.EPOLLIN)

    def _read_opening(self, session: _Session) -> None:
        """The client's first packets, up to the one that says which database it wants."""
        told = self._receive(session.client)
        if not told or session.opening is None:
            return self._end(session) if told is not None else None
        session.opening += told
        while True:
            found = pgwire.opening(session.opening)
            if found.kind is First.INCOMPLETE:
                return None
            if found.kind is First.BAD:
                return self._end(session)
            if found.kind is not First.ENCRYPTION:
                break
            session.opening = session.opening[found.length :]
            if not self._offer(session.client, pgwire.NOT_HERE):
                return self._end(session)
        system = session.system
        if self._now_ns() >= system.deadline_ns:
            return self._refuse(session, pgwire.CANNOT_CONNECT_NOW, self._why_shut(system))
        if len(system.sessions) > SESSIONS_MAX:
            return self._refuse(session, pgwire.TOO_MANY_CONNECTIONS, f"{SESSIONS_MAX} connections are open already")
        return self._connect(session, found.kind)

    def _why_shut(self, system: _System) -> str:
        if system.active_site and system.active_site != self._site:
            return f"is active at {system.active_site}, not here"
        reason = self._lease.reason if self._lease else "the warden has said nothing yet"
        return f"lease expired or not held at {self._site}: {reason}"

    def _refuse(self, session: _Session, code: str, why: str) -> None:
        name = session.system.door.system
        self._offer(session.client, pgwire.error_response(code, f"ncia gate: {name} {why}"))
        self._end(session)

    def _connect(self, session: _Session, kind: First) -> None:
        """Dial the database; the client is not read until it is there."""
        server = session.system.door.server
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        side = _Side(session, sock)
        side.unsent = session.opening or b""
        side.other, session.client.other = session.client, side
        session.server, session.opening = side, None
        if kind is First.STARTUP:
            session.greeting = Greeting(pgwire.parameter_status(EPOCH_PARAMETER, str(session.system.epoch)))
        self._want(session.client, 0)
        if sock.connect_ex((server.host, server.port)) not in (0, errno.EINPROGRESS):
            return self._unreachable(session)
        return self._want(side, select.EPOLLOUT)

    def _connected(self, side: _Side) -> None:
        if side.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            return self._unreachable(side.session)
        side.session.connected = True
        return self._flush(side)

    def _unreachable(self, session: _Session) -> None:
        why = f"database at {session.system.door.server} does not accept connections"
        self._refuse(session, pgwire.CANNOT_CONNECT_NOW, why)

    # --- traffic -----------------------------------------------------------------------------------------------------

    def _serve(self, side: _Side, events: int) -> None:
        session = side.session
        if session.opening is not None:
            return self._read_opening(session)
        if side is session.server and not session.connected:
            return self._connected(side)
        if events & select.EPOLLOUT and side.unsent:
            self._flush(side)
        if events & select.EPOLLIN and not side.other.unsent:
            return self._pump(side)
        if events & (select.EPOLLERR | select.EPOLLHUP) and not events & select.EPOLLIN:
            self._end(session)
        return None

    def _pump(self, source: _Side) -> None:
        """One buffer on: receive, check the deadline, send. In this order; see the module's docstring."""
        session = source.session
        try:
            count = source.sock.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError:
            return self._end(session)
        if not count:
            return self._end(session)
        data: bytes | memoryview = self._view[:count]
        if session.greeting is not None and source is session.server:
            try:
                data = session.greeting.feed(bytes(data))
            except ValueError:
                return self._end(session)
            if session.greeting.done:
                session.greeting = None
        if self._now_ns() >= session.system.deadline_ns:
            return self._end(session, abruptly=True)
        target = source.other
        try:
            sent = target.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return self._end(session)
        if sent < len(data):
            target.unsent = bytes(data[sent:])
            self._want(source, source.events & ~select.EPOLLIN)
            self._want(target, target.events | select.EPOLLOUT)
        return None

    def _flush(self, side: _Side) -> None:
        """Send on what a socket did not take before, under the same check; then read its peer again."""
        session = side.session
        if self._now_ns() >= session.system.deadline_ns:
            return self._end(session, abruptly=True)
        try:
            sent = side.sock.send(side.unsent) if side.unsent else 0
        except BlockingIOError:
            return None
        except OSError:
            return self._end(session)
        side.unsent = side.unsent[sent:]
        if side.unsent:
            return None
        self._want(side, select.EPOLLIN if not side.other.unsent else 0)
        return self._want(side.other, select.EPOLLIN | (select.EPOLLOUT if side.other.unsent else 0))

    def _receive(self, side: _Side) -> bytes | None:
        """Up to one buffer; empty at the end of the stream, ``None`` where there is nothing yet."""
        try:
            return side.sock.recv(pgwire.STARTUP_BYTES_MAX)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _offer(self, side: _Side, data: bytes) -> bool:
        """Send a few bytes of our own to a client that waits for them."""
        try:
            return side.sock.send(data) == len(data)
        except OSError:
            return False

    def _want(self, side: _Side, events: int) -> None:
        fd = side.sock.fileno()
        if fd not in self._sides:
            self._sides[fd] = side
            self._epoll.register(fd, events)
        elif events != side.events:
            self._epoll.modify(fd, events)
        side.events = events

    def _end(self, session: _Session, *, abruptly: bool = False) -> None:
        """Close both sides; ``abruptly`` with a reset, so that nothing the kernel still holds is sent."""
        session.system.sessions.discard(session)
        for side in (session.client, session.server):
            if side is None or side.sock.fileno() < 0:
                continue
            self._sides.pop(side.sock.fileno(), None)
            if abruptly:
                side.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            side.sock.close()
