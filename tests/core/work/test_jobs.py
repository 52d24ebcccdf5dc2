"""The contract of the queue of jobs: on the fake, on DBOS with SQLite, on DBOS with a real PostgreSQL."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

import pytest

from ncia.core.base.errors import NciaError
from ncia.core.work.durable import DurableEngine
from ncia.core.work.executor import Executor, JobQueue
from ncia.core.work.jobs import Cancelled, Fenced, Job, Jobs, Limits, StepFailed, Steps, Work
from ncia.core.work.rows import JobRows
from tests.fakes.jobs import FakeJobs, order

SECONDS_MAX = 30.0
PACE = (0.05, 0.5)
TWO = Limits(2, 2, 2)
_names = itertools.count()


class Bench(Protocol):
    """A queue and the executor of one process."""

    jobs: Jobs

    def start(self, works: Mapping[str, Work], limits: Limits = TWO) -> None:
        """Carry jobs out from now on."""

    def replaced(self) -> None:
        """Another executor takes the place of this one, which does not notice, as after a freeze."""

    def close(self) -> None: ...


class FakeBench:
    def __init__(self) -> None:
        self.jobs = self._fake = FakeJobs()

    def start(self, works: Mapping[str, Work], limits: Limits = TWO) -> None:
        self._given = (works, limits)
        self._fake.start(works, limits)

    def replaced(self) -> None:
        self._fake.freeze()
        self._fake.start(*self._given)

    def close(self) -> None:
        self._fake.close()


class DurableBench:
    def __init__(self, url: str) -> None:
        self.rows = JobRows(url)
        self.jobs = JobQueue(self.rows)
        self._executors: list[Executor] = []

    def start(self, works: Mapping[str, Work], limits: Limits = TWO) -> None:
        self._given = (works, limits)
        name = f"executor-{next(_names)}"
        executor = Executor(name, self.rows, self.jobs, DurableEngine(self.rows, name), works, limits, PACE)
        executor.start()
        self._executors.append(executor)

    def replaced(self) -> None:
        self._executors[-1].stop(0)
        self.start(*self._given)

    def close(self) -> None:
        for executor in self._executors:
            executor.stop(SECONDS_MAX)
        self.rows.close()


@pytest.fixture(params=["fake", "dbos on sqlite", "dbos on postgresql"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made: Bench
    if request.param == "fake":
        made = FakeBench()
    elif request.param == "dbos on sqlite":
        made = DurableBench(f"sqlite:///{tmp_path}/jobs.db")
    else:
        made = DurableBench(request.getfixturevalue("fresh_postgresql")())
    yield made
    made.close()


def saying(sentence: str) -> Work:
    return lambda job, steps: str(steps.do("say", lambda: sentence))


class Gate:
    """A work that waits within its step until it is let on; tells who is inside, and the most that ever were."""

    def __init__(self) -> None:
        self.entered: list[str] = []
        self.most = 0
        self._inside: set[str] = set()
        self._open: set[str] = set()
        self._lock = threading.Condition()

    def __call__(self, job: Job, steps: Steps) -> str:
        steps.do("wait", lambda: self._wait(job.id))
        return "through"

    def _wait(self, job: str) -> None:
        with self._lock:
            self.entered.append(job)
            self._inside.add(job)
            self.most = max(self.most, len(self._inside))
            self._lock.notify_all()
            assert self._lock.wait_for(lambda: job in self._open, SECONDS_MAX)
            self._inside.discard(job)

    def let(self, *jobs: str) -> None:
        with self._lock:
            self._open |= set(jobs)
            self._lock.notify_all()

    def await_inside(self, *jobs: str) -> None:
        with self._lock:
            assert self._lock.wait_for(lambda: set(jobs) <= self._inside, SECONDS_MAX), (jobs, self.entered)


def test_a_job_is_carried_out_and_its_sentence_kept(bench: Bench) -> None:
    bench.start({"protect": saying("well")})
    asked = bench.jobs.enqueue(order())
    ended = bench.jobs.wait(asked.id, SECONDS_MAX)
    assert (ended.state, ended.sentence, ended.order) == ("succeeded", "well", order())
    assert bench.jobs.open() == ()
    assert [job.id for job in bench.jobs.list()] == ["backup-1"]


def test_the_same_id_is_the_same_job_also_after_it_has_ended(bench: Bench) -> None:
    done: list[str] = []
    bench.start({"protect": lambda job, steps: str(steps.do("note", lambda: done.append(job.id)))})
    bench.jobs.wait(bench.jobs.enqueue(order()).id, SECONDS_MAX)
    assert bench.jobs.enqueue(order()).state == "succeeded"
    assert done == ["backup-1"]


def test_a_dataset_has_one_open_job(bench: Bench) -> None:
    gate = Gate()
    bench.start({"protect": gate})
    bench.jobs.enqueue(order("backup-1"))
    assert bench.jobs.enqueue(order("backup-2")).id == "backup-1"
    gate.await_inside("backup-1")
    assert bench.jobs.enqueue(order("backup-3")).id == "backup-1"
    gate.let("backup-1", "backup-4")
    bench.jobs.wait("backup-1", SECONDS_MAX)
    assert bench.jobs.enqueue(order("backup-4")).id == "backup-4"
    assert bench.jobs.wait("backup-4", SECONDS_MAX).state == "succeeded"
    assert bench.jobs.get("backup-2") is None


def test_a_job_that_only_reads_has_a_lane_of_its_own(bench: Bench) -> None:
    gate = Gate()
    bench.start({"protect": gate, "verify": gate})
    bench.jobs.enqueue(order("backup-1"))
    assert bench.jobs.enqueue(order("verify-1", verb="verify", lane="verify")).id == "verify-1"
    assert bench.jobs.enqueue(order("verify-2", verb="verify", lane="verify")).id == "verify-1"
    gate.await_inside("backup-1", "verify-1")
    gate.let("backup-1", "verify-1")
    assert {bench.jobs.wait(name, SECONDS_MAX).state for name in ("backup-1", "verify-1")} == {"succeeded"}


@pytest.mark.parametrize("limit", ["per_executor", "per_link", "per_host"])
def test_no_more_run_at_once_than_each_limit_allows(bench: Bench, limit: str) -> None:
    gate = Gate()
    limits = Limits(**{"per_executor": 4, "per_link": 4, "per_host": 4, limit: 2})
    names = [f"backup-{number}" for number in range(5)]
    for name in names:
        bench.jobs.enqueue(order(name, f"{name}/rows", link="east-west", hosts=("store", "east-db")))
    bench.start({"protect": gate}, limits)
    gate.await_inside("backup-0", "backup-1")
    for before, after in itertools.pairwise(names[1:]):
        gate.let(names[names.index(before) - 1])
        gate.await_inside(before, after)
    gate.let(*names)
    assert {bench.jobs.wait(name, SECONDS_MAX).state for name in names} == {"succeeded"}
    assert gate.most == 2


def test_a_full_link_holds_nobody_back_who_does_not_need_it(bench: Bench) -> None:
    gate = Gate()
    bench.start({"protect": gate}, Limits(per_executor=4, per_link=1))
    bench.jobs.enqueue(order("backup-1", "a/rows", link="east-west"))
    bench.jobs.enqueue(order("backup-2", "b/rows", link="east-west"))
    bench.jobs.enqueue(order("backup-3", "c/rows"))
    gate.await_inside("backup-1", "backup-3")
    assert gate.entered == ["backup-1", "backup-3"] or set(gate.entered) == {"backup-1", "backup-3"}
    gate.let("backup-1", "backup-2", "backup-3")
    assert bench.jobs.wait("backup-2", SECONDS_MAX).state == "succeeded"


def test_the_highest_grade_goes_first_and_within_it_who_asked_first(bench: Bench) -> None:
    for name, grade in (("general", 4), ("second", 2), ("first", 1), ("also-first", 1)):
        bench.jobs.enqueue(order(f"backup-{name}", f"{name}/rows", priority=grade))
    went: list[str] = []
    bench.start({"protect": lambda job, steps: str(steps.do("go", lambda: went.append(job.id)))}, Limits(1))
    for job in bench.jobs.list():
        bench.jobs.wait(job.id, SECONDS_MAX)
    assert went == ["backup-first", "backup-also-first", "backup-second", "backup-general"]


def raising(error: Exception) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (NciaError("store.full", "keep the copy", "no space", "buy disks"), "keep the copy: no space (try: buy disks)"),
        (RuntimeError("disk on fire"), "RuntimeError: disk on fire"),
    ],
)
def test_a_failing_step_fails_its_job_in_its_own_words_and_no_other(
    bench: Bench, error: Exception, sentence: str
) -> None:
    bench.start({"protect": lambda job, steps: steps.do("act", raising(error)), "prove": saying("well")})
    bench.jobs.enqueue(order("backup-1"))
    bench.jobs.enqueue(order("proof-2", "other/rows", verb="prove"))
    ended = bench.jobs.wait("backup-1", SECONDS_MAX)
    assert (ended.state, ended.sentence) == ("failed", sentence)
    assert bench.jobs.wait("proof-2", SECONDS_MAX).state == "succeeded"


def test_a_verb_that_nobody_knows_fails_in_one_sentence(bench: Bench) -> None:
    bench.start({})
    bench.jobs.enqueue(order(verb="dance"))
    assert bench.jobs.wait("backup-1", SECONDS_MAX).sentence == "this executor knows no work called 'dance'"


def test_a_cancelled_job_in_the_queue_is_never_begun(bench: Bench) -> None:
    gate = Gate()
    bench.jobs.enqueue(order("backup-1"))
    assert bench.jobs.cancel("backup-1", "lee").sentence == "cancelled by lee"
    bench.jobs.enqueue(order("backup-2"))
    bench.start({"protect": gate})
    gate.let("backup-2")
    bench.jobs.wait("backup-2", SECONDS_MAX)
    assert gate.entered == ["backup-2"]
    assert bench.jobs.cancel("backup-2", "lee").state == "succeeded"


def test_a_running_job_that_is_cancelled_acts_no_more_and_gives_back_what_it_holds(bench: Bench) -> None:
    gate, acts = Gate(), list[str]()

    def work(job: Job, steps: Steps) -> str:
        gate(job, steps)
        try:
            steps.do("act", lambda: acts.append("acted"))
        except Cancelled:
            steps.clean("give back", lambda: acts.append("gave back"))
            raise
        return "well"

    bench.start({"protect": work})
    bench.jobs.enqueue(order())
    gate.await_inside("backup-1")
    assert bench.jobs.cancel("backup-1", "lee").state == "running"
    gate.let("backup-1")
    ended = bench.jobs.wait("backup-1", SECONDS_MAX)
    assert (ended.state, ended.sentence) == ("cancelled", "lee has cancelled it")
    assert acts == ["gave back"]


def test_an_unknown_job_is_named(bench: Bench) -> None:
    assert bench.jobs.get("backup-9") is None
    with pytest.raises(NciaError, match="find job backup-9: no such job"):
        bench.jobs.cancel("backup-9", "lee")
    with pytest.raises(NciaError, match="find job backup-9: no such job"):
        bench.jobs.wait("backup-9", 1)


def test_waiting_has_an_end(bench: Bench) -> None:
    bench.jobs.enqueue(order())
    with pytest.raises(TimeoutError):
        bench.jobs.wait("backup-1", 0.01)


def test_who_takes_over_goes_on_at_the_first_step_that_is_not_recorded_and_the_first_one_acts_no_more(
    bench: Bench,
) -> None:
    done: list[tuple[str, int]] = []
    inside, go_on, over = threading.Event(), threading.Event(), threading.Event()

    def second(fence: int) -> str:
        done.append(("second", fence))
        if fence == 1:
            inside.set()
            assert go_on.wait(SECONDS_MAX)  # frozen in the middle of its step
        return f"by {fence}"

    def work(job: Job, steps: Steps) -> str:
        fence = steps.job.fence
        first = steps.do("first", lambda: done.append(("first", fence)) or f"by {fence}")
        try:
            middle = steps.do("second", lambda: second(fence))
            steps.do("third", lambda: done.append(("third", fence)))
        finally:
            if fence == 1:
                over.set()
        return f"first {first}, second {middle}"

    bench.start({"protect": work})
    bench.jobs.enqueue(order())
    assert inside.wait(SECONDS_MAX)
    bench.replaced()
    ended = bench.jobs.wait("backup-1", SECONDS_MAX)
    assert (ended.state, ended.fence, ended.sentence) == ("succeeded", 2, "first by 1, second by 2")
    go_on.set()
    assert over.wait(SECONDS_MAX)
    assert done == [("first", 1), ("second", 1), ("second", 2), ("third", 2)]
    assert bench.jobs.get("backup-1") == ended


def test_only_the_number_under_which_a_job_runs_may_act(bench: Bench) -> None:
    gate = Gate()
    bench.start({"protect": gate})
    bench.jobs.enqueue(order())
    gate.await_inside("backup-1")
    bench.jobs.check("backup-1", 1)
    with pytest.raises(Fenced, match="go on with backup-1 under fence 7"):
        bench.jobs.check("backup-1", 7)
    gate.let("backup-1")
    bench.jobs.wait("backup-1", SECONDS_MAX)
    with pytest.raises(Fenced, match="it has ended: succeeded"):
        bench.jobs.check("backup-1", 1)


def test_a_step_that_failed_before_the_crash_has_failed(bench: Bench) -> None:
    gate, tries = Gate(), list[int]()

    def failing(fence: int) -> None:
        tries.append(fence)
        raise RuntimeError("no")

    def work(job: Job, steps: Steps) -> str:
        try:
            steps.do("fail", lambda: failing(steps.job.fence))
        except StepFailed as failure:
            steps.clean("tidy", lambda: gate._wait(f"{job.id} {steps.job.fence}"))
            raise failure
        return "never"

    bench.start({"protect": work})
    bench.jobs.enqueue(order())
    gate.await_inside("backup-1 1")
    bench.replaced()
    gate.let("backup-1 1", "backup-1 2")
    assert bench.jobs.wait("backup-1", SECONDS_MAX).sentence == "RuntimeError: no"
    assert tries == [1]
