"""The real thing: a primary whose commits wait for a streaming copy, killed; the copy promoted by our own role."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address
from ncia.lab.postgres import DATABASE, ROLES, statements
from recovery.actions.postgresql import PostgresDatabases
from tests.lab_apps.postgres import tools, unprivileged
from tests.ports import free_port
from tests.recovery.scene import SURVIVOR, estate

HOMETAX = SystemId("hometax")
PASSWORD = "not-a-secret"
QUIET = {"check": True, "stdout": subprocess.DEVNULL, "timeout": 60}
SETTINGS = """
shared_buffers = 8MB
dynamic_shared_memory_type = mmap  # nothing stays in /dev/shm when it is killed
max_connections = 20
fsync = off
unix_socket_directories = ''
listen_addresses = '127.0.0.1'
"""


@dataclass
class Pair:
    """A primary and its copy, both on 127.0.0.1."""

    folder: Path
    primary: int
    copy: int

    def connect(self, port: int, database: str = "hometax") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1", port=port, user="postgres", dbname=database, password=PASSWORD, autocommit=True
        )

    def run(self, tool: str, *arguments: str) -> None:
        subprocess.run(unprivileged([str(tools() / tool), *arguments]), **QUIET)

    def start(self, name: str) -> None:
        self.run("pg_ctl", "start", "-w", "-D", str(self.folder / name), "-l", str(self.folder / f"{name}.log"))

    def kill_primary(self) -> None:
        self.run("pg_ctl", "stop", "-D", str(self.folder / "primary"), "-m", "immediate")


@pytest.fixture
def pair() -> Iterator[Pair]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-recovery-"))
    found = Pair(folder, free_port(), free_port())
    (folder / "pw").write_text(PASSWORD)
    passfile = folder / "pgpass"
    passfile.write_text(f"*:*:*:*:{PASSWORD}\n")
    passfile.chmod(0o600)
    try:
        make_primary(found)
        make_copy(found)
        yield found
    finally:
        for name in ("primary", "copy"):
            command = [str(tools() / "pg_ctl"), "stop", "-D", str(folder / name), "-m", "immediate"]
            subprocess.run(unprivileged(command), capture_output=True, timeout=60)
        shutil.rmtree(folder, ignore_errors=True)


def make_primary(of: Pair) -> None:
    data = str(of.folder / "primary")
    options = ["-N", "--no-locale", "-E", "UTF8", "-U", "postgres", "-A", "scram-sha-256", "--wal-segsize=1"]
    of.run("initdb", *options, f"--pwfile={of.folder / 'pw'}", "-D", data)
    (of.folder / "primary" / "postgresql.conf").open("a").write(f"{SETTINGS}port={of.primary}\n")
    of.start("primary")
    roles = {role: sql.Literal(PASSWORD) for role in ("app", "replicator", "ncia_watch", "ncia_backup", "ncia_recover")}
    with of.connect(of.primary, "postgres") as connection:
        for statement in statements(ROLES):
            connection.execute(sql.SQL(statement).format(**roles, database=sql.Identifier("hometax")))
    with of.connect(of.primary) as connection:
        connection.execute(DATABASE)


def make_copy(of: Pair) -> None:
    data = of.folder / "copy"
    source = f"host=127.0.0.1 port={of.primary} user=replicator password={PASSWORD} application_name={SURVIVOR}"
    of.run("pg_basebackup", "-R", "-X", "stream", "-c", "fast", "-D", str(data), "-d", source)
    (data / "postgresql.conf").open("a").write(f"port={of.copy}\n")
    of.start("copy")
    with of.connect(of.primary) as connection:
        connection.execute(f"alter system set synchronous_standby_names = 'FIRST 1 ({SURVIVOR})'")
        connection.execute("select pg_reload_conf()")


def estate_of(pair: Pair) -> Estate:
    """The reference estate, hometax at its survivor being the copy."""
    found = estate()
    system = found.systems[HOMETAX]
    rows = system.postgres
    copies = {**rows.copies, SURVIVOR: replace(rows.copies[SURVIVOR], server=Address("127.0.0.1", pair.copy))}
    datasets = tuple(replace(d, copies=copies) if d is rows else d for d in system.datasets)
    return replace(found, systems={**found.systems, HOMETAX: replace(system, datasets=datasets)})


def wait(databases: PostgresDatabases) -> float:
    began = time.monotonic()
    while databases.in_recovery(HOMETAX):
        assert time.monotonic() - began < 20
    return time.monotonic() - began


def test_a_copy_is_looked_at_promoted_and_freed_of_its_lost_partner(pair: Pair) -> None:
    with pair.connect(pair.primary) as connection:
        connection.execute("update ncia.canary set written_at = clock_timestamp()")  # waits for the copy
        connection.execute("alter system set synchronous_standby_names = 'FIRST 1 (elsewhere)'")
    databases = PostgresDatabases(estate_of(pair), SURVIVOR, pair.folder / "pgpass")
    found = databases.replica(HOMETAX)
    assert found.in_recovery
    assert found.newest_canary_at is not None
    assert datetime.now(UTC) - found.newest_canary_at < timedelta(seconds=30)
    assert found.replayed_lsn

    pair.kill_primary()
    databases.promote(HOMETAX)
    wait(databases)
    databases.promote(HOMETAX)  # again: it is a primary already

    with pair.connect(pair.copy) as connection:
        connection.execute("alter system set synchronous_standby_names = 'FIRST 1 (elsewhere)'")
        connection.execute("select pg_reload_conf()")
    while databases.synchronous_standby_names(HOMETAX) == "":
        pass
    databases.clear_synchronous(HOMETAX)
    while databases.synchronous_standby_names(HOMETAX) != "":
        pass
    with pair.connect(pair.copy) as connection:
        connection.execute("set statement_timeout = 5000")
        connection.execute("update ncia.canary set epoch = 2")  # would wait for ever
    databases.close()


def test_a_server_that_is_not_there_is_unreachable_and_tells_no_password(pair: Pair) -> None:
    databases = PostgresDatabases(estate_of(pair), SURVIVOR, pair.folder / "pgpass")
    assert databases.in_recovery(HOMETAX)
    pair.run("pg_ctl", "stop", "-D", str(pair.folder / "copy"), "-m", "immediate")
    with pytest.raises(Unreachable) as caught:
        databases.in_recovery(HOMETAX)
    assert PASSWORD not in str(caught.value)
    pair.start("copy")
    assert databases.in_recovery(HOMETAX)  # the kept connection had died with it
    databases.close()


def test_a_canary_that_cannot_be_read_is_one_copy_s_trouble(pair: Pair) -> None:
    with pair.connect(pair.primary) as connection:
        connection.execute("alter table ncia.canary rename to another")
    databases = PostgresDatabases(estate_of(pair), SURVIVOR, pair.folder / "pgpass")
    with pytest.raises(Unreachable, match="canary"):
        databases.replica(HOMETAX)
    databases.close()


def test_what_the_role_may_not_do_is_told_as_a_failure_of_the_server(pair: Pair) -> None:
    with pair.connect(pair.primary) as connection:
        connection.execute("revoke execute on function pg_promote(boolean, integer) from ncia_recover, public")
    pair.kill_primary()
    databases = PostgresDatabases(estate_of(pair), SURVIVOR, pair.folder / "pgpass")
    with pytest.raises(NciaError, match="permission denied for function pg_promote"):
        databases.promote(HOMETAX)
    databases.close()
