"""Real processes that are killed and frozen in the middle of a job, and who takes it over."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ncia.core.work.executor import JobQueue
from ncia.core.work.rows import JobRows
from tests.fakes.jobs import order

SECONDS_MAX = 60.0
BEAT, DEAD = "0.2", "2.0"


class Process:
    """A module of the tests in a process of its own, and what it has said so far; killed where it has not ended."""

    def __init__(self, module: str, *arguments: str) -> None:
        command = [sys.executable, "-m", module, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: list[str] = []
        self.hear("started")

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def hear(self, words: str) -> str:
        """Read on until a line holds ``words``; pytest's own time-out ends what never comes."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line.strip())
            if words in line:
                return line
        raise AssertionError(f"it ended without saying {words!r}: {self.said}")

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    @property
    def acts(self) -> list[str]:
        return [line.removeprefix("act ") for line in self.said if line.startswith("act ")]


def executor(url: str, name: str) -> Process:
    return Process("tests.core.work.executor_process", url, name, BEAT, DEAD)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    made: Callable[[], str] = request.getfixturevalue("fresh_postgresql")
    return made()


@pytest.fixture
def queue(url: str) -> Iterator[JobQueue]:
    rows = JobRows(url)
    yield JobQueue(rows)
    rows.close()


def test_a_job_whose_process_is_killed_goes_on_at_the_first_step_that_was_not_recorded(
    url: str, queue: JobQueue
) -> None:
    queue.enqueue(order())
    with executor(url, "first") as killed:
        killed.hear("act second")
        killed.process.kill()
        killed.process.wait(SECONDS_MAX)
    assert queue.get("backup-1").state == "running"
    with executor(url, "restarted") as restarted:
        ended = queue.wait("backup-1", SECONDS_MAX)
        restarted.hear("jobs.ended")
    assert killed.acts == ["first 1", "second 1"]
    assert restarted.acts == ["second 2", "third 2"]
    assert (ended.state, ended.sentence) == ("succeeded", "first by 1, second by 2, third by 2")


def test_a_frozen_executor_loses_its_job_to_one_other_and_does_not_act_when_it_wakes(
    fresh_postgresql: Callable[[], str],
) -> None:
    url = fresh_postgresql()
    with ExitStack() as closing:
        rows = JobRows(url)
        closing.callback(rows.close)
        queue = JobQueue(rows)
        queue.enqueue(order())
        frozen = closing.enter_context(executor(url, "frozen"))
        frozen.hear("act second")
        others = [closing.enter_context(executor(url, name)) for name in ("east", "west")]
        frozen.process.send_signal(signal.SIGSTOP)
        ended = queue.wait("backup-1", SECONDS_MAX)
        assert (ended.state, ended.fence) == ("succeeded", 2)
        assert ended.sentence == "first by 1, second by 2, third by 2"
        frozen.process.send_signal(signal.SIGCONT)
        frozen.go_on()
        told = frozen.hear("jobs.fenced")
        for each in (frozen, *others):
            each.process.terminate()
            each.hear("stopped True")
    assert frozen.acts == ["first 1", "second 1"]
    assert "go on with backup-1 under fence 1: it has ended: succeeded" in told
    assert sorted(act for each in others for act in each.acts) == ["second 2", "third 2"]
    assert [each.acts for each in others].count([]) == 1


def test_an_executor_that_stops_is_no_longer_counted_among_the_living(fresh_postgresql: Callable[[], str]) -> None:
    url = fresh_postgresql()
    with ExitStack() as closing:
        rows = JobRows(url)
        closing.callback(rows.close)
        leaving = closing.enter_context(executor(url, "leaving"))
        leaving.process.terminate()
        leaving.hear("stopped True")
        assert rows.executors() == {}
