"""A queue of jobs in memory with the promises of the real one: the contract suite of jobs holds it to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from ncia.core.work.durable import told
from ncia.core.work.jobs import (
    Cancelled,
    Fenced,
    Job,
    JobId,
    JobState,
    Limits,
    Order,
    StepFailed,
    Work,
    admissible,
    begun,
    judged,
    no_such_job,
    refuse_cancelled,
)


def order(job: JobId = "backup-1", dataset: str = "tax/rows", verb: str = "protect", **more: Any) -> Order:
    return Order(**{"id": job, "verb": verb, "dataset": dataset, "priority": 1, "by": "kim", "due_at": "", **more})


@dataclass
class MemorySteps:
    """Steps of one job, recorded in a dict: give the same dict again for what comes after a crash."""

    job: Job = field(default_factory=lambda: begun(Job(order()), "here"))
    recorded: dict[str, Any] = field(default_factory=dict)
    check: Callable[[], Job] | None = None

    def do(self, name: str, act: Callable[[], Any]) -> Any:
        return self._do(name, act, heed_cancel=True)

    def clean(self, name: str, act: Callable[[], Any]) -> Any:
        return self._do(name, act, heed_cancel=False)

    def _do(self, name: str, act: Callable[[], Any], *, heed_cancel: bool) -> Any:
        if name not in self.recorded:
            if self.check is not None:
                known = self.check()
                if heed_cancel:
                    refuse_cancelled(known)
            outcome = told(self.job, name, act)
            self.recorded[name] = outcome
        outcome = self.recorded[name]
        if "failed" in outcome:
            raise StepFailed(outcome["failed"])
        return outcome["done"]


class FakeJobs:
    """:class:`ncia.core.work.jobs.Jobs`, and the one executor that carries them out once :meth:`start` was called."""

    def __init__(self) -> None:
        self._lock = threading.Condition()
        self._known: dict[JobId, Job] = {}
        self._recorded: dict[JobId, dict[str, Any]] = {}
        self._works: Mapping[str, Work] = {}
        self._limits = Limits()
        self._pool: ThreadPoolExecutor | None = None
        self._life = 0

    def start(self, works: Mapping[str, Work], limits: Limits) -> None:
        """Begin, or begin anew after :meth:`freeze`: then what ran is taken over."""
        with self._lock:
            self._works, self._limits, self._life = works, limits, self._life + 1
            self._pool = ThreadPoolExecutor(limits.per_executor)
            for job in list(self._known.values()):
                if job.state == "running":
                    self._submit(begun(job, f"here-{self._life}"))
        self._look()

    def freeze(self) -> None:
        """Begin nothing more; what runs knows nothing of it."""
        with self._lock:
            self._pool = None

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def enqueue(self, order: Order) -> Job:
        with self._lock:
            open_one = next((job for job in self.open() if job.order.holds == order.holds), None)
            found = self._known.get(order.id) or open_one or self._known.setdefault(order.id, Job(order))
        self._look()
        return found

    def get(self, job: JobId) -> Job | None:
        return self._known.get(job)

    def list(self) -> tuple[Job, ...]:
        return tuple(self._known.values())

    def open(self) -> tuple[Job, ...]:
        with self._lock:
            return tuple(job for job in self._known.values() if not job.ended)

    def cancel(self, job: JobId, by: str) -> Job:
        with self._lock:
            known = self._of(job)
            if known.state == "queued":
                known = replace(known, state="cancelled", cancelled_by=by, sentence=f"cancelled by {by}")
            elif known.state == "running":
                known = replace(known, cancelled_by=by)
            self._known[job] = known
            self._lock.notify_all()
        return known

    def wait(self, job: JobId, seconds: float | None = None) -> Job:
        with self._lock:
            if not self._lock.wait_for(lambda: self._of(job).ended, seconds):
                raise TimeoutError(f"job {job} has not ended")
            return self._of(job)

    def check(self, job: JobId, fence: int) -> None:
        judged(self._of(job), fence)

    def _of(self, job: JobId) -> Job:
        if job not in self._known:
            raise no_such_job(job)
        return self._known[job]

    def _look(self) -> None:
        with self._lock:
            if self._pool is None:
                return
            running = sum(job.state == "running" for job in self._known.values())
            for job in admissible(self.open(), self._limits, self._limits.per_executor - running):
                self._submit(begun(job, f"here-{self._life}"))

    def _submit(self, job: Job) -> None:
        self._known[job.id] = job
        recorded = dict(self._recorded.get(job.id, {}))
        self._recorded[job.id] = recorded
        assert self._pool is not None
        self._pool.submit(self._drive, job, recorded)

    def _drive(self, job: Job, recorded: dict[str, Any]) -> None:
        def check() -> Job:
            judged(self._of(job.id), job.fence)
            return self._of(job.id)

        work = self._works.get(job.order.verb)
        try:
            if work is None:
                raise StepFailed(f"this executor knows no work called {job.order.verb!r}")
            self._end(job, "succeeded", work(job, MemorySteps(job, recorded, check)))
        except StepFailed as failure:
            self._end(job, "failed", str(failure))
        except Cancelled as refusal:
            self._end(job, "cancelled", refusal.why)
        except Fenced:
            return

    def _end(self, job: Job, state: JobState, sentence: str) -> None:
        with self._lock:
            judged(self._of(job.id), job.fence)
            self._known[job.id] = replace(self._of(job.id), state=state, sentence=sentence)
            self._lock.notify_all()
        self._look()
