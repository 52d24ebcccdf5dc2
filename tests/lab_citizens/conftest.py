from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab_apps.postgres import Cluster, start_cluster
from tests.lab_apps.world import Running


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    started = Running()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    started = start_cluster()
    yield started
    started.stop()
