from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ncia.lab.apps.definitions import DEFINITIONS
from ncia.lab.apps.seeding import seed_into
from tests.lab_apps.postgres import Cluster, start_cluster
from tests.lab_apps.world import Running, World


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """One cluster for all tests of the room, every system seeded."""
    started = start_cluster()
    try:
        for system in DEFINITIONS:
            started.make_database(system)
            with started.connect(system, "app") as connection:
                connection.autocommit = False
                assert seed_into(connection, system)
        yield started
    finally:
        started.stop()


@pytest.fixture(params=list(DEFINITIONS))
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connection(cluster: Cluster, system: str) -> Iterator[psycopg.Connection]:
    with cluster.connect(system, "app") as opened:
        opened.autocommit = False
        yield opened


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    started = Running()
    yield started
    started.stop()


@pytest.fixture
def world(cluster: Cluster, running: Running, tmp_path: Path) -> Iterator[World]:
    """A site without a service yet; a test serves what it needs."""
    made = World(cluster, tmp_path, running)
    yield made
    made.close()


@pytest.fixture(scope="session")
def site(cluster: Cluster, running: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site with all eleven systems serving."""
    made = World(cluster, tmp_path_factory.mktemp("site"), running)
    for name in DEFINITIONS:
        made.serve(name)
    yield made
    made.close()
