"""The continuity report: what was promised beside what was measured, and a page of what never was. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate, System
from ncia.core.reports.looks import Live, Looks
from ncia.core.reports.proofs import ProofSaid, proof_said
from ncia.core.reports.protection import OUTSIDE, Active, Protection, keeps_rpo, move_of, protection_of, step_of
from ncia.core.state import Run, State


@dataclass(frozen=True)
class RunMeasured:
    """What the last run that moved the system measured. ``loss_seconds``: its plan's figure, approved by people;
    ``rto_seconds``: from the last time citizens were served at the old site until they were at the new one."""

    run: str
    at: str
    loss_seconds: float | None
    loss_sentence: str
    rto_seconds: float | None


@dataclass(frozen=True)
class SystemContinuity:
    """``keeps_*`` None: not known. ``predicted_loss_seconds``: were its active site lost now; ``loss_named``: whether
    each act of that loss could be named, from its receipt at the other site; None: only that site can say."""

    id: str
    rows: str  # its PostgreSQL dataset
    name: str
    name_ko: str
    agency: str
    grade: int
    active_site: str
    promise_rpo_seconds: float
    promise_rto_seconds: float
    predicted_loss_seconds: float | None
    stale: bool
    commits_wait: bool
    loss_named: bool | None
    unnamed_why: str
    keeps_rpo: bool | None
    last_run: RunMeasured | None
    keeps_rto: bool | None
    proof: ProofSaid
    without_partner_since: str | None
    without_partner_seconds: float | None
    unprotected: tuple[str, ...]
    mirrored: tuple[str, ...]  # its file trees and buckets: followed at the other site, and kept at no point in time


@dataclass(frozen=True)
class UnprotectedTold:
    dataset: str
    until: str
    by: str
    why: str
    expired: bool


@dataclass(frozen=True)
class NotProven:
    """``subject`` is a system or dataset; ``what`` a clause that says what nobody has measured."""

    subject: str
    what: str


@dataclass(frozen=True)
class ContinuityReport:
    site: str  # whose knowledge it is
    estate: str
    estate_hash: str
    as_of: str
    systems: tuple[SystemContinuity, ...]
    unprotected: tuple[UnprotectedTold, ...]
    not_proven: tuple[NotProven, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def continuity(
    site: SiteId, estate: Estate, state: State, live: Live, active: Active, now: datetime
) -> ContinuityReport:
    """The report as ``site`` knows it at ``now``, by grade."""
    looks = Looks(state.verdicts, live, now)
    told = [
        _told(system, estate, state, protection_of(system, estate, state, looks, active), looks)
        for system in sorted(estate.systems.values(), key=lambda s: (s.grade, s.id))
    ]
    return ContinuityReport(
        site=site,
        estate=estate.name,
        estate_hash=estate.hash,
        as_of=to_text(now),
        systems=tuple(told),
        unprotected=_unprotected(estate, now),
        not_proven=tuple(gap for each in told for gap in _gaps(each)),
    )


def _told(system: System, estate: Estate, state: State, now: Protection, looks: Looks) -> SystemContinuity:
    run, naming = _last_run(system, state), looks.live.naming.get(now.active_site)
    rto = run.rto_seconds if run else None
    return SystemContinuity(
        id=system.id,
        rows=system.postgres.id,
        name=system.name,
        name_ko=system.name_ko,
        agency=estate.agencies[system.agency].name,
        grade=system.grade,
        active_site=now.active_site,
        promise_rpo_seconds=system.promise.rpo_seconds,
        promise_rto_seconds=system.promise.rto_seconds,
        predicted_loss_seconds=now.predicted_loss_seconds,
        stale=now.stale,
        commits_wait=now.commits_wait,
        loss_named=None if naming is None else naming.named,
        unnamed_why="" if naming is None else naming.why,
        keeps_rpo=keeps_rpo(system, now),
        last_run=run,
        keeps_rto=None if rto is None else rto <= system.promise.rto_seconds,
        proof=proof_said(state.proofs.get(system.postgres.id)),
        without_partner_since=to_text(now.alone_since) if now.alone_since else None,
        without_partner_seconds=(looks.now - now.alone_since).total_seconds() if now.alone_since else None,
        unprotected=tuple(d.id for d in system.datasets if d.unprotected),
        mirrored=tuple(d.id for d in system.documents),
    )


def _last_run(system: System, state: State) -> RunMeasured | None:
    """The newest started run whose plan moves the system, measured or not."""
    runs = [run for run in state.runs.values() if run.started_at and move_of(run, system.id)]
    return _measured(max(runs, key=lambda run: run.planned_at), system) if runs else None


def _measured(run: Run, system: System) -> RunMeasured:
    loss = move_of(run, system.id).get("loss")
    loss = loss if isinstance(loss, dict) else {}
    step = step_of(run, system.id, OUTSIDE)
    rto = step.ends[-1].measured.get("rto_seconds") if step and step.finished else None
    seconds = loss.get("seconds")
    return RunMeasured(
        run=run.id,
        at=to_text(step.ended_at if step and step.ended_at else run.planned_at),
        loss_seconds=float(seconds) if seconds is not None else None,
        loss_sentence=str(loss.get("sentence", "")),
        rto_seconds=float(rto) if rto is not None else None,
    )


def _unprotected(estate: Estate, now: datetime) -> tuple[UnprotectedTold, ...]:
    return tuple(
        UnprotectedTold(d.id, e.until.isoformat(), e.by, e.why, e.until < now.date())
        for d in estate.datasets.values()
        if (e := d.unprotected)
    )


def _gaps(system: SystemContinuity) -> list[NotProven]:
    """Every answer about the system that rests on no measurement."""
    found: list[NotProven] = []
    if system.predicted_loss_seconds is None:
        why = "it has no partner since its promotion" if system.without_partner_since else "no canary was read back"
        found.append(NotProven(system.id, f"what a loss of {system.active_site} would cost: {why}"))
    elif system.stale:
        found.append(NotProven(system.id, f"what a loss of {system.active_site} would cost now: the figure is old"))
    if system.loss_named is False:
        what = f"the names of the acts that a loss of {system.active_site} would take: {system.unnamed_why}"
        found.append(NotProven(system.id, what))
    if system.last_run is None:
        found.append(NotProven(system.id, "its RTO: it has never been moved by a run"))
    elif system.last_run.rto_seconds is None:
        found.append(NotProven(system.id, f"its RTO: run {system.last_run.run} did not get to the end for it"))
    if not system.proof.matched:
        found.append(NotProven(system.rows, f"its copies: {system.proof.sentence}"))
    found += [NotProven(dataset, "its recovery: it is held at one site only") for dataset in system.unprotected]
    found += [NotProven(dataset, "its history: it is mirrored, not backed up") for dataset in system.mirrored]
    return found
