"""Protecting as the calendar and people ask for it: one job a dataset at a time, a few jobs at once, all journalled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import structlog

from backup import plan
from backup.perform import BY, Performer
from backup.plan import Charge, Due
from backup.ports import Sources, Store
from backup.telling import listing
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import DatasetId, SiteId, SystemId, new_id
from ncia.core.estate.model import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries import BackupFailed, BackupFinished, BackupStarted, ProofFailed, ProofFinished
from ncia.core.state import StateStore
from ncia.core.work.ledger import overdue

TICKETS_KEPT_MAX = 200
CLOSE_SECONDS_MAX = 15.0
UNKNOWN = "outcome unknown: the controller restarted"

Verb = Literal["protect", "prove"]
"""``protect``: back up, then prove it. ``prove``: restore and compare the newest point again."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Ticket:
    """One piece of work as it was asked for. ``job`` is the id of its first journalled job."""

    job: str
    dataset: DatasetId
    verb: Verb
    by: str
    state: Literal["queued", "running", "succeeded", "failed"] = "queued"
    sentence: str = ""

    @property
    def ended(self) -> bool:
        return self.state in ("succeeded", "failed")

    def to_json(self) -> dict[str, Any]:
        return {
            "job": self.job,
            "dataset": self.dataset,
            "verb": self.verb,
            "by": self.by,
            "state": self.state,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class Parts:
    """What a task is made of. ``active`` answers at which site each system is active now."""

    estate: Estate
    site: SiteId
    journal: Journal
    states: StateStore
    sources: Sources
    store: Store
    clock: Clock
    active: Callable[[], Mapping[SystemId, SiteId]] = field(default=dict)


class BackupTask:
    """Everything that one site's controller does to protect the datasets that are active at the other site."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._performer = Performer(parts.journal, parts.sources, parts.store, parts.clock)
        self._since = parts.clock.now()
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self._told_unknown = self._swept = False
        self._running = 0
        self._tickets: dict[str, Ticket] = {}
        self._at_work: dict[DatasetId, tuple[str, Future[None]]] = {}
        self._pool = ThreadPoolExecutor(parts.estate.settings.jobs_at_once, thread_name_prefix="backup")

    def recover(self) -> None:
        """Before this controller's first job: say of unfinished jobs that their outcome is unknown, and clear what
        they left. Done once; tried again later where the store did not answer."""
        with self._starting:
            if not self._told_unknown:
                self._tell_unknown()
                self._told_unknown = True
            if self._swept or self._running:
                return
            try:
                removed = self._parts.store.sweep()
            except NciaError as error:
                _log.warning("backup.not-swept", why=str(error))
            else:
                self._swept = True
                _log.info("backup.swept", removed=list(removed))

    def _tell_unknown(self) -> None:
        for job in plan.open_jobs(self._parts.states.snapshot(), self._parts.site):
            begun = job.started
            if isinstance(begun, BackupStarted):
                self._parts.journal.append(BackupFailed(job=job.id, dataset=begun.dataset, error=UNKNOWN), by=BY)
            else:
                failed = ProofFailed(job=job.id, point=begun.point, dataset=begun.dataset, error=UNKNOWN)
                self._parts.journal.append(failed, by=BY)

    def tick(self, now: datetime) -> None:
        """Ask for what is due, and write down what was missed."""
        self.recover()
        state = self._parts.states.snapshot()
        found = self.charges()
        idle = [charge for charge in found if charge.dataset.id not in self._at_work]
        missed = overdue([plan.expected(charge, state, self._since) for charge in idle], state.missed, now, self._since)
        self._parts.journal.append_all(missed, by=BY)
        for each in self.due(now):
            self._ask(each.charge, "protect", BY, each.due_at)

    def charges(self) -> tuple[Charge, ...]:
        return plan.charges(self._parts.estate, self._parts.site, self._parts.active())

    def due(self, now: datetime) -> tuple[Due, ...]:
        """What is due now and not already asked for."""
        found = plan.due(self.charges(), self._parts.states.snapshot(), self._since, now)
        return tuple(each for each in found if each.charge.dataset.id not in self._at_work)

    def ask(self, verb: Verb, dataset: str | None, by: str) -> tuple[Ticket, ...]:
        """Have the work done for one dataset or for all of this site's; work of the same kind already asked for
        is answered instead of begun twice. Raises :class:`Refusal` for one dataset that other work keeps busy."""
        wanted = [self._charge(dataset)] if dataset is not None else list(self.charges())
        now = self._parts.clock.now()
        asked = [self._ask(charge, verb, by, now) for charge in wanted]
        if dataset is not None and asked[0].verb not in (verb, "protect"):
            why = f"job {asked[0].job} ({asked[0].verb}) works on it"
            raise Refusal("backup.busy", f"{verb} {dataset}", why, "ask again when it has ended")
        return tuple(asked)

    def protect_all(self, by: str = BY) -> tuple[Ticket, ...]:
        """Back up and prove everything that this site protects; answers when all has ended."""
        asked = self.ask("protect", None, by)
        for ticket in asked:
            self.wait(ticket.job)
        return tuple(self.ticket(ticket.job) for ticket in asked)

    def wait(self, job: str, seconds: float | None = None) -> Ticket:
        with self._lock:
            ends = [end for name, end in self._at_work.values() if name == job]
        for end in ends:
            end.result(seconds)
        return self.ticket(job)

    def ticket(self, job: str) -> Ticket:
        return self._tickets[job]

    def run(self, charge: Charge, due_at: datetime, job: str, by: str = BY) -> BackupFinished:
        """Back up now, in this thread; then let go of points that newer, proven ones have made needless."""
        return self._performer.back_up(charge, due_at, job, by)

    def prove(self, charge: Charge, job: str, by: str = BY) -> ProofFinished:
        """Prove the dataset's newest point now, in this thread."""
        points = self._parts.states.snapshot().points.get(charge.dataset.id, ())
        point = plan.provable(points, charge.store_site)
        if point is None:
            why = "no recovery point that could be compared"
            raise NciaError("proof.no-point", f"prove {charge.dataset.id}", why, f"ncia backup run {charge.dataset.id}")
        return self._performer.prove(point.backup, charge.dataset.database, job, by)

    def to_json(self) -> dict[str, Any]:
        """Points, proofs, missed runs and jobs, as the API tells them."""
        with self._lock:
            tickets = [ticket.to_json() for ticket in self._tickets.values()]
        told = listing(self._parts.estate, self._parts.states.snapshot(), self.charges(), self._since)
        return {"site": self._parts.site, **told, "jobs": tickets}

    def close(self, seconds: float = CLOSE_SECONDS_MAX) -> None:
        """Begin no other job; give those at work a while to end. What is cut off later is told at the next start."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            ends = [end for _, end in self._at_work.values()]
        running = wait(ends, timeout=seconds).not_done
        if running:
            _log.warning("backup.jobs-cut-off", jobs=len(running))

    def _charge(self, dataset: str) -> Charge:
        known = {charge.dataset.id: charge for charge in self.charges()}
        try:
            return known[DatasetId(dataset)]
        except KeyError:
            what, names = f"protect {dataset!r} from {self._parts.site}", ", ".join(sorted(known)) or "none"
            if DatasetId(dataset) not in self._parts.estate.datasets:
                raise NciaError("backup.no-such-dataset", what, "not in the estate", names) from None
            why = f"{self._parts.site} protects what is active at the other site"
            raise Refusal("backup.not-ours", what, why, f"ask the other site's controller; here: {names}") from None

    def _ask(self, charge: Charge, verb: Verb, by: str, due_at: datetime) -> Ticket:
        """The ticket of the dataset's work: the one at work, or a new one."""
        with self._lock:
            if charge.dataset.id in self._at_work:
                return self._tickets[self._at_work[charge.dataset.id][0]]
            points = self._parts.states.snapshot().points.get(charge.dataset.id, ())
            if verb == "prove" and plan.provable(points, charge.store_site) is None:
                verb = "protect"  # nothing to prove yet: make it first
            kind = "backup" if verb == "protect" else "proof"
            ticket = Ticket(new_id(kind, self._parts.clock.now()), charge.dataset.id, verb, by)
            self._tickets[ticket.job] = ticket
            self._forget_old()
            self._at_work[charge.dataset.id] = (ticket.job, self._pool.submit(self._drive, ticket, charge, due_at))
        return ticket

    def _drive(self, ticket: Ticket, charge: Charge, due_at: datetime) -> None:
        """The job driver: whatever goes wrong in a job ends here, journalled by the performer before."""
        self.recover()
        with self._starting:
            self._running += 1
        with self._lock:
            self._tickets[ticket.job] = replace(ticket, state="running")
        try:
            proof = self._carry_out(ticket, charge, due_at)
        except NciaError as error:
            self._end(replace(ticket, state="failed", sentence=str(error)))
        except Exception as error:
            _log.exception("backup.job-failed", job=ticket.job, dataset=ticket.dataset)
            self._end(replace(ticket, state="failed", sentence=f"{type(error).__name__}: {error}"))
        else:
            self._end(_judged(ticket, proof))

    def _carry_out(self, ticket: Ticket, charge: Charge, due_at: datetime) -> ProofFinished:
        if ticket.verb == "prove":
            return self.prove(charge, ticket.job, ticket.by)
        taken = self.run(charge, due_at, ticket.job, ticket.by)
        proof_job = new_id("proof", self._parts.clock.now())
        proof = self._performer.prove(taken, charge.dataset.database, proof_job, ticket.by)
        self._retire(charge)
        return proof

    def _retire(self, charge: Charge) -> None:
        points = self._parts.states.snapshot().points.get(charge.dataset.id, ())
        here = [point for point in points if point.backup.store_site == charge.store_site]
        for point in plan.retired(here):
            try:
                self._performer.delete(point.backup, "newer points are proven")
            except NciaError as error:
                _log.warning("backup.not-deleted", point=point.id, why=str(error))

    def _end(self, ticket: Ticket) -> None:
        with self._starting:
            self._running -= 1
        with self._lock:
            self._tickets[ticket.job] = ticket
            del self._at_work[ticket.dataset]
        _log.info("backup.job-ended", **ticket.to_json())

    def _forget_old(self) -> None:
        ended = [job for job, ticket in self._tickets.items() if ticket.ended]
        for job in ended[: max(0, len(self._tickets) - TICKETS_KEPT_MAX)]:
            del self._tickets[job]


class Desk:
    """What the API offers of it (``ncia.api.ports.BackupDesk``)."""

    def __init__(self, task: BackupTask) -> None:
        self._task = task

    def list(self) -> Mapping[str, Any]:
        return self._task.to_json()

    def run(self, dataset: str | None) -> Mapping[str, Any]:
        return {"jobs": [ticket.to_json() for ticket in self._task.ask("protect", dataset, "operator")]}

    def prove(self, dataset: str | None) -> Mapping[str, Any]:
        return {"jobs": [ticket.to_json() for ticket in self._task.ask("prove", dataset, "operator")]}


def _judged(ticket: Ticket, proof: ProofFinished) -> Ticket:
    if proof.matched:
        rows = sum(each.rows for each in proof.copy_)
        told = f"{proof.point} restored in {proof.restore_seconds:g} s; {len(proof.copy_)} tables, {rows} rows the same"
        return replace(ticket, state="succeeded", sentence=told)
    return replace(ticket, state="failed", sentence=f"{proof.point} is not its source: {'; '.join(proof.differences)}")
