"""The real thing: an old primary that went on writing alone, its copy promoted; what is stranded there is listed with
its rows, it is rewound and follows again; and a planned exchange of the two roles without a rewind."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import psycopg
import pytest
from psycopg import sql

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address
from ncia.core.journal.entries_recovery import StrandedTable
from ncia.lab.postgres import DATABASE, ROLES, statements
from recovery.actions.dialling import Dialler
from recovery.actions.hosts import HostedCopies, Place
from recovery.actions.postgresql import PostgresDatabases
from recovery.pair_steps import lsn
from recovery.ports import Stranded
from recovery.receiving.wal import slot_name as receiver_slot
from tests.fakes.remote import LocalRemote
from tests.lab_apps.postgres import tools
from tests.ports import free_port
from tests.recovery.fencing.world import until
from tests.recovery.scene import LOST, SURVIVOR, estate

HOMETAX, RUN = SystemId("hometax"), RunId("run-1")
OLD, NEW = LOST, SURVIVOR
PASSWORD = "not-a-secret"
SETTINGS = """
shared_buffers = 8MB
dynamic_shared_memory_type = mmap  # nothing stays in /dev/shm when it is killed
max_connections = 20
fsync = off
wal_log_hints = on
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
io_method = sync
wal_keep_size = 32MB
include_if_exists = '../hometax.conf'
"""
SCHEMA = """
create schema acts authorization app;
create table acts.filed (id int primary key, content text, at timestamptz default '2026-09-26 20:15+09');
create table acts."odd ""name's" (a int, b int, t text, primary key (a, b));
create table acts.keyless (t text);
insert into acts.filed select n, 'before ' || n from generate_series(1, 50) n
"""


@dataclass
class Two:
    """Two sites' clusters of one system on 127.0.0.1; ``OLD`` is the primary at first."""

    folder: Path
    ports: dict[SiteId, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.remote = LocalRemote()
        self.estate = self._estate()
        passfile = self.folder / "pgpass"
        passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
        passfile.chmod(0o600)
        places = {site: Place(*map(PurePosixPath, (self.folder / site, tools(), passfile))) for site in (OLD, NEW)}
        self.copies = HostedCopies(
            self.remote, places, Dialler(self.estate, OLD, passfile), self.folder / "state" / "evidence"
        )
        self.databases = {site: PostgresDatabases(self.estate, site, passfile) for site in (OLD, NEW)}

    def _estate(self) -> Estate:
        found = estate()
        self.ports = {OLD: free_port(), NEW: free_port()}
        system, rows = found.systems[HOMETAX], found.systems[HOMETAX].postgres
        copies = {site: replace(c, server=Address("127.0.0.1", self.ports[site])) for site, c in rows.copies.items()}
        datasets = tuple(replace(d, copies=copies) if d is rows else d for d in system.datasets)
        sites = {id: replace(site, seen_from={}) for id, site in found.sites.items()}
        systems = {**found.systems, HOMETAX: replace(system, datasets=datasets)}
        return replace(found, systems=systems, sites=sites)

    def data(self, site: SiteId) -> Path:
        return self.folder / site / "hometax"

    def tool(self, name: str, *arguments: str) -> None:
        host = self.estate.hosts[self.estate.systems[HOMETAX].postgres.copies[OLD].host]
        # a server that inherits our pipe would hold the call open
        command = ["sh", "-euc", '"$@" > /dev/null < /dev/null', "sh", str(tools() / name), *arguments]
        self.remote.run(host, command, timeout_seconds=60).demand("test.tool", name)

    def make(self) -> None:
        for site in (OLD, NEW):
            (self.folder / site).mkdir()
            (self.folder / site / "hometax.conf").write_text(f"port = {self.ports[site]}\n")
        (self.folder / "pw").write_text(PASSWORD)
        options = ["-N", "--no-locale", "-E", "UTF8", "-U", "postgres", "-A", "scram-sha-256", "--wal-segsize=1"]
        self.tool("initdb", *options, f"--pwfile={self.folder / 'pw'}", "-D", str(self.data(OLD)))
        (self.data(OLD) / "postgresql.conf").open("a").write(SETTINGS)
        self.copies.start(HOMETAX, OLD)
        roles = {
            role: sql.Literal(PASSWORD) for role in ("app", "replicator", "ncia_watch", "ncia_backup", "ncia_recover")
        }
        with self.connect(OLD, "postgres") as connection:
            for statement in statements(ROLES):
                connection.execute(sql.SQL(statement).format(**roles, database=sql.Identifier("hometax")))
        self.write(OLD, DATABASE)
        self.write(OLD, SCHEMA)
        self.copies.rewind(HOMETAX, NEW, OLD, RunId("birth"))  # there is no cluster: a base backup
        self.copies.follow(HOMETAX, NEW, OLD)
        self.copies.start(HOMETAX, NEW)
        self.wait_for_streaming(OLD, NEW)

    def connect(self, site: SiteId, database: str = "hometax") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.ports[site],
            user="postgres",
            dbname=database,
            password=PASSWORD,
            autocommit=True,
        )

    def write(self, site: SiteId, statement: str) -> None:
        with self.connect(site) as connection:
            connection.execute(statement.encode())

    def read(self, site: SiteId, query: str) -> list[tuple[object, ...]]:
        with self.connect(site) as connection:
            return connection.execute(query.encode()).fetchall()

    def slots(self, site: SiteId) -> list[tuple[object, ...]]:
        return self.read(site, "select slot_name from pg_replication_slots order by 1")

    def wait_for_streaming(self, primary: SiteId, standby: SiteId) -> None:
        until(lambda: self.databases[primary].streams_to(HOMETAX, standby), f"{standby} streams")

    def wait_for(self, site: SiteId, query: str, expected: list[tuple[object, ...]]) -> None:
        until(lambda: self.read(site, query) == expected, f"{query} at {site}")

    @contextmanager
    def reading(self, site: SiteId, slot: str) -> Iterator[None]:
        """Somebody streams from that slot."""
        source = f"host=127.0.0.1 port={self.ports[site]} user=replicator password={PASSWORD}"
        command = [str(tools() / "pg_receivewal"), "-D", str(self.folder / "read"), "-S", slot, "-d", source]
        (self.folder / "read").mkdir()
        reader = subprocess.Popen([*command, "--no-loop"], stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            new_timeline = "00000002*.partial"  # it is let go for a moment where the old one ends
            until(lambda: any((self.folder / "read").glob(new_timeline)), f"{slot} is read")
            self.wait_for(site, "select slot_name from pg_replication_slots where active", [(slot,)])
            yield
        finally:
            reader.terminate()
            reader.wait()

    def promote(self, site: SiteId) -> None:
        self.databases[site].promote(HOMETAX)
        until(lambda: not self.databases[site].in_recovery(HOMETAX), "promoted")

    def crash(self, site: SiteId) -> None:
        self.tool("pg_ctl", "stop", "-m", "immediate", "-D", str(self.data(site)))

    def strand(self) -> None:
        """The copy is away while the old primary writes on; then that dies and the copy is promoted."""
        self.copies.stop(HOMETAX, NEW)
        self.write(OLD, "insert into acts.filed (id, content) values (100, '행정 100'), (101, 'sent anew')")
        self.write(OLD, "update acts.filed set content = 'changed there' where id = 7")
        self.write(OLD, """begin; savepoint a; insert into acts."odd ""name's" values (1, 2, 'x'); release a; commit""")
        self.write(OLD, "insert into acts.keyless values ('alone')")
        self.write(OLD, "begin; insert into acts.filed values (102, 'rolled back'); rollback")
        self.crash(OLD)
        self.copies.start(HOMETAX, NEW)
        self.promote(NEW)
        self.write(NEW, "insert into acts.filed (id, content) values (101, 'sent anew'), (200, 'new')")


@pytest.fixture
def two() -> Iterator[Two]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-h-"))
    made = Two(folder)
    try:
        made.make()
        yield made
    finally:
        for databases in made.databases.values():
            databases.close()
        for pid_file in folder.glob("**/postmaster.pid"):
            made.tool("pg_ctl", "stop", "-m", "immediate", "-D", str(pid_file.parent))
        shutil.rmtree(folder)


EXPECTED = (
    StrandedTable(table="acts.odd \"name's", only_here=1, differs=0),
    StrandedTable(table="acts.filed", only_here=1, differs=1),
    StrandedTable(table="acts.keyless", only_here=1, differs=0),
)


def evidence_of(two: Two, found: Stranded) -> dict[str, list[dict[str, object]]]:
    text = (two.folder / "state" / found.evidence).read_bytes()
    assert hashlib.sha256(text).hexdigest() == found.sha256
    told: dict[str, list[dict[str, object]]] = json.loads(text)
    return told


def test_a_returned_primary_is_listed_rewound_and_follows(two: Two) -> None:
    two.strand()
    old = two.copies.facts(HOMETAX, OLD)
    assert (old.present, old.running, old.standby, old.clean) == (True, False, False, False)

    before = {path: path.stat().st_mtime_ns for path in two.data(OLD).rglob("*") if path.is_file()}
    found = two.copies.list_stranded(HOMETAX, OLD, NEW, RUN)
    assert {path: path.stat().st_mtime_ns for path in two.data(OLD).rglob("*") if path.is_file()} == before
    assert (found.timeline, found.transactions) == (1, 4)
    assert sorted(found.tables, key=str) == sorted(EXPECTED, key=str)
    rows = {(row["table"], row["verdict"], json.dumps(row["row"])) for row in evidence_of(two, found)["rows"]}
    filed = [json.loads(row) | {"verdict": verdict} for table, verdict, row in rows if table == "acts.filed"]
    assert sorted((row["id"], row["content"], row["verdict"]) for row in filed) == [
        (7, "changed there", "differs"),
        (100, "행정 100", "only here"),
    ]
    assert two.copies.stranded_listed(HOMETAX, RUN) == found
    assert two.copies.list_stranded(HOMETAX, OLD, NEW, RUN) == found
    assert not (two.folder / OLD / ".old" / "hometax").exists()

    assert two.copies.rewind(HOMETAX, OLD, NEW, RUN) == "pg_rewind"
    assert two.copies.facts(HOMETAX, OLD).rewound_by == RUN
    two.copies.follow(HOMETAX, OLD, NEW)
    two.copies.start(HOMETAX, OLD)
    two.wait_for_streaming(NEW, OLD)
    two.copies.forget(HOMETAX, OLD, NEW)
    assert two.slots(OLD) == []
    assert two.read(OLD, "select id from acts.filed where id >= 100 order by id") == [(101,), (200,)]
    two.databases[NEW].set_synchronous(HOMETAX, f"FIRST 1 ({OLD})")
    two.write(NEW, "insert into acts.filed (id, content) values (201, 'both')")
    assert lsn(two.databases[OLD].replayed_lsn(HOMETAX)) > 0
    two.wait_for(OLD, "select content from acts.filed where id = 201", [("both",)])


def test_two_servers_exchange_their_roles_without_a_rewind(two: Two) -> None:
    two.copies.stop(HOMETAX, OLD)
    two.copies.stop(HOMETAX, OLD)  # again: it does not run
    old = two.copies.facts(HOMETAX, OLD)
    assert (old.running, old.clean) == (False, True)
    until(lambda: lsn(two.databases[NEW].replayed_lsn(HOMETAX)) > lsn(old.checkpoint_lsn), "drained")
    two.databases[NEW].set_synchronous(HOMETAX, f"FIRST 1 ({OLD})")
    two.promote(NEW)
    two.copies.follow(HOMETAX, OLD, NEW)
    two.copies.start(HOMETAX, OLD)
    two.copies.start(HOMETAX, OLD)  # again: it runs
    two.wait_for_streaming(NEW, OLD)
    two.write(NEW, "insert into acts.filed (id, content) values (300, 'waited for the other side')")
    assert two.databases[NEW].synchronous_standby_names(HOMETAX) == f"FIRST 1 ({OLD})"
    two.wait_for(OLD, "select count(*) from acts.filed", [(51,)])
    assert two.copies.list_stranded(HOMETAX, OLD, NEW, RUN).timeline == 0  # it is a copy: nothing can be stranded


def test_a_server_that_became_a_standby_keeps_no_wal_for_the_receiver_and_the_jobs_that_read_from_it(two: Two) -> None:
    slots = (receiver_slot(NEW), "ncia_job_backup_x2", "somebody_elses")
    for slot in slots:
        two.write(OLD, f"select pg_create_physical_replication_slot('{slot}', true)")
    two.copies.stop(HOMETAX, OLD)
    old = two.copies.facts(HOMETAX, OLD)
    until(lambda: lsn(two.databases[NEW].replayed_lsn(HOMETAX)) > lsn(old.checkpoint_lsn), "drained")
    two.promote(NEW)
    two.copies.follow(HOMETAX, OLD, NEW)
    two.copies.start(HOMETAX, OLD)
    two.wait_for_streaming(NEW, OLD)
    assert two.copies.slots_left(HOMETAX, OLD, NEW) == (NEW, receiver_slot(NEW), slots[1])
    with two.reading(OLD, receiver_slot(NEW)):  # a receiver that has not heard yet that its term is over
        assert two.copies.forget(HOMETAX, OLD, NEW) == (receiver_slot(NEW),)
        assert two.copies.slots_left(HOMETAX, OLD, NEW) == (receiver_slot(NEW),)
    until(lambda: not two.read(OLD, "select 1 from pg_replication_slots where active"), "it left")
    assert two.copies.forget(HOMETAX, OLD, NEW) == ()
    assert two.copies.slots_left(HOMETAX, OLD, NEW) == ()
    assert two.slots(OLD) == [("somebody_elses",)]  # not ours to drop
    assert two.slots(NEW) == [(OLD,)]  # and what is read stays


def test_a_rewind_that_was_interrupted_copies_everything_anew(two: Two) -> None:
    two.strand()
    (two.folder / OLD / "hometax.rewinding").touch()
    assert two.copies.facts(HOMETAX, OLD).rewound_by == ""
    assert two.copies.rewind(HOMETAX, OLD, NEW, RUN) == "pg_basebackup (a rewind was interrupted)"
    assert two.copies.facts(HOMETAX, OLD).rewound_by == RUN
    two.copies.follow(HOMETAX, OLD, NEW)
    two.copies.start(HOMETAX, OLD)
    two.wait_for_streaming(NEW, OLD)


def test_the_files_of_a_running_server_are_not_compared(two: Two) -> None:
    with pytest.raises(NciaError, match="its files do not stand still"):
        two.copies.list_stranded(HOMETAX, OLD, NEW, RUN)
