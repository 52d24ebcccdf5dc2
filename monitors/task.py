"""The watching task: from what is known now to incidents in the journal. Idempotent; state is read anew each time.

Both controllers diagnose; an incident is changed and closed by the one that opened it, and by the other one only while
the agent there is silent. Its id is its root and a number, so that two controllers that open it at the same moment, or
on both sides of a cut, mean the same incident.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta

import structlog

from monitors.intake import Intake
from monitors.moves import being_moved, system_of
from ncia.core.alerts.acks import holds, withdrawn
from ncia.core.alerts.evidence import Evidence, Lack
from ncia.core.alerts.incidents import RANK, Diagnosis, cleared, diagnose
from ncia.core.base.clock import Clock, from_text
from ncia.core.base.ids import AgencyId, DatasetId, SiteId, SystemId
from ncia.core.estate.model import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries import (
    AlertAcked,
    BackupFailed,
    BackupStarted,
    Body,
    IncidentChanged,
    IncidentClosed,
    IncidentOpened,
    ProofFailed,
    ProofFinished,
)
from ncia.core.state.facts import Incident
from ncia.core.state.state import State

WARM_UP_SECONDS = 6.0  # after its start a controller first hears everybody out: what it is told may be over already
AFTERMATH_SECONDS = 10.0  # what a fault explained has so long to recover after it: a mended link brings no flood
HOLD_SECONDS_MAX = 4.0  # an unsettled incident is opened all the same after so long
CHANGE_SECONDS_MIN = 2.0  # members come and go in bursts: they are told together
BY = "watch"

log = structlog.get_logger("monitors.task")


class WatchTask:
    """``tick`` may be called by a timer and upon each report; calls are serialised. ``own_lacks``: what only this
    controller can say of itself."""

    def __init__(
        self,
        estate: Estate,
        journal: Journal,
        intake: Intake,
        snapshot: Callable[[], State],
        clock: Clock,
        own_lacks: Callable[[datetime], Iterable[Lack]] = lambda now: (),
    ) -> None:
        self._estate = estate
        self._journal = journal
        self._intake = intake
        self._snapshot = snapshot
        self._clock = clock
        self._own_lacks = own_lacks
        self._lock = threading.Lock()
        self._started: datetime | None = None
        self._held: dict[str, datetime] = {}  # by root: since when it has been diagnosed and not opened
        self._over: dict[str, datetime] = {}  # by root of an incident: when it was seen to be over
        self._explained: dict[str, datetime] = {}  # by root: when an open incident last explained it
        self._moved: dict[str, datetime] = {}  # by system: when a run was last seen to move it
        self._changed: dict[str, datetime] = {}  # by incident: when it was last changed here

    def tick(self) -> None:
        """Bring the journal's incidents into line with what is known now."""
        with self._lock:
            now = self._clock.now()
            self._started = self._started or now
            self._intake.mark_silent()
            state = self._snapshot()
            evidence = self.evidence(state)
            diagnoses = diagnose(self._estate, evidence, now)
            bodies = tuple(self._bodies(state, evidence, diagnoses, now))
            self._journal.append_all(bodies, by=BY)
            for body in bodies:
                log.info(body.KIND, **body.model_dump(exclude={"members"}))

    def evidence(self, state: State) -> Evidence:
        """All that this controller knows now."""
        active = {system.id: system.home for system in self._estate.systems.values()}
        active |= {system: site for system, (site, _) in self._intake.active().items()}
        return Evidence(
            self._journal.site,
            self._intake.speaking(),
            self._intake.silent(),
            active,
            (*_lacks(self._estate, state, active), *self._own_lacks(self._clock.now())),
            frozenset(incident.now.root for incident in state.open_incidents()),
            state.open_findings(),
            self._intake.clocks(),
        )

    def _bodies(
        self, state: State, evidence: Evidence, diagnoses: tuple[Diagnosis, ...], now: datetime
    ) -> Iterator[Body]:
        standing, doubles = _by_root(state)
        roots = {diagnosis.root: diagnosis for diagnosis in diagnoses}
        self._held = {root: since for root, since in self._held.items() if root in roots}
        limit = timedelta(seconds=AFTERMATH_SECONDS)
        explained = {member: now for d in diagnoses if d.root in standing for member in d.members}
        self._explained = {r: at for r, at in self._explained.items() if now - at < limit} | explained
        moved = dict.fromkeys(being_moved(state, now), now)
        self._moved = {system: at for system, at in self._moved.items() if now - at < limit} | moved
        yield from self._close(standing, roots, evidence, now)
        for diagnosis in diagnoses:
            incident = standing.get(diagnosis.root)
            if incident is None:
                if self._due(diagnosis, now):
                    yield _opened(diagnosis, _next_id(state, diagnosis.root))
            elif self._mine(incident, evidence):
                yield from self._change(incident, diagnosis, now)
        for incident in doubles:
            if self._mine(incident, evidence):
                reason = f"the same fault as {standing[incident.now.root].id}"
                yield IncidentClosed(incident=incident.id, reason=reason)

    def _due(self, diagnosis: Diagnosis, now: datetime) -> bool:
        since = self._held.setdefault(diagnosis.root, now)
        if self._started is None or now - self._started < timedelta(seconds=WARM_UP_SECONDS):
            return False
        if diagnosis.behind & self._over.keys():
            return False
        if system_of(self._estate, diagnosis.root) in self._moved:
            return False  # the run's doing; what is left of it a moment after the run is a fault
        explained = self._explained.get(diagnosis.root)
        if explained is not None and diagnosis.since <= explained:
            return False  # a chain of causes recovers from the middle too: the same fault, a moment longer
        return diagnosis.settled or now - since >= timedelta(seconds=HOLD_SECONDS_MAX)

    def _close(
        self, standing: Mapping[str, Incident], roots: Mapping[str, Diagnosis], evidence: Evidence, now: datetime
    ) -> Iterator[IncidentClosed]:
        """End what is over, and remember when: what it explained needs a moment longer to recover."""
        limit = timedelta(seconds=AFTERMATH_SECONDS)
        self._over = {root: at for root, at in self._over.items() if now - at < limit and root not in roots}
        for root, incident in standing.items():
            if root in roots:
                continue
            reason = self._part_of(root, roots, standing)
            if not reason and cleared(self._estate, evidence, now, root):
                reason = "seen well again"
                self._over[root] = now
            if reason and self._mine(incident, evidence):
                yield IncidentClosed(incident=incident.id, reason=reason)

    @staticmethod
    def _part_of(root: str, roots: Mapping[str, Diagnosis], standing: Mapping[str, Incident]) -> str:
        """The greater incident that explains this root now, if there is one that is open."""
        greater = (standing.get(d.root) for d in roots.values() if root in d.members)
        return next((f"part of {incident.id}" for incident in greater if incident is not None), "")

    def _mine(self, incident: Incident, evidence: Evidence) -> bool:
        return incident.opened_by == self._journal.site or incident.opened_by not in evidence.vantages

    def _change(self, incident: Incident, diagnosis: Diagnosis, now: datetime) -> Iterator[Body]:
        fresh = IncidentChanged(incident=incident.id, **_words(diagnosis))
        before = incident.now
        if _words_of(before) == _words_of(fresh):
            return
        worse = RANK[fresh.severity] < RANK[before.severity]
        burst = now - self._changed.get(incident.id, incident.opened_at) < timedelta(seconds=CHANGE_SECONDS_MIN)
        if burst and not worse and fresh.cause == before.cause:
            return
        self._changed[incident.id] = now
        yield fresh
        if worse and holds(incident, now):
            yield self._withdraw(incident, f"it became {fresh.severity}", now)

    def _withdraw(self, incident: Incident, why: str, now: datetime) -> AlertAcked:
        return withdrawn(incident, why, BY, now)


