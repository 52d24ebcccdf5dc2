"""Jobs that end: what is ordered, what became of it, and what the code that carries it out is given.

The calendar says *when*, this port sees to it that a job *ends*, the journal says *what happened*. A job's work is a
function of recorded steps: after a crash, or on another executor, it is called again and goes on at the first step
whose outcome was not recorded. A step may therefore be done twice, and each is written so that this is well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from ncia.core.base.errors import NciaError, Refusal

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
JobId = str
Json = Any
"""Whatever JSON can hold: what a step answers is recorded, and read back after a crash."""


@dataclass(frozen=True)
class Order:
    """Work asked for. The ``id`` is chosen by who asks: the same id is the same job, however often it is asked for.

    ``priority``: the system's grade, 1 first. ``link`` and ``hosts``: what it loads, and so what limits it (an empty
    link: none). ``details``: what the work's own code needs to know. ``lane``: jobs that change nothing of the dataset
    have one of their own, and stand in nobody's way.
    """

    id: JobId
    verb: str
    dataset: str
    priority: int
    by: str
    due_at: str
    link: str = ""
    hosts: tuple[str, ...] = ()
    details: Mapping[str, Json] = field(default_factory=dict)
    lane: str = ""

    @property
    def holds(self) -> str:
        """What no two open jobs may hold at once."""
        return f"{self.dataset} {self.lane}".rstrip()


@dataclass(frozen=True)
class Job:
    """An order and what became of it. ``fence`` rises each time that another executor takes the job over."""

    order: Order
    state: JobState = "queued"
    sentence: str = ""
    executor: str = ""
    fence: int = 0
    cancelled_by: str = ""

    @property
    def id(self) -> JobId:
        return self.order.id

    @property
    def ended(self) -> bool:
        return self.state not in ("queued", "running")

    def to_json(self) -> dict[str, Any]:
        """As the API tells it."""
        order = self.order
        told = {"job": order.id, "dataset": order.dataset, "verb": order.verb, "by": order.by}
        return {**told, "state": self.state, "sentence": self.sentence, "executor": self.executor}


@dataclass(frozen=True)
class Limits:
    """How many jobs may run at once: in one executor; over all executors, on one link and on one host."""

    per_executor: int = 2
    per_link: int = 2
    per_host: int = 2


class Fenced(Refusal):
    """This executor's number for the job is old: another one has taken it over, and this one must not act."""


class Cancelled(Refusal):
    """Somebody has asked for the job's end."""


class StepFailed(NciaError):
    """A step of a job failed, now or before a crash; its words are the sentence that was recorded."""

    def __init__(self, sentence: str) -> None:
        super().__init__("jobs.step-failed", "carry out a step of a job", sentence)

    def __str__(self) -> str:
        return self.why


class Steps(Protocol):
    """What a job's work is given to act with."""

    @property
    def job(self) -> Job:
        """The job as it was begun here. Its ``fence`` is part of each name that two executors must not share."""
        ...

    def do(self, name: str, act: Callable[[], Json]) -> Json:
        """Do ``act`` once and record what it answers; answer what was recorded where that has been done before.

        Names are unique in a job. Raises :class:`Fenced` or :class:`Cancelled` before acting, and :class:`StepFailed`
        where ``act`` raised.
        """
        ...

    def clean(self, name: str, act: Callable[[], Json]) -> Json:
        """The same for what must also be done of a job that was cancelled: it gives back what the job holds."""
        ...


Work = Callable[[Job, Steps], str]
"""Carries out jobs of one verb; answers the sentence of its success, raises :class:`StepFailed` otherwise.

It does nothing outside of steps, and calls the same steps in the same order when it is called again."""


class Jobs(Protocol):
    """The site's queue of jobs, as those see it who order and watch. Safe to use from many threads."""

    def enqueue(self, order: Order) -> Job:
        """Have it done. Answers the job of that id where it is known, whatever became of it; else the dataset's open
        job, for no dataset has two in one lane; else a new one."""
        ...

    def get(self, job: JobId) -> Job | None: ...

    def list(self) -> tuple[Job, ...]:
        """Every open job and the newest ended ones, in the order in which they were asked for."""
        ...

    def open(self) -> tuple[Job, ...]:
        """The jobs that are queued or running."""
        ...

    def cancel(self, job: JobId, by: str) -> Job:
        """End it: at once where it is queued, before its next step where it runs. One that has ended stays as it is.
        Raises :class:`NciaError` for an unknown one."""
        ...

    def wait(self, job: JobId, seconds: float | None = None) -> Job:
        """The job once it has ended; raises ``TimeoutError`` where it has not within ``seconds``."""
        ...

    def check(self, job: JobId, fence: int) -> None:
        """Raise :class:`Fenced` unless ``fence`` is the number under which the job runs now."""
        ...


def admissible(known: Sequence[Job], limits: Limits, slots: int) -> tuple[Job, ...]:
    """Which queued jobs an executor with so many free ``slots`` may begin: the highest grade first, in the order asked.

    One that a limit holds back holds back nobody behind it who needs neither its link nor its hosts.
    """
    links: dict[str, int] = {}
    hosts: dict[str, int] = {}
    busy: set[str] = set()
    for job in (job for job in known if job.state == "running"):
        _count(job.order, links, hosts)
        busy.add(job.order.holds)
    chosen: list[Job] = []
    for job in sorted((job for job in known if job.state == "queued"), key=lambda job: job.order.priority):
        order = job.order
        if len(chosen) >= slots:
            break
        full = bool(order.link) and links.get(order.link, 0) >= limits.per_link
        full = full or any(hosts.get(host, 0) >= limits.per_host for host in order.hosts)
        if full or order.holds in busy:
            continue
        _count(order, links, hosts)
        busy.add(order.holds)
        chosen.append(job)
    return tuple(chosen)


def judged(job: Job, fence: int) -> None:
    """Raise where an executor that holds ``fence`` must not act on ``job`` as it stands now."""
    if job.state == "running" and job.fence == fence:
        return
    what = f"go on with {job.id} under fence {fence}"
    if job.ended:
        raise Fenced("jobs.fenced", what, f"it has ended: {job.state}", "nothing: it is over")
    why = f"{job.executor or 'nobody'} took it over under fence {job.fence}"
    raise Fenced("jobs.fenced", what, why, "nothing: who took it over ends it")


def refuse_cancelled(job: Job) -> None:
    if job.cancelled_by:
        why = f"{job.cancelled_by} has cancelled it"
        raise Cancelled("jobs.cancelled", f"go on with {job.id}", why, "ask for it again")


def no_such_job(job: JobId) -> NciaError:
    return NciaError("jobs.no-such-job", f"find job {job}", "no such job is known here", "ncia backup list")


def begun(job: Job, executor: str) -> Job:
    """The job as ``executor`` begins it or takes it over: under a number that nobody had before."""
    return replace(job, state="running", executor=executor, fence=job.fence + 1)


def _count(order: Order, links: dict[str, int], hosts: dict[str, int]) -> None:
    links[order.link] = links.get(order.link, 0) + 1
    for host in order.hosts:
        hosts[host] = hosts.get(host, 0) + 1
