"""Composition of ``ncia receiver``: one ``pg_receivewal`` for each synchronous system, on the database host."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import psycopg
import structlog

from ncia.app.logging import configure
from ncia.app.single import only_one
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.base.lsn import lsn_number
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate, Replication, System
from recovery.fencing.doors import open_unix
from recovery.fencing.files import LEASE_FILE, LeaseFile, Watched
from recovery.receiving.doors import routes
from recovery.receiving.receiver import TURN_SECONDS, Receiver, Standby
from recovery.receiving.term import Place
from recovery.receiving.tools import PostgresTools, Primary

SOCKET = "receiver.sock"
CONNECT_SECONDS = 2
STATEMENT_MS = 1000


def run(settings_path: str | Path | None = None) -> None:
    """Receive until SIGTERM or SIGINT; what is received ends with this process and goes on with the next."""
    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("receiver", settings.site, settings.log)
    ended = threading.Event()

    def end(number: int, frame: object) -> None:
        ended.set()

    with only_one(settings.run, "receiver"):
        receivers = compose(settings, estate)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        door = open_unix(settings.run / SOCKET, routes(receivers))
        following = [
            threading.Thread(target=follow, args=(receiver, Terms(settings, estate, system), ended), name=system)
            for system, receiver in receivers.items()
        ]
        for thread in following:
            thread.start()
        ended.wait()
        door.shutdown()
        for thread in following:
            thread.join()


class Terms:
    """The epoch under which a system is active at the other site, as our own warden's file says; where there is no
    file, what it said last."""

    def __init__(self, settings: SiteSettings, estate: Estate, system: SystemId) -> None:
        self._lease = Watched(settings.run / LEASE_FILE, LeaseFile.from_json)
        self._peer = estate.peer_of(settings.site)
        self._system = system
        self._last: int | None = None

    def epoch(self) -> int | None:
        lease = self._lease.look()
        standing = lease.systems.get(self._system) if lease is not None else None
        if standing is not None:
            self._last = standing.epoch if standing.site == self._peer else None
        return self._last


def follow(receiver: Receiver, terms: Terms, ended: threading.Event) -> None:
    """One system's turns. A surprise is told and does not end the receiving of the others."""
    while not ended.wait(TURN_SECONDS):
        try:
            receiver.turn(terms.epoch())
        except (NciaError, OSError) as error:
            structlog.get_logger("receiver").error("receiver.turn-failed", system=receiver.system, error=str(error))
    receiver.close()


def compose(settings: SiteSettings, estate: Estate) -> dict[SystemId, Receiver]:
    """A receiver for each system whose commits wait for the other site."""
    return {
        system.id: _receiver(settings, estate, system)
        for system in estate.systems.values()
        if system.postgres.replication is Replication.SYNCHRONOUS and settings.site in system.postgres.copies
    }


def _receiver(settings: SiteSettings, estate: Estate, system: System) -> Receiver:
    site, peer = settings.site, estate.peer_of(settings.site)
    copies = system.postgres.copies
    folder = settings.data_root / copies[site].receiver_directory
    primary = Primary(estate.seen(copies[peer].server, peer, site), settings.secrets / "pgpass")
    tools = PostgresTools(settings.postgresql_tools, folder, site, primary)
    standby = Standby(lambda: replayed(settings, system, site))
    return Receiver(system.id, Place(folder), tools, standby, SystemClock().boottime_ns)


def replayed(settings: SiteSettings, system: System, site: SiteId) -> int | None:
    """How far our own standby has replayed; ``None`` where it does not answer or is a primary."""
    server = system.postgres.copies[site].server
    try:
        with psycopg.connect(
            host=server.host,
            port=server.port,
            dbname=system.postgres.database,
            user="ncia_watch",
            passfile=str(settings.secrets / "pgpass"),
            connect_timeout=CONNECT_SECONDS,
            application_name="ncia receiver",
            options=f"-c statement_timeout={STATEMENT_MS}",
            autocommit=True,
        ) as connection:
            row = connection.execute("select pg_last_wal_replay_lsn()::text where pg_is_in_recovery()").fetchone()
    except psycopg.Error:
        return None
    return lsn_number(row[0]) if row and row[0] else None
