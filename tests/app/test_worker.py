"""``ncia worker`` as a process of its own, on a site's settings and a queue in a real PostgreSQL."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ncia.cli import processes
from ncia.core.base.errors import NciaError
from ncia.core.work.executor import JobQueue
from ncia.core.work.rows import JobRows
from ncia.lab import ground
from ncia.lab.layout import Layout
from tests.core.journal.conftest import postgresql
from tests.core.work.conftest import fresh_postgresql
from tests.fakes.jobs import order

__all__ = ["fresh_postgresql", "postgresql"]


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """The settings of one site, with estate and secrets; nothing of it runs."""
    ground.make(Layout(tmp_path / "lab"), ground.reference_estate())
    return tmp_path / "lab" / "gwangju" / "site.yaml"


def test_a_worker_takes_jobs_from_the_queue_and_ends_when_told(
    settings: Path, fresh_postgresql: Callable[[], str]
) -> None:
    url = fresh_postgresql()
    told = yaml.safe_load(settings.read_text(encoding="utf-8"))
    settings.write_text(yaml.safe_dump({**told, "jobs_url": url}), encoding="utf-8")
    rows = JobRows(url)
    queue = JobQueue(rows)
    queue.enqueue(order(verb="dance"))
    worker = subprocess.Popen([sys.executable, "-m", "ncia", "worker", "--settings", str(settings)])
    try:
        ended = queue.wait("backup-1", 60)
        assert (ended.state, ended.sentence) == ("failed", "this executor knows no work called 'dance'")
        assert list(rows.executors()) == [ended.executor]
        assert ended.executor.startswith("gwangju-")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
        assert rows.executors() == {}
    finally:
        worker.kill()
        worker.wait()
        rows.close()


def test_a_worker_for_a_queue_that_the_controller_works_on_is_refused(settings: Path) -> None:
    result = CliRunner().invoke(processes.app, ["worker", "--settings", str(settings)])
    assert isinstance(result.exception, NciaError)
    assert str(result.exception).startswith(
        "work at gwangju: its queue is a file on which the controller works itself (try: jobs_url: postgresql://"
    )
