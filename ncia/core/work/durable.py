"""Steps that are recorded, on DBOS Transact: each attempt at a job is one workflow, ``<job>~<fence>``.

DBOS keeps what each step answered. Who takes a job over begins a workflow of its own, which is given what the workflows
of the lower fences recorded; theirs are cancelled, so that a frozen executor which wakes writes into its own and stops.
DBOS is one per process, started at the first job and ended when there was none for a while: at rest it costs nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import structlog

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.work.jobs import Cancelled, Fenced, Job, Json, StepFailed, Work, refuse_cancelled
from ncia.core.work.rows import JobRows

PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.1, 5.0  # while the queue's database does not answer
ERROR_CHARACTERS_MAX = 1000

T = TypeVar("T")
_log = structlog.get_logger()


class DurableEngine:
    """Carries out works whose steps are recorded in the queue's own database. One per process."""

    def __init__(self, rows: JobRows, executor: str) -> None:
        self._rows = rows
        self._executor = executor
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._at_work: dict[str, tuple[Job, Work]] = {}
        self._workflow: Callable[[str, Mapping[str, Json]], Mapping[str, str]] | None = None

    def run(self, job: Job, work: Work) -> str:
        """Carry ``work`` out under the job's fence, from the first step that no attempt before has recorded; answers
        its sentence. Raises what :data:`~ncia.core.work.jobs.Work` raises."""
        workflow = self._launched()
        key = _key(job.id, job.fence)
        self._at_work[key] = (job, work)
        try:
            from dbos import SetWorkflowID, error

            inherited = self._inherited(job)
            with SetWorkflowID(key):
                told = workflow(key, inherited)
        except (
            error.DBOSAwaitedWorkflowCancelledError,  # what DBOS makes of the two others: it looks for an outcome first
            error.DBOSWorkflowCancelledError,
            error.DBOSWorkflowConflictIDError,
        ) as stopped:
            self._rows.check(job.id, job.fence)  # the reason, in our words: another executor has it
            raise StepFailed(f"its attempt {key} was ended from outside: {stopped}") from stopped
        finally:
            del self._at_work[key]
        return _outcome(told)

    def rest(self) -> None:
        """End DBOS while nothing is at work; the next job starts it again."""
        with self._lock:
            if self._workflow is not None and not self._at_work:
                self._end()

    def forget(self, jobs: Iterable[Job]) -> None:
        """Delete what was recorded of ended jobs."""
        keys = [_key(job.id, fence) for job in jobs for fence in range(1, job.fence + 1)]
        if keys:
            self._launched()
            from dbos import DBOS

            DBOS.delete_workflows(keys)

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            if self._workflow is not None:
                self._end()

    def _launched(self) -> Callable[[str, Mapping[str, Json]], Mapping[str, str]]:
        with self._lock:
            if self._workflow is None:
                from ncia.core.work import dbos_process

                self._workflow = dbos_process.launch(self._rows.engine.url, self._executor, self._carry_out)
            return self._workflow

    def _end(self) -> None:
        from ncia.core.work import dbos_process

        dbos_process.end()
        self._workflow = None

    def _inherited(self, job: Job) -> dict[str, Json]:
        """What the attempts under lower fences recorded, by step; where two recorded one, the later attempt's word."""
        from dbos import DBOS

        found: dict[str, Json] = {}
        for fence in range(1, job.fence):
            key = _key(job.id, fence)
            DBOS.cancel_workflow(key)
            for step in DBOS.list_workflow_steps(key):
                if step["output"] is not None:
                    found[step["function_name"]] = step["output"]
        return found

    def _carry_out(self, key: str, inherited: Mapping[str, Json]) -> Mapping[str, str]:
        """The workflow. Its ends are told as values: what DBOS keeps is JSON, and nothing of ours is unpickled."""
        job, work = self._at_work[key]
        try:
            return {"succeeded": work(job, RecordedSteps(job, self._rows, inherited, self._closing))}
        except StepFailed as failure:
            return {"failed": str(failure)}
        except (Fenced, Cancelled) as refusal:
            return {type(refusal).__name__.lower(): refusal.what, "why": refusal.why, "hint": refusal.hint}


@dataclass(frozen=True)
class RecordedSteps:
    """:class:`~ncia.core.work.jobs.Steps` that DBOS records."""

    job: Job
    rows: JobRows
    inherited: Mapping[str, Json]
    closing: threading.Event

    def do(self, name: str, act: Callable[[], Json]) -> Json:
        return self._do(name, act, heed_cancel=True)

    def clean(self, name: str, act: Callable[[], Json]) -> Json:
        return self._do(name, act, heed_cancel=False)

    def _do(self, name: str, act: Callable[[], Json], *, heed_cancel: bool) -> Json:
        outcome = self.inherited.get(name)
        if outcome is None:
            now = patiently(lambda: self.rows.check(self.job.id, self.job.fence), self.closing)
            if heed_cancel:
                refuse_cancelled(now)
            from dbos import DBOS

            outcome = DBOS.run_step({"name": name}, lambda: told(self.job, name, act))
        if "failed" in outcome:
            raise StepFailed(outcome["failed"])
        return outcome["done"]


def told(job: Job, step: str, act: Callable[[], Json]) -> dict[str, Json]:
    """What came of a step, as it is recorded. This is the job driver: whatever goes wrong in a job is caught here."""
    try:
        return {"done": act()}
    except Fenced:
        raise  # another executor has the job: nothing of ours is recorded
    except NciaError as error:
        return {"failed": str(error)[:ERROR_CHARACTERS_MAX]}
    except Exception as error:
        _log.exception("jobs.step-broken", job=job.id, step=step)
        return {"failed": f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]}


def patiently(act: Callable[[], T], closing: threading.Event) -> T:
    """``act``'s answer, asked for until the queue's database answers or this process ends."""
    pause = PAUSE_SECONDS_MIN
    while True:
        try:
            return act()
        except Unreachable as error:
            if closing.wait(pause):
                raise
            _log.warning("jobs.store-silent", why=str(error))
            pause = min(PAUSE_SECONDS_MAX, 2 * pause)


def _outcome(told: Mapping[str, str]) -> str:
    if "succeeded" in told:
        return told["succeeded"]
    if "failed" in told:
        raise StepFailed(told["failed"])
    if "fenced" in told:
        raise Fenced("jobs.fenced", told["fenced"], told["why"], told["hint"])
    raise Cancelled("jobs.cancelled", told["cancelled"], told["why"], told["hint"])


def _key(job: str, fence: int) -> str:
    return f"{job}~{fence}"
