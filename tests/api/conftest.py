from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from tests.api.world import World


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    """One event loop for all requests; a thread and a loop for each of two thousand cost more than the answers."""
    with start_blocking_portal() as running:
        yield running


@pytest.fixture
def world(tmp_path: Path, portal: BlockingPortal) -> Iterator[World]:
    made = World(tmp_path, portal=portal)
    yield made
    made.journal.close()
