"""The desk of recovery: what people ask for (plan, approve, start, stop, resume, look) and what the scheduler calls.

Everything a run is stands in the journal; the desk keeps a fold of it and one thread for each run under way. After a
restart :meth:`RecoveryDesk.tick` finds the runs that were under way and goes on with them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from ncia.core.base.clock import Clock, SystemClock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId, new_id
from ncia.core.estate.model import Estate
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    ApprovalGiven,
    ApprovalRefused,
    PlanMade,
    RunResumed,
    RunStarted,
    RunStopped,
    RunSworn,
)
from ncia.core.requests.approval import Approval, signing_key
from recovery.engine import forecast
from recovery.gates import accept_approval, demand_alone, demand_approved, valid_approvals
from recovery.perform import Hands, Joinable, Performer, Threads
from recovery.plan import Asked, demand_sides, plan_site_failover, systems_at
from recovery.planned import LOST_SITE, Plan, with_forecast
from recovery.planned_moves import Majority, Wanted, plan_move, systems_wanted
from recovery.ports import Journal, Recorded, Watching, World
from recovery.run import Run, Runs, RunState, StepState
from recovery.runbook import Runbook, load_runbook
from recovery.survey import Survey
from recovery.telling import plan_json, run_and_plan_json, run_json

CONTROLLER = "controller"
REFUSALS_MAX = 100  # journalled for one run; anybody may send an approval, so more are only logged
WORD_CHARACTERS_MAX = 100  # of what a stranger sent, in an entry

log = structlog.get_logger("recovery")


@dataclass(frozen=True)
class Surroundings:
    """What the desk stands in. ``runbooks`` is the folder of runbook files."""

    site: SiteId
    estate: Estate
    runbooks: Path
    journal: Journal
    world: World
    watching: Watching
    clock: Clock = field(default_factory=SystemClock)
    new_run: Callable[[datetime], str] = lambda now: new_id("run", now)
    drift: Callable[[SystemId], tuple[str, ...]] = lambda system: ()  # as the system's program was last compared


class RecoveryDesk:
    """One per controller; every method may be called from any thread.

    Two locks, in this order and never the other way round: ``_deciding`` is held over a person's whole request, also
    while it is journalled; ``_folding`` only while the fold is read or changed, never while something is journalled
    (the journal calls us back under a lock of its own).
    """

    def __init__(self, surroundings: Surroundings, hands: Hands | None = None) -> None:
        self._around = surroundings
        self._world = replace(surroundings.world, watching=surroundings.watching)
        self._hands = hands or Threads(surroundings.clock)
        self._deciding = threading.RLock()
        self._folding = threading.RLock()
        self._runs = Runs()
        self._performers: dict[RunId, Performer] = {}
        self._threads: dict[RunId, Joinable] = {}
        self._troubles: dict[RunId, str] = {}
        self._survey = Survey(
            surroundings.site,
            surroundings.world,
            surroundings.watching,
            surroundings.clock,
            surroundings.drift,
            self._cleared_by,
        )
        surroundings.journal.subscribe(self._fold)
        for entry in surroundings.journal.merged():
            self._fold(entry)

    # --- what people ask for -----------------------------------------------------------------------------------------

    def plan(
        self,
        runbook: str,
        site: str,
        by: str,
        accept_loss: Mapping[str, str],
        accept_drift: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, Any]:
        """Freeze and journal a plan for the loss of ``site`` (or of what the runbook moves: a returned site, a system);
        every reason against it is told at once."""
        around = self._around
        procedure = load_runbook(around.runbooks, runbook)
        if procedure.what_moves != LOST_SITE:
            return self._plan_move(procedure, site, by, accept_loss)
        now = around.clock.now()
        asked = Asked(RunId(around.new_run(now)), SiteId(site), around.site, dict(accept_loss), dict(accept_drift))
        demand_sides(around.estate, asked)
        self._demand_no_open_run(asked)
        epochs = around.world.claims.epochs()
        there = systems_at(around.estate, asked.lost, epochs)
        with self._folding:
            durations = self._runs.durations()
        facts = self._survey.of_loss(asked.lost, there)
        made = plan_site_failover(around.estate, asked, procedure, epochs, facts, durations, around.clock.now())
        return self._freeze(made, site, by)

    def _plan_move(self, procedure: Runbook, subject: str, by: str, accept_loss: Mapping[str, str]) -> dict[str, Any]:
        """A plan of a move while both sites live; ``subject`` is a site or a system, as the runbook says."""
        around, claims = self._around, self._around.world.claims
        if accept_loss:
            why, hint = "a planned move loses nothing, or is refused", "leave --accept-loss out"
            raise Refusal("recovery.nothing-to-accept", f"plan {procedure.id} of {subject}", why, hint)
        wanted = Wanted(RunId(around.new_run(around.clock.now())), subject, around.site)
        epochs = claims.epochs()
        systems = systems_wanted(around.estate, wanted, procedure.what_moves, epochs)
        leases = {site: claims.lease_state(site).held for site in around.estate.centres}
        majority = Majority(epochs, claims.runs(), leases)
        facts = self._survey.of_pairs(systems)
        with self._folding:
            durations = self._runs.durations()
        now = around.clock.now()
        made = plan_move(around.estate, wanted, procedure, systems, majority, facts, durations, now)
        return self._freeze(made, subject, by)

    def _freeze(self, made: Plan, subject: str, by: str) -> dict[str, Any]:
        expected = forecast(made, self._around.clock.now())
        plan = with_forecast(made, expected.served_after, expected.seconds)
        body = PlanMade(run=plan.run, runbook=plan.runbook, plan_hash=plan.hash, plan=plan.to_json(), by=by)
        self._write([body], by)
        log.info(
            "plan.made", run=plan.run, runbook=plan.runbook, subject=subject, systems=len(plan.moves), hash=plan.hash
        )
        return self._told(plan.run, plan_json)

    def approve(self, run: str, person: str, plan_hash: str, expires_at: str, signature: str) -> dict[str, Any]:
        """Take a person's signature; the last one that is needed starts the run. Every refusal is journalled."""
        approval = Approval(run, plan_hash, person, expires_at, signature)
        with self._deciding:
            found = self._copy(run)
            try:
                signer = accept_approval(found, approval, self._around.estate, self._around.clock.now())
            except Refusal as refusal:
                self._note_refusal(found, approval, refusal)
                raise
            body = ApprovalGiven(
                run=run,
                plan_hash=plan_hash,
                person=person,
                expires_at=expires_at,
                key_fingerprint=signing_key(approval, signer).fingerprint,
                signature=signature,
            )
            self._write([body], person)
            log.info("approval.given", run=run, person=person)
            found = self._copy(run)
            if len(found.approvals) >= found.plan.approvals and self._is_ours(found):
                self._begin(found, person)
        return self._told(run, run_json)

    def start(self, run: str, by: str) -> dict[str, Any]:
        """Begin an approved run that has not begun, or go on with a stopped one."""
        with self._deciding:
            found = self._copy(run)
            if found.state is not RunState.PLANNED:
                return self.resume(run, by)
            self._begin(found, by)
        return self._told(run, run_json)

    def stop(self, run: str, by: str, reason: str) -> dict[str, Any]:
        """Begin no further step. Steps under way end first, so the run may say `running` for a moment longer."""
        with self._deciding:
            found = self._copy(run)
            if found.state.ended or found.state is RunState.STOPPED:
                raise Refusal("recovery.not-running", f"stop run {run}", f"it is {found.state}")
            performer = self._performers.get(found.id)
            if performer and found.state is RunState.RUNNING:
                performer.stop(by, reason)
            else:
                self._write([RunStopped(run=run, by=by, reason=reason)], by)
        return self._told(run, run_json)

    def resume(self, run: str, by: str) -> dict[str, Any]:
        """Go on where a stopped run stands; what failed or was refused is tried again."""
        with self._deciding:
            found = self._copy(run)
            if found.state is not RunState.STOPPED:
                hint = f"ncia recover approve {run} --key PATH" if found.state is RunState.PLANNED else ""
                raise Refusal("recovery.not-stopped", f"resume run {run}", f"it is {found.state}", hint)
            if found.started:
                self._go_on(found, by)
            else:
                self._begin(found, by)
        return self._told(run, run_json)

    def swear(self, run: str, by: str, reason: str) -> dict[str, Any]:
        """On ``by``'s word the run needs nobody else who knows by which right it acts: peer and witness are gone."""
        around = self._around
        found = self._copy(run)
        if by not in around.estate.people:
            known = ", ".join(sorted(around.estate.people))
            raise NciaError("recovery.unknown-person", f"swear for run {run}", f"{by!r} is not in the estate", known)
        if found.state.ended:
            raise Refusal("recovery.run-over", f"swear for run {run}", f"it is {found.state}")
        unheard = tuple(site for site in (around.estate.peer_of(around.site), around.estate.cosigner) if site)
        self._write([RunSworn(run=run, by=by, reason=reason, unheard=unheard)], by)
        log.error("run.sworn", run=run, by=by, reason=reason)
        return self._told(run, run_json)

    def runs(self) -> Sequence[dict[str, Any]]:
        """Every run, newest first."""
        with self._folding:
            return [run_json(run) for run in self._runs.all()]

    def run(self, run: str) -> dict[str, Any]:
        return self._told(run, run_and_plan_json)

    # --- what the scheduler and the process call ---------------------------------------------------------------------

    def tick(self) -> None:
        """Go on with what should be under way here and is not: runs found in the journal after a restart, and approved
        ones whose beginning was cut off."""
        with self._folding:
            waiting = [r.copy() for r in self._runs.all() if r.state in (RunState.RUNNING, RunState.PLANNED)]
        for run in reversed(waiting):
            with self._deciding:
                if run.id in self._performers or not self._is_ours(run):
                    continue
                try:
                    self._pick_up(self._copy(run.id))
                    self._troubles.pop(run.id, None)
                except NciaError as error:
                    self._tell_once(run.id, error)

    def close(self) -> None:
        """Let go of the runs under way, as a crash would; the next controller goes on with them."""
        with self._deciding:
            performers, threads = list(self._performers.values()), list(self._threads.values())
        for performer in performers:
            performer.leave()
        for thread in threads:
            thread.join(timeout=5.0)

    def wait(self, run: str, timeout_seconds: float) -> None:
        """Until the run is no longer under way here; for tests and the lab."""
        thread = self._threads.get(RunId(run))
        if thread:
            thread.join(timeout_seconds)

    # --- below -------------------------------------------------------------------------------------------------------

    def _pick_up(self, run: Run) -> None:
        if run.state is RunState.RUNNING:
            self._go_on(run, CONTROLLER)
        elif run.state is RunState.PLANNED:
            now = self._around.clock.now()
            if len(valid_approvals(run, self._around.estate, now)) >= run.plan.approvals:
                self._begin(run, CONTROLLER)

    def _tell_once(self, run: RunId, error: NciaError) -> None:
        """A tick comes every second; the same trouble is told once."""
        if self._troubles.get(run) != str(error):
            self._troubles[run] = str(error)
            log.warning("run.not-resumed", run=run, error=str(error))

    def _begin(self, run: Run, by: str) -> None:
        self._demand_ours(run, "start")
        demand_approved(run, self._around.estate, self._around.clock.now())
        demand_alone(run, self._others(run))
        self._launch(run, RunStarted(run=run.id, plan_hash=run.plan_hash, site=self._around.site), by)

    def _go_on(self, run: Run, by: str) -> None:
        self._demand_ours(run, "resume")
        demand_approved(run, self._around.estate, run.started_at or self._around.clock.now())
        demand_alone(run, self._others(run))
        self._demand_released(run)
        opened, closed = run.step("open_run").state, run.step("close_run").state
        if opened is StepState.DONE and closed is StepState.PENDING:
            # etcd decides who carries a run on: ours is confirmed, one whose site lost its lease is taken over
            self._around.world.claims.open_run(run.plan.lost_site, run.id, self._around.site)
        self._launch(run, RunResumed(run=run.id, site=self._around.site, by=by), by)

    def _launch(self, run: Run, body: Body, by: str) -> None:
        old = self._threads.get(run.id)
        if old:
            old.join(timeout=5.0)  # it has written its last entry already
        self._write([body], by)
        with self._folding:
            live = self._runs.get(run.id)
        if live is None:
            raise NciaError("recovery.no-such-run", f"carry out run {run.id}", "the journal has lost it")
        performer = Performer(live, self._world, self._hands, self._record)
        self._performers[run.id] = performer
        log.info("run.begins", run=run.id, by=by)
        self._threads[run.id] = self._hands.launch(run.id, lambda: self._drive(run.id, performer))

    def _drive(self, run: RunId, performer: Performer) -> None:
        try:
            performer.drive()
        except Exception:
            # the journal could not be written: nothing more is done, and `tick` begins again by looking
            log.exception("run.broken-off", run=run)
        finally:
            self._performers.pop(run, None)

    def _record(self, bodies: Sequence[Body]) -> None:
        self._write(bodies, CONTROLLER)

    def _write(self, bodies: Sequence[Body], by: str) -> None:
        for entry in self._around.journal.append_all(bodies, by=by):
            self._fold(entry)

    def _fold(self, entry: Recorded) -> None:
        with self._folding:
            self._runs.apply(entry)

    def _cleared_by(self, system: SystemId, lost: SiteId) -> str:
        with self._folding:
            return self._runs.cleared_by(system, lost)

    def _copy(self, run: str) -> Run:
        with self._folding:
            found = self._runs.get(run)
            if found is None:
                known = ", ".join(r.id for r in self._runs.all()[:5])
                raise NciaError("recovery.no-such-run", f"look up run {run}", "the journal knows no such run", known)
            return found.copy()

    def _told(self, run: str, teller: Callable[[Run], dict[str, Any]]) -> dict[str, Any]:
        return teller(self._copy(run))

    def _others(self, run: Run) -> tuple[Run, ...]:
        with self._folding:
            return tuple(other.copy() for other in self._runs.all() if other.id != run.id)

    def _is_ours(self, run: Run) -> bool:
        return run.plan.site == self._around.site

    def _demand_ours(self, run: Run, verb: str) -> None:
        if not self._is_ours(run):
            why = f"it is carried out at {run.plan.site}, whose copies are promoted; this is {self._around.site}"
            raise Refusal("recovery.wrong-side", f"{verb} run {run.id}", why, f"ask {run.plan.site}'s controller")

    def _demand_released(self, run: Run) -> None:
        """A run that another site's controller carries out is left alone while that site holds its lease. It is seen
        here for runs that are not in etcd yet; for the others the swap of the claim sees it again."""
        if run.site is None or run.site == self._around.site:
            return
        if self._around.world.claims.lease_state(run.site).held:
            why = f"{run.site} carries it out and holds its lease"
            raise Refusal("recovery.executor-lives", f"resume run {run.id}", why, f"ask {run.site}'s controller")
        log.warning("run.taken-over", run=run.id, of=run.site)

    def _demand_no_open_run(self, asked: Asked) -> None:
        open_run = self._around.world.claims.runs().get(asked.lost)
        if open_run is not None:
            why = f"run {open_run.run} of {open_run.site} is open against it"
            hint = f"ncia recover status {open_run.run}"
            raise Refusal("recovery.run-open", f"plan the recovery of {asked.lost}", why, hint)

    def _note_refusal(self, run: Run, approval: Approval, refusal: Refusal) -> None:
        log.warning("approval.refused", run=run.id, code=refusal.code, reason=refusal.why)
        if len(run.refusals) >= REFUSALS_MAX:
            return
        body = ApprovalRefused(
            run=run.id,
            plan_hash=approval.plan_hash[:WORD_CHARACTERS_MAX],
            person=approval.person[:WORD_CHARACTERS_MAX],
            reason=refusal.why,
        )
        self._write([body], CONTROLLER)
