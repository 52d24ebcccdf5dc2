"""What an executor does beside carrying out: the crash windows between the queue and the recorded steps."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from ncia.core.work.durable import DurableEngine
from ncia.core.work.executor import Executor, JobQueue
from ncia.core.work.jobs import Job, Limits, Steps, Work
from ncia.core.work.rows import JobRows
from tests.fakes.jobs import order

SECONDS_MAX = 30.0  # as long as a lone executor waits between two looks by itself


@pytest.fixture
def rows(tmp_path: Path) -> Iterator[JobRows]:
    opened = JobRows(f"sqlite:///{tmp_path}/jobs.db")
    yield opened
    opened.close()


def executor_of(rows: JobRows, queue: JobQueue, *names: str) -> Executor:
    def work(job: Job, steps: Steps) -> str:
        return str(steps.do("say", lambda: f"under {job.fence}"))

    return Executor("here", rows, queue, DurableEngine(rows, "here"), dict.fromkeys(names, work), Limits())


def test_a_job_whose_executor_died_before_its_first_step_is_carried_out(rows: JobRows) -> None:
    queue = JobQueue(rows)
    queue.enqueue(order())
    rows.begin("dead", Limits(), 1)
    executor = executor_of(rows, queue, "protect")
    executor.start()
    ended = queue.wait("backup-1", SECONDS_MAX)
    executor.stop(SECONDS_MAX)
    assert (ended.state, ended.sentence) == ("succeeded", "under 2")


def test_a_job_that_was_lost_several_times_before_anything_was_recorded_is_carried_out(rows: JobRows) -> None:
    queue = JobQueue(rows)
    queue.enqueue(order())
    rows.begin("dead", Limits(), 1)
    for name in ("second", "third"):
        rows.take_over(name, [name], 1)
    executor = executor_of(rows, queue, "protect")
    executor.start()
    ended = queue.wait("backup-1", SECONDS_MAX)
    executor.stop(SECONDS_MAX)
    assert (ended.state, ended.sentence) == ("succeeded", "under 4")


def test_what_is_recorded_of_ended_jobs_is_forgotten_with_them(rows: JobRows) -> None:
    queue = JobQueue(rows)
    engine = DurableEngine(rows, "here")
    executor = Executor("here", rows, queue, engine, {"protect": lambda job, steps: "well"}, Limits())
    executor.start()
    for name in ("backup-1", "backup-2"):
        queue.wait(queue.enqueue(order(name)).id, SECONDS_MAX)
    engine.forget(rows.forget(1))
    kept = rows.engine.connect().exec_driver_sql("select workflow_uuid from workflow_status").scalars().all()
    executor.stop(SECONDS_MAX)
    assert kept == ["backup-2~1"]


def test_an_engine_that_rested_carries_out_again(rows: JobRows) -> None:
    queue, engine = JobQueue(rows), DurableEngine(rows, "here")
    executor = Executor("here", rows, queue, engine, {"protect": lambda job, steps: "well"}, Limits())
    executor.start()
    queue.wait(queue.enqueue(order("backup-1")).id, SECONDS_MAX)
    engine.rest()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("dbos")]
    assert queue.wait(queue.enqueue(order("backup-2")).id, SECONDS_MAX).sentence == "well"
    executor.stop(SECONDS_MAX)


class Remembering:
    """An engine that carries out at once, and says when it was told to rest."""

    def __init__(self) -> None:
        self.resting = threading.Event()

    def run(self, job: Job, work: Work) -> str:
        return "well"

    def rest(self) -> None:
        self.resting.set()

    def forget(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None: ...


def test_the_engine_of_a_lone_executor_rests_soon_after_the_last_job(rows: JobRows) -> None:
    queue, engine = JobQueue(rows), Remembering()
    executor = Executor(
        "here", rows, queue, engine, {"protect": lambda job, steps: "well"}, Limits(), rest_after_seconds=0.0
    )
    executor.start()
    engine.resting.wait(SECONDS_MAX)
    engine.resting.clear()
    queue.wait(queue.enqueue(order("backup-1")).id, SECONDS_MAX)
    assert engine.resting.wait(SECONDS_MAX / 2)  # sooner than it would look by itself
    executor.stop(SECONDS_MAX)
