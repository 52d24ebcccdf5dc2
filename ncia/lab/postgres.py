"""A system's PostgreSQL: a primary made at its home, a streaming copy of it at the other site."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import PostgresCopy, Replication, System
from ncia.lab import proc, processes, segments
from ncia.lab.layout import Layout
from ncia.lab.namespaces import as_database_user, nice
from ncia.lab.processes import POLL_SECONDS, Spec
from recovery.receiving.term import HANDED
from recovery.sync import standby_names

NICE = 10
WAIT_SECONDS_MAX = 30.0
TOOL_SECONDS_MAX = 60.0
READY_LINE = 7  # of postmaster.pid, counted from 0 (PostgreSQL: pidfile.h)
READY = ("ready", "standby")

# The same at both sites and in every copy of the cluster; what differs stands in ../<system>.conf, outside the data
# directory, so that neither a base backup nor a rewind ever carries one site's address to the other.
CONFIGURATION = """
# --- the lab's own ---
listen_addresses = ''  # a copy restored elsewhere listens nowhere until told
unix_socket_directories = ''
max_connections = 40
shared_buffers = 8MB
dynamic_shared_memory_type = mmap  # leaves nothing behind in /dev/shm when killed
io_method = sync
autovacuum_max_workers = 1
autovacuum_naptime = 1min
wal_level = replica
wal_log_hints = on
summarize_wal = on
max_wal_senders = 8
max_replication_slots = 8
min_wal_size = 4MB
max_wal_size = 64MB
wal_keep_size = 32MB
max_slot_wal_keep_size = 1GB  # a keeper of WAL that stays away must not fill the primary's disk
checkpoint_timeout = 5min
bgwriter_delay = 1s
wal_writer_delay = 200ms
hot_standby = on
hot_standby_feedback = off
wal_receiver_status_interval = 1s
wal_sender_timeout = 10s
wal_receiver_timeout = 10s
wal_retrieve_retry_interval = 500ms
tcp_keepalives_idle = 5
tcp_keepalives_interval = 2
tcp_keepalives_count = 3
password_encryption = scram-sha-256
log_timezone = 'UTC'
timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
log_checkpoints = off
log_min_messages = warning
jit = off
include_if_exists = '../{system}.conf'
"""
ACCESS = """\
# The socket lies in a folder that only its owner may enter.
local all         all       trust
local replication all       trust
host  all         all 0.0.0.0/0 scram-sha-256
host  replication all 0.0.0.0/0 scram-sha-256
"""

ROLES = """
create role app login password {app};
create role replicator login replication password {replicator};
create role ncia_watch login password {ncia_watch} in role pg_monitor;
create role ncia_backup login replication password {ncia_backup} in role pg_read_all_data, pg_maintain;
create role ncia_recover login password {ncia_recover} in role pg_monitor, pg_checkpoint;
grant alter system on parameter synchronous_standby_names to ncia_recover;
grant alter system on parameter primary_conninfo to ncia_recover;
grant alter system on parameter primary_slot_name to ncia_recover;
create database {database} owner app;
"""
# Functions belong to a database of their own: granted where the platform connects.
DATABASE = """
grant execute on function pg_promote(boolean, integer) to ncia_recover;
grant execute on function pg_reload_conf() to ncia_recover;
grant execute on function pg_ls_dir(text, boolean, boolean), pg_stat_file(text, boolean), pg_read_binary_file(text),
    pg_read_binary_file(text, bigint, bigint, boolean) to ncia_recover;
create schema ncia authorization ncia_watch;
grant usage on schema ncia to app, ncia_recover, ncia_backup;
create table ncia.canary (id int primary key, written_at timestamptz not null, epoch bigint not null)
    with (fillfactor = 10);