def _by_root(state: State) -> tuple[dict[str, Incident], list[Incident]]:
    """The open incidents by root, the first opened of each; and those that say the same once more."""
    standing: dict[str, Incident] = {}
    doubles = []
    for incident in sorted(state.open_incidents(), key=lambda i: (i.opened_at, i.id)):
        if incident.now.root in standing:
            doubles.append(incident)
        else:
            standing[incident.now.root] = incident
    return standing, doubles


def _next_id(state: State, root: str) -> str:
    stem = re.sub(r"[^a-z0-9@-]+", "-", root.lower())
    numbers = [int(i.id.rsplit("-", 1)[1]) for i in state.incidents.values() if i.now.root == root]
    return f"{stem}-{max(numbers, default=0) + 1}"


def _opened(diagnosis: Diagnosis, incident: str) -> IncidentOpened:
    return IncidentOpened(incident=incident, **_words(diagnosis))


def _words(diagnosis: Diagnosis) -> dict[str, object]:
    return {
        "root": diagnosis.root,
        "cause": diagnosis.cause,
        "severity": diagnosis.severity,
        "sentence": diagnosis.sentence,
        "run_next": diagnosis.run_next,
        "members": diagnosis.members,
        "systems": diagnosis.systems,
    }


def _words_of(body: IncidentOpened | IncidentChanged) -> dict[str, object]:
    return body.model_dump(exclude={"incident"})


