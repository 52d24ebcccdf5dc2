"""The queue's tables under several executors at once, and when their database is out of reach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.work.jobs import Fenced, Limits
from ncia.core.work.rows import JobRows
from tests.fakes.jobs import order

EXECUTORS = [f"executor-{number}" for number in range(4)]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.db"
    made: Callable[[], str] = request.getfixturevalue("fresh_postgresql")
    return made()


@pytest.fixture
def rows(url: str) -> Iterator[list[JobRows]]:
    """The queue as each of four executors holds it open."""
    opened = [JobRows(url) for _ in EXECUTORS]
    if opened[0].alone:
        opened[0].open()  # a new file is made by one process, for it has one; a server's tables by all at once
    yield opened
    for each in opened:
        each.close()


def at_once(rows: list[JobRows], act: Callable[[JobRows, str], int]) -> list[int]:
    with ThreadPoolExecutor(len(EXECUTORS)) as pool:
        return list(pool.map(act, rows, EXECUTORS))


def test_executors_that_begin_at_once_break_no_limit_and_share_no_job(rows: list[JobRows]) -> None:
    at_once(rows, lambda each, name: len(each.open()))
    for number in range(8):
        rows[0].enqueue(order(f"backup-{number}", f"{number}/rows", link="a-b"))
    began = at_once(rows, lambda each, name: len(each.begin(name, Limits(per_link=3, per_host=9), 8)))
    assert sum(began) == 3
    assert [job.fence for job in rows[0].open() if job.state == "running"] == [1, 1, 1]


def test_a_dead_executors_job_is_taken_over_by_one(rows: list[JobRows]) -> None:
    rows[0].enqueue(order())
    rows[0].begin("dead", Limits(), 1)
    took = at_once(rows, lambda each, name: len(each.take_over(name, EXECUTORS, 2)))
    assert sum(took) == 1
    assert rows[0].get("backup-1").fence == 2


def test_orders_for_one_dataset_at_once_are_one_job(rows: list[JobRows]) -> None:
    names = at_once(rows, lambda each, name: each.enqueue(order(f"backup-{name}")).id)
    assert len(set(names)) == 1
    assert len(rows[0].list()) == 1


def test_who_was_replaced_does_not_say_how_a_job_ended(rows: list[JobRows]) -> None:
    rows[0].enqueue(order())
    rows[0].begin("one", Limits(), 1)
    rows[1].take_over("two", ["two"], 1)
    with pytest.raises(Fenced, match="two took it over under fence 2"):
        rows[0].end("backup-1", 1, "failed", "no")
    rows[1].end("backup-1", 2, "succeeded", "well")
    assert rows[0].get("backup-1").sentence == "well"


def test_ended_jobs_are_bounded_and_open_ones_stay(rows: list[JobRows]) -> None:
    for number in range(5):
        rows[0].enqueue(order(f"backup-{number}"))
        if number:
            rows[0].cancel(f"backup-{number}", "kim")
        else:
            rows[0].begin("one", Limits(), 1)
            rows[0].end("backup-0", 1, "succeeded", "well")
    rows[0].enqueue(order("backup-open"))
    assert [job.id for job in rows[0].forget(2)] == ["backup-2", "backup-1", "backup-0"]
    assert [job.id for job in rows[0].list()] == ["backup-3", "backup-4", "backup-open"]


def test_a_queue_out_of_reach_is_an_answer_to_who_asks_and_no_reason_not_to_start(tmp_path: Path) -> None:
    rows = JobRows("postgresql://postgres@/jobs?host=/nowhere")
    with pytest.raises(Unreachable, match="order a job in the queue of jobs in postgresql"):
        rows.enqueue(order())
    rows.close()


def test_an_unknown_job_is_named(rows: list[JobRows]) -> None:
    with pytest.raises(NciaError, match="find job backup-9"):
        rows[0].check("backup-9", 1)