alter table ncia.canary owner to ncia_watch;
insert into ncia.canary values (1, clock_timestamp(), 1);
create function ncia.sync_partner(out state text, out age_seconds float8) returns record
    language sql stable security definer set search_path = pg_catalog
    as $$ select r.state, extract(epoch from clock_timestamp() - r.reply_time)::float8
          from (select 1) one
          left join pg_stat_replication r on r.sync_state in ('sync', 'quorum')
          order by r.reply_time desc nulls last limit 1 $$;
revoke execute on function ncia.sync_partner() from public;
grant execute on function ncia.sync_partner() to app, ncia_watch, ncia_recover;
"""


@dataclass(frozen=True)
class Cluster:
    """One copy of a system's rows as the lab handles it."""

    layout: Layout
    estate: Estate
    system: System
    copy: PostgresCopy

    @property
    def name(self) -> str:
        return f"postgres/{self.system.id}"

    @property
    def folder(self) -> Path:
        return self.layout.postgres(self.copy)

    @property
    def sockets(self) -> Path:
        """The bootstrap socket's folder, outside the data directory: its lock file must not get into a copy."""
        return self.layout.site(self.copy.site) / "run" / "pg" / self.system.id

    @property
    def peer(self) -> Cluster:
        other = self.system.postgres.copies[self.estate.peer_of(self.copy.site)]
        return Cluster(self.layout, self.estate, self.system, other)

    @property
    def synchronous(self) -> bool:
        return self.system.postgres.replication is Replication.SYNCHRONOUS

    def spec(self) -> Spec:
        server = str(self.layout.tools(self.copy.site) / "postgres")
        command = nice(NICE, as_database_user([server, "-D", str(self.folder)]))
        log = self.layout.site(self.copy.site) / "log" / f"postgres-{self.system.id}.out"
        # The postmaster changes into its data directory: that is where all its processes are found.
        return Spec(self.copy.site, self.name, tuple(command), self.folder, log)

    def tool(self, name: str, *arguments: str) -> None:
        """Run one of PostgreSQL's tools at this site, as its database user."""
        site = self.layout.site(self.copy.site)
        program = str(self.layout.tools(self.copy.site) / name)
        done = subprocess.run(
            as_database_user([program, *arguments]),
            cwd=site,
            env=processes.environment({"HOME": str(site), "PGPASSFILE": str(site / "secrets" / "pgpass")}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TOOL_SECONDS_MAX,
        )
        if done.returncode != 0:
            raise NciaError(
                "lab.postgresql", f"run {name} for {self.system.id} at {self.copy.site}", done.stderr.strip()
            )

    # --- birth ---------------------------------------------------------------------------------------------------

    def create(self, passwords: Mapping[str, str]) -> processes.Started:
        """A new cluster with its roles, its empty database and the platform's own schema; it is left running."""
        options = ("-N", "-k", "--no-locale", "--encoding=UTF8", "--wal-segsize=1", "--no-instructions")
        self.tool("initdb", *options, "--username=postgres", "--auth=trust", f"--pgdata={self.folder}")
        with (self.folder / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION.format(system=self.system.id))
        (self.folder / "pg_hba.conf").write_text(ACCESS)
        self.write_own_settings()
        started = self.start()
        database = self.system.postgres.database
        words = {role: sql.Literal(password) for role, password in passwords.items()}
        with self.connect("postgres") as connection:
            for statement in statements(ROLES):
                composed = sql.SQL(statement).format(**words, database=sql.Identifier(database))
                connection.execute(composed)
        with self.connect(database) as connection:
            connection.execute(DATABASE.encode())
        return started

    def write_own_settings(self) -> None:
        """What is true of this copy alone."""
        own = self.folder.parent / f"{self.system.id}.conf"
        server = self.copy.server
        self.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        told = {"listen_addresses": server.host, "unix_socket_directories": str(self.sockets)}
        # What a recovery run hands over; in normal times nothing is there, and a copy streams.
        handed = self.layout.site(self.copy.site) / "pg" / self.copy.receiver_directory / HANDED
        told["restore_command"] = f'test -f "{handed}/%f" && cp "{handed}/%f" "%p"'
        own.write_text("".join(f"{name} = '{value}'\n" for name, value in told.items()) + f"port = {server.port}\n")

    def copy_from_peer(self) -> processes.Started:
        """Become a streaming copy of the peer's cluster, by a base backup through the WAN and with a slot there."""
        primary, site = self.peer, self.copy.site
        seen = self.estate.seen(primary.copy.server, primary.copy.site, site)
        with primary.connect("postgres") as connection:
            connection.execute("select pg_create_physical_replication_slot(%s, true)", (site,))
        source = f"host={seen.host} port={seen.port} user=replicator application_name={site}"
        options = ("--wal-method=stream", f"--slot={site}", "--checkpoint=fast", "--no-sync", "--no-password")
        self.tool("pg_basebackup", f"--pgdata={self.folder}", f"--dbname={source}", *options)
        passfile = self.layout.secrets(site) / "pgpass"
        with (self.folder / "postgresql.auto.conf").open("a") as file:
            file.write(f"primary_conninfo = '{source} passfile={passfile}'\nprimary_slot_name = '{site}'\n")
        (self.folder / "standby.signal").touch(mode=0o600)
        self.write_own_settings()
        return self.start()

    def make_synchronous(self, standby: SiteId) -> None:
        """From now on a commit is acknowledged only once site ``standby`` keeps it: its copy, or its receiver. The copy
        must be streaming."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self.connect("postgres") as connection:
            while not connection.execute(
                "select 1 from pg_stat_replication where application_name = %s and state = 'streaming'", (standby,)
            ).fetchone():
                if time.monotonic() > deadline:
                    why = f"{standby} does not stream from {self.copy.site}"
                    raise NciaError("lab.no-streaming", f"make {self.system.id} synchronous", why)
                time.sleep(POLL_SECONDS)
            names = sql.Literal(standby_names(standby))
            connection.execute(sql.SQL("alter system set synchronous_standby_names = {}").format(names))
            connection.execute("select pg_reload_conf()")

    # --- running -------------------------------------------------------------------------------------------------

    def start(self) -> processes.Started:
        """Start the server and wait until it serves or stands by."""
        if not self.running:
            # A stale one would look ready, and a process that has its number by now would look like its postmaster.
            segments.remove_leaked(segments.read_pid_file(self.folder))
            (self.folder / segments.POSTMASTER_PID).unlink(missing_ok=True)
        started = processes.start(self.spec())
        self.wait(started)
        return started

    @property
    def running(self) -> bool:
        return self.postmaster() is not None

    def postmaster(self) -> int | None:
        """The number of the living postmaster, whoever started it."""
        members = {one.pid: one for one in proc.below(self.folder) if one.name == processes.POSTGRES}
        return next((pid for pid, one in members.items() if one.parent not in members), None)

    def wait(self, started: processes.Started) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.told_state() in READY:
                return
            if not started.alive:
                why = processes.last_words(self.spec().log)
                raise NciaError("lab.postgresql", f"start {self.name} at {self.copy.site}", why)
            time.sleep(POLL_SECONDS)
        raise NciaError("lab.postgresql", f"start {self.name} at {self.copy.site}", "it does not become ready")

    def told_state(self) -> str:
        try:
            lines = (self.folder / segments.POSTMASTER_PID).read_text().splitlines()
        except OSError:
            return ""
        return lines[READY_LINE].strip() if len(lines) > READY_LINE else ""

    def connect(self, database: str) -> psycopg.Connection:
        """Over the bootstrap socket, as the local superuser."""
        return psycopg.connect(
            host=str(self.sockets), port=self.copy.server.port, user="postgres", dbname=database, autocommit=True
        )


def statements(script: str) -> Sequence[str]:
    """CREATE DATABASE wants to be alone: one statement each. (No statement here holds a semicolon within.)"""
    return [statement for statement in (part.strip() for part in script.split(";")) if statement]


def home(layout: Layout, estate: Estate, system: System) -> Cluster:
    return Cluster(layout, estate, system, system.postgres.copies[system.home])