def _lacks(estate: Estate, state: State, active: Mapping[SystemId, SiteId]) -> Iterator[Lack]:
    """Runs that were missed, backups and proofs whose newest attempt failed, copies whose bytes changed: one lack per
    dataset and kind; mirrors that their controllers cannot carry on. A backup that failed counts while it is its
    site's to take: once the system is active there, the other site protects it."""
    found: dict[tuple[str, str], Lack] = {}
    for missed in state.missed:
        kind = "proof" if "pro" in missed.run.job.split(":")[0] else "backup"
        lack = Lack(kind, missed.run.dataset, from_text(missed.run.due_at), missed.run.reason)
        found.setdefault((kind, missed.run.dataset), lack)
    for job in state.jobs.values():
        if not isinstance(job.ended, BackupFailed) or not isinstance(job.started, BackupStarted):
            continue
        if _lies_where_active(estate, active, job.started.dataset, job.started.store_site):
            continue
        if not _later(state, job.ended.dataset, job.started_at):
            lack = Lack("backup", job.ended.dataset, job.started_at, job.ended.error)
            found.setdefault(("backup", job.ended.dataset), lack)
    for dataset, proof in state.proofs.items():
        if not proof.matched and not _not_to_be_proven(estate, active, state, proof.outcome):
            outcome = proof.outcome
            why = outcome.error if isinstance(outcome, ProofFailed) else "; ".join(outcome.differences)
            found.setdefault(("proof", dataset), Lack("proof", dataset, proof.at, why))
    for dataset, points in state.points.items():
        newest = points[-1] if points else None
        if newest is not None and newest.reread is not None and newest.damaged:
            why = f"{newest.id} was read again and is damaged: {newest.reread.outcome.why}"
            found.setdefault(("proof", dataset), Lack("proof", dataset, newest.reread.at, why))
    for dataset, fact in state.programs.items():
        if fact.compared is not None and fact.compared.differences and fact.compared_at is not None:
            why = "; ".join(fact.compared.differences)
            found.setdefault(("program", dataset), Lack("program", dataset, fact.compared_at, why))
    for (dataset, _), failure in state.snapshot_failures.items():
        known_as = estate.datasets.get(DatasetId(dataset))
        if known_as is None:
            continue  # nobody backs it up again
        kind = "backup" if known_as.documents else "keep"  # rows and programs lie in a store all the same
        found.setdefault((kind, dataset), Lack(kind, dataset, failure.since, failure.last.error))
    for (agency, site), place in state.repositories.items():
        owner = estate.agencies.get(AgencyId(agency))
        for dataset, restored in place.proofs.items() if owner is not None and owner.repository is not None else ():
            if restored.error and DatasetId(dataset) in estate.datasets:
                lack = Lack("proof", dataset, restored.since, f"in the place at {site}: {restored.error}")
                found.setdefault(("proof", dataset), lack)
    yield from found.values()
    for (agency, site), repository in state.repositories.items():
        known = estate.agencies.get(AgencyId(agency))
        if known is None or known.repository is None:
            continue  # nobody looks at it again
        if (trouble := repository.trouble()) is not None:
            yield Lack("snapshot", f"{agency}@{site}", *trouble)
        if (held := repository.held) is not None:
            yield Lack("forget", f"{agency}@{site}", held.since, held.found.why)
    for (dataset, site), mirror in state.mirrors.items():
        if mirror.body.state == "failing":
            yield Lack("mirror", f"{dataset}@{site}", mirror.at, mirror.body.sentence)


def _lies_where_active(estate: Estate, active: Mapping[SystemId, SiteId], dataset: str, store_site: str) -> bool:
    """Whether a copy in that site's store lies where its system is active now: it protects nothing there."""
    found = estate.datasets.get(DatasetId(dataset))
    return found is not None and active[found.system] == store_site


def _not_to_be_proven(
    estate: Estate, active: Mapping[SystemId, SiteId], state: State, outcome: ProofFinished | ProofFailed
) -> bool:
    """A proof that could not be carried out, of a point whose system moved to where it lies: it was taken while its
    source went away, and the other site takes the next one. What was compared and differs is told wherever it is."""
    point = state.point(outcome.dataset, outcome.point)
    if point is None or not isinstance(outcome, ProofFailed):
        return False
    return _lies_where_active(estate, active, outcome.dataset, point.backup.store_site)


def _later(state: State, dataset: str, moment: datetime) -> bool:
    """Whether a backup of the dataset succeeded after that moment."""
    newest = state.newest_point(dataset)
    return newest is not None and newest.at > moment
