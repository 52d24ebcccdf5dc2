"""Who carries jobs out: begins what may be begun, takes over what dead executors left, ends what it began.

And the queue as the rest of the process sees it. One executor per process; with a queue on SQLite the only one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Protocol

import structlog

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.work.durable import patiently
from ncia.core.work.heartbeat import Watched
from ncia.core.work.jobs import Cancelled, Fenced, Job, JobId, JobState, Limits, Order, StepFailed, Work
from ncia.core.work.rows import JobRows

BEAT_SECONDS = 1.0
DEAD_SECONDS = 10.0
ALONE_SECONDS = 30.0  # a lone executor is told of each order, and looks by itself only to be sure
REST_AFTER_SECONDS = 10.0  # starting the engine again takes a hundredth of what its threads' polls cost in that time
REST_EVERY_SECONDS = 60.0  # while nothing is at work, what was recorded of old jobs is forgotten so often
WAIT_POLL_SECONDS = 0.25

_log = structlog.get_logger()


class Engine(Protocol):
    """Carries a job's work out with its steps recorded (``ncia.core.work.durable``)."""

    def run(self, job: Job, work: Work) -> str: ...

    def rest(self) -> None: ...

    def forget(self, jobs: Iterable[Job]) -> None: ...

    def close(self) -> None: ...


