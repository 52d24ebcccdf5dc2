"""One real cluster for each file of tests; a store and a journal for each test."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ncia.core.journal.entries import BackupFinished
from tests.backup.cluster import Cluster, tools_with_working_verify
from tests.backup.world import NOW, World


@pytest.fixture(scope="session")
def tools() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-tools-"))
    yield tools_with_working_verify(folder)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def cluster(tools: Path) -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-pg-"))  # short: a socket's path has 107 bytes
    running = Cluster(folder / "c", tools)
    yield running
    running.stop()
    shutil.rmtree(folder)


@pytest.fixture
def world(cluster: Cluster) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-store-"))
    here = World(cluster, folder)
    yield here
    here.close()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def kept(cluster: Cluster) -> Iterator[tuple[World, BackupFinished]]:
    """One point for the tests that take none of their own; those that damage it damage a copy."""
    folder = Path(tempfile.mkdtemp(prefix="ncia-store-"))
    here = World(cluster, folder)
    yield here, here.performer().back_up(here.charge, NOW, "backup-1")
    here.close()
    shutil.rmtree(folder)
