"""A primary, its standby and its receiver, real: every commit waits for one of the two."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import psycopg

from ncia.core.base.clock import SystemClock
from ncia.core.base.ids import SiteId
from ncia.core.base.lsn import lsn_number
from ncia.core.estate import Estate
from ncia.core.estate.model import Address
from recovery.actions.postgresql import PostgresDatabases
from recovery.receiving.receiver import Receiver, Standby
from recovery.receiving.term import Held, Place
from recovery.receiving.tools import PostgresTools, Primary
from recovery.sync import standby_names
from tests.lab_apps.postgres import tools, unprivileged
from tests.ports import free_port
from tests.recovery.actions.test_postgresql import HOMETAX, PASSWORD, Pair, estate_of, make_copy, make_primary
from tests.recovery.scene import SURVIVOR

EPOCH = 1
SECONDS_MAX = 30.0
TURN_SECONDS = 0.05


def wait(what: str, holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS_MAX:g} s: {what}"
        time.sleep(0.02)


@dataclass
class Trio:
    """``epoch`` is what the receiver is told at each turn; ``None`` stops it."""

    pair: Pair
    receiver: Receiver
    databases: PostgresDatabases
    place: Place
    epoch: int | None = EPOCH
    ended: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def begin(self) -> None:
        def turns() -> None:
            while not self.ended.wait(TURN_SECONDS):
                self.receiver.turn(self.epoch)

        self.ended.clear()
        self.thread = threading.Thread(target=turns)
        self.thread.start()

    def kill_supervisor(self) -> None:
        """As a kill would: its turns end, its children stay."""
        self.ended.set()
        if self.thread:
            self.thread.join()

    def phase(self) -> str:
        return str(self.receiver.status()["phase"])

    def write(self, connection: psycopg.Connection, number: int) -> int:
        connection.execute("insert into acts values (%s)", (number,))  # comes back when somebody else keeps it
        return number

    def acts(self, port: int) -> set[int]:
        with self.pair.connect(port) as connection:
            return {row[0] for row in connection.execute("select id from acts").fetchall()}

    def keepers(self) -> dict[str, str]:
        with self.pair.connect(self.pair.primary) as connection:
            rows = connection.execute("select application_name, sync_state from pg_stat_replication").fetchall()
        return dict(rows)

    def stop_standby_streaming(self) -> None:
        """The copy's walreceiver is sent to nowhere; the primary notices that it is gone."""
        with self.pair.connect(self.pair.copy) as connection:
            connection.execute("alter system set primary_conninfo = 'host=127.0.0.1 port=1 user=replicator'")
            connection.execute("select pg_reload_conf()")
        wait("the copy streams no more", lambda: SURVIVOR not in self.keepers())

    def kill_primary(self) -> None:
        """kill -9, the postmaster first so that it makes nothing anew."""
        data = self.pair.folder / "primary"
        postmaster = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
        # as root the server lives in a user namespace: its pid file holds the same number in both
        for pid in (postmaster, *working_in(data)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait("the primary is dead", lambda: not list(working_in(data)))
        (data / "postmaster.pid").unlink()  # so that nobody takes it for alive

    def hand_over(self) -> Held | None:
        return self.receiver.hand_over()


def working_in(folder: Path) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if os.path.samefile(os.readlink(entry / "cwd"), folder):
                    yield int(entry.name)


def estate_at(pair: Pair, site: SiteId, port: int) -> Estate:
    """The reference estate, hometax at ``site`` being the server on that port."""
    found = estate_of(pair)
    system = found.systems[HOMETAX]
    rows = system.postgres
    copies = {**rows.copies, site: replace(rows.copies[site], server=Address("127.0.0.1", port))}
    datasets = tuple(replace(d, copies=copies) if d is rows else d for d in system.datasets)
    return replace(found, systems={**found.systems, HOMETAX: replace(system, datasets=datasets)})


def estate_with(pair: Pair, timeout_seconds: float) -> Estate:
    found = estate_of(pair)
    return replace(found, settings=replace(found.settings, step_timeout_seconds=timeout_seconds))


@contextlib.contextmanager
def trio() -> Iterator[Trio]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-receiving-"))
    pair = Pair(folder, free_port(), free_port())
    (folder / "pw").write_text(PASSWORD)
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o600)
    place = Place(folder / "receiver")
    made: Trio | None = None
    try:
        make_primary(pair)
        with (folder / "primary" / "postgresql.conf").open("a") as conf:
            conf.write(
                f'restore_command = \'test -f "{place.handed}/%f" && cp "{place.handed}/%f" "%p"\'\n'
                "wal_receiver_status_interval=1s\nwal_retrieve_retry_interval=200ms\n"
            )
        with pair.connect(pair.primary) as connection:
            connection.execute("create table acts (id int primary key)")
            connection.execute("grant all on acts to app")
        make_copy(pair)
        with pair.connect(pair.primary) as connection:
            names = psycopg.sql.Literal(standby_names(SURVIVOR))
            connection.execute(psycopg.sql.SQL("alter system set synchronous_standby_names = {}").format(names))
            connection.execute("select pg_reload_conf()")
        made = compose(pair, place, passfile)
        yield made
    finally:
        if made is not None:
            made.kill_supervisor()
            made.receiver.close()
            made.databases.close()
        for name in ("primary", "copy"):
            command = [str(tools() / "pg_ctl"), "stop", "-D", str(folder / name), "-m", "immediate"]
            subprocess.run(unprivileged(command), capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def compose(pair: Pair, place: Place, passfile: Path) -> Trio:
    databases = PostgresDatabases(estate_with(pair, 5.0), SURVIVOR, passfile)
    primary = Primary(Address("127.0.0.1", pair.primary), passfile)
    standby = Standby(lambda: lsn_number(databases.replayed_lsn(HOMETAX)))
    programs = PostgresTools(tools(), place.root, SURVIVOR, primary)
    return Trio(pair, Receiver(HOMETAX, place, programs, standby, SystemClock().boottime_ns), databases, place)