class JobQueue:
    """:class:`ncia.core.work.jobs.Jobs` on the queue's tables."""

    def __init__(self, rows: JobRows) -> None:
        self._rows = rows
        self._changed = threading.Condition()
        self._ordered: Callable[[], None] | None = None

    def on_order(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` after each order: this process carries jobs out itself."""
        self._ordered = wake

    def enqueue(self, order: Order) -> Job:
        job = self._rows.enqueue(order)
        if self._ordered is not None:
            self._ordered()
        return job

    def get(self, job: JobId) -> Job | None:
        return self._rows.get(job)

    def list(self) -> tuple[Job, ...]:
        return self._rows.list()

    def open(self) -> tuple[Job, ...]:
        return self._rows.open()

    def cancel(self, job: JobId, by: str) -> Job:
        cancelled = self._rows.cancel(job, by)
        self.changed()
        return cancelled

    def check(self, job: JobId, fence: int) -> None:
        self._rows.check(job, fence)

    def wait(self, job: JobId, seconds: float | None = None) -> Job:
        until = None if seconds is None else time.monotonic() + seconds
        with self._changed:
            while True:
                known = self._rows.known(job)
                if known.ended:
                    return known
                if until is not None and time.monotonic() >= until:
                    raise TimeoutError(f"job {job} has not ended within {seconds:g} s: {known.state}")
                self._changed.wait(WAIT_POLL_SECONDS)

    def changed(self) -> None:
        """Wake those who wait in this process."""
        with self._changed:
            self._changed.notify_all()


class Executor:
    """Carries out the queue's jobs in this process until it is stopped.

    ``name`` is unique among all executors that ever were. ``works`` by verb. ``pace``: seconds between two beats, and
    of silence after which an executor counts as dead.
    """

    def __init__(
        self,
        name: str,
        rows: JobRows,
        queue: JobQueue,
        engine: Engine,
        works: Mapping[str, Work],
        limits: Limits,
        pace: tuple[float, float] = (BEAT_SECONDS, DEAD_SECONDS),
        rest_after_seconds: float = REST_AFTER_SECONDS,
    ) -> None:
        self.name = name
        self._rows, self._queue, self._engine = rows, queue, engine
        self._works, self._limits = works, limits
        self._beat_seconds = pace[0]
        self._watched = Watched(*pace)
        self._pool = ThreadPoolExecutor(limits.per_executor, thread_name_prefix="jobs")
        self._at_work: dict[JobId, Future[None]] = {}
        self._lock = threading.Lock()
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._rest_after_seconds = rest_after_seconds
        self._rest_at = time.monotonic() + rest_after_seconds
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)

    def start(self) -> None:
        self._queue.on_order(self._wake.set)
        self._thread.start()

    def stop(self, seconds: float) -> bool:
        """Begin nothing more, give what is at work a while to end, and leave the rest to others; True where all
        had ended."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            ends = list(self._at_work.values())
        cut_off = wait(ends, timeout=seconds).not_done
        if cut_off:
            _log.warning("jobs.cut-off", jobs=len(cut_off))
        self._engine.close()
        if not self._rows.alone:
            self._quietly("leave", lambda: self._rows.leave([self.name]))
        return not cut_off

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._quietly("look", self._look)
            self._wake.wait(self._pause_seconds())

    def _pause_seconds(self) -> float:
        """Until the next look, or until the engine may rest where that comes first."""
        longest = ALONE_SECONDS if self._rows.alone else self._beat_seconds
        with self._lock:
            return longest if self._at_work else min(longest, max(self._beat_seconds, self._rest_at - time.monotonic()))

    def _look(self) -> None:
        alive = self._alive()
        for job in self._rows.take_over(self.name, alive, self._free()):
            _log.warning("jobs.taken-over", job=job.id, fence=job.fence)
            self._submit(job)
        for job in self._rows.begin(self.name, self._limits, self._free()):
            self._submit(job)
        if not self._at_work and time.monotonic() >= self._rest_at:
            self._rest_at = time.monotonic() + REST_EVERY_SECONDS
            self._engine.forget(self._rows.forget())
            self._engine.rest()

    def _alive(self) -> Collection[str]:
        if self._rows.alone:
            return (self.name,)
        beats = self._rows.beat(self.name)
        dead = self._watched.look(beats, time.monotonic()) - {self.name}
        if dead:
            _log.warning("jobs.executors-dead", executors=sorted(dead))
            self._rows.leave(dead)
        return beats.keys() - dead

    def _free(self) -> int:
        with self._lock:
            return self._limits.per_executor - len(self._at_work)

    def _submit(self, job: Job) -> None:
        with self._lock:
            self._at_work[job.id] = self._pool.submit(self._drive, job)

    def _drive(self, job: Job) -> None:
        try:
            state, sentence = self._carried_out(job)
            patiently(lambda: self._rows.end(job.id, job.fence, state, sentence), self._stopping)
            _log.info("jobs.ended", **{**job.to_json(), "state": state, "sentence": sentence})
        except Fenced as refusal:
            _log.warning("jobs.fenced", job=job.id, fence=job.fence, why=str(refusal))
        except NciaError as error:
            _log.warning("jobs.left", job=job.id, why=str(error))
        finally:
            with self._lock:
                self._rest_at = time.monotonic() + self._rest_after_seconds
                self._at_work.pop(job.id, None)
            self._queue.changed()
            self._wake.set()

    def _carried_out(self, job: Job) -> tuple[JobState, str]:
        work = self._works.get(job.order.verb)
        if work is None:
            return "failed", f"this executor knows no work called {job.order.verb!r}"
        try:
            return "succeeded", self._engine.run(job, work)
        except StepFailed as failure:
            return "failed", str(failure)
        except Cancelled as refusal:
            return "cancelled", refusal.why
        except (Fenced, Unreachable):
            raise
        except Exception as error:  # the job driver: a fault in a work's own code ends that job and no other
            if self._stopping.is_set():
                raise Unreachable("jobs.cut-off", f"end {job.id} here", f"this executor stops: {error}") from error
            _log.exception("jobs.work-broken", job=job.id)
            return "failed", f"{type(error).__name__}: {error}"

    def _quietly(self, act: str, effect: Callable[[], object]) -> None:
        """What fails for want of the database now is tried again at the next look."""
        try:
            effect()
        except NciaError as error:
            _log.warning("jobs.not-done", act=act, why=str(error))
