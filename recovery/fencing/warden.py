"""The warden: holds the site's lease and says in lease.json what that permits. Small, without a database.

One pass reads the world (etcd, or the peer's warden where etcd has no quorum), decides (``lease``), and acts (writes
lease.json, gives the lease back where it is fenced). Passes are a fifth of the TTL apart.

A lease is used in one raft term only: two known faults of etcd (a former leader that woke late renews, and revokes,
leases of which it is no longer in charge) can then not bite; see decision 0003.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import structlog

from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError, NoQuorum, Unreachable
from ncia.core.base.ids import SiteId, SystemId
from recovery.fencing import files
from recovery.fencing.etcd import Absent, EtcdClient, Get, KeyValue, Outcome, Put, Unchanged
from recovery.fencing.files import GATE_FILE, LEASE_FILE, NANOSECONDS, GateFile, LeaseFile, Standing
from recovery.fencing.holds import give_word, held, unanswered
from recovery.fencing.keys import EPOCHS, HOLDS, RUNS, WORDS, Hold, OpenRun, epoch_of, run_key, run_of, site_key
from recovery.fencing.lease import FromEtcd, FromNobody, FromPeer, Granted, Policy, Seen, decide

STATE_FILE = "warden.json"
PASSES_PER_TTL = 5
RETRY_SECONDS = 0.5  # between passes while etcd does not commit
REFRESH_SECONDS = 6.0  # the longest a refresh waits for its pass
FACTS = (Get(EPOCHS, True), Get(RUNS, True), Get(HOLDS, True), Get(WORDS, True))  # read in each pass, at once
WORD_POLL_SECONDS = 0.02
GATE_SECONDS = 1.0  # how long a fencing warden waits for the gate's word before it keeps the lease to its end


@dataclass(frozen=True)
class Confirmation:
    """A warden's answer to its peer; ``systems`` are the epochs that it knows."""

    confirmed: bool
    why: str
    systems: Mapping[SystemId, Standing]


class PeerWarden(Protocol):
    def confirm(self, asker: SiteId) -> Confirmation:
        """Ask the peer's warden whether ``asker`` may go on; :class:`Unreachable` where it does not answer in time."""
        ...


@dataclass(frozen=True)
class _Held:
    """What a warden must find again after a restart (``state/warden.json``); the last two also after the machine's."""

    warden: str
    boot: str
    lease: int = 0
    term: int = 0
    confirming: bool = True
    fence_order: str = ""


class Warden:
    """One per site. ``once`` is a pass; ``confirm``, ``stop_confirming``, ``fence`` … are called by its doors from
    other threads. Exactly one warden may use a run folder: the caller holds its lock (``ncia.app.warden``)."""

    def __init__(
        self,
        policy: Policy,
        etcd: EtcdClient,
        peer: PeerWarden,
        clock: Clock,
        run: Path,
        state: Path,
        identity: str,
        *,
        boot: str | None = None,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self._policy, self._etcd, self._peer, self._clock = policy, etcd, peer, clock
        self._run, self._state = run, state
        self._wait = wait
        self._log = structlog.get_logger()
        self._lock = threading.Condition()
        self._boot = boot or files.boot_id()
        self._held = self._remember(identity)
        self._lease_file = self._previous()
        self._last_confirmation_ns = clock.boottime_ns()  # a warden before us may have confirmed just now
        self._known: tuple[Mapping[SystemId, Standing], Mapping[SiteId, OpenRun]] | None = None
        self._holds: tuple[Hold, ...] = ()  # laid on systems active here, and not answered yet
        self._passes_begun = 0
        self._passes_done = 0
        self._asked = False
        self._woke_ns = 0

    # --- a pass ------------------------------------------------------------------------------------------------------

    def once(self) -> LeaseFile:
        """Look, decide, write lease.json; gives back the lease where this site is fenced. Returns what was written."""
        self._woke_ns = self._clock.boottime_ns()
        with self._lock:
            self._passes_begun += 1
            number, order = self._passes_begun, self._held.fence_order
        seen = self._look(fenced=bool(order))
        with self._lock:
            # an order that came while we looked counts already
            order = self._held.fence_order
            before = self._lease_file
            word = decide(before, seen, self._policy, self._clock.boottime_ns(), order)
            self._lease_file = LeaseFile(
                version=before.version + 1,
                site=self._policy.site,
                warden=self._held.warden,
                boot=self._boot,
                as_of=to_text(self._clock.now()),
                **word.__dict__,
            )
            files.replace(self._run / LEASE_FILE, self._lease_file.to_json())
            written = self._lease_file
            self._passes_done = number
            self._lock.notify_all()
        self._tell(before, written)
        if written.deadline_boottime_ns == 0 and self._held.lease:
            self._give_back(written.version)
        if self._holds:
            self._give_words(written)
        return written

    def serve(self, ended: threading.Event) -> None:
        """Pass after pass until ``ended``; a refresh or an order starts the next pass at once."""
        while not ended.is_set():
            good = True
            try:
                written = self.once()
                good = written.reason == "lease held" or written.deadline_boottime_ns == 0
            except (NciaError, OSError) as error:
                # the deadline on disk runs out by itself: failing to write is failing safe
                self._log.error("pass failed", error=str(error))
                good = False
            with self._lock:
                if not self._asked and not ended.is_set():
                    self._lock.wait(self._policy.ttl_seconds / PASSES_PER_TTL if good else self._retry_seconds())
                self._asked = False

    def wake(self) -> None:
        """Start the next pass now."""
        with self._lock:
            self._asked = True
            self._lock.notify_all()

    def _retry_seconds(self) -> float:
        return min(RETRY_SECONDS, self._policy.ttl_seconds / PASSES_PER_TTL)

    # --- looking -----------------------------------------------------------------------------------------------------

    def _look(self, *, fenced: bool) -> Seen:
        try:
            return self._look_at_etcd(fenced=fenced)
        except NoQuorum as error:
            no_quorum = error.why
        asked = self._clock.boottime_ns()
        try:
            answer = self._peer.confirm(self._policy.site)
        except Unreachable as error:
            return FromNobody(no_quorum, error.why)
        granted = Granted(asked, self._policy.ttl_seconds) if answer.confirmed else None
        return FromPeer(no_quorum, answer.systems, granted, answer.why)

    def _look_at_etcd(self, *, fenced: bool) -> FromEtcd:
        """Renew and read in one go. A renewal counts only if the read after it shows that the raft term is still that
        in which the lease was granted: a newer leader may count a shorter time than the one that renewed."""
        asked = self._clock.boottime_ns()
        renewed = 0
        if self._held.lease and not fenced:
            renewed = self._etcd.keepalive(self._held.lease)
        outcome = self._etcd.read(Get(site_key(self._policy.site)), *FACTS)
        own, epochs, runs = self._read(outcome)
        run = runs.get(self._policy.site)
        if run is not None:
            return FromEtcd(epochs, None, run=run.run, run_by=run.site)
        if fenced:
            return FromEtcd(epochs, None, "fenced by order")
        if own is not None and own.json().get("warden") != self._held.warden:
            return FromEtcd(epochs, None, f"warden {own.json().get('warden')} holds it until it expires")
        if own is not None and renewed > 0 and own.lease == self._held.lease and outcome.term == self._held.term:
            return FromEtcd(epochs, Granted(asked, min(renewed, self._policy.ttl_seconds)))
        return self._take(own)

    def _take(self, own: KeyValue | None) -> FromEtcd:
        """A fresh lease for the site's key: where the key is gone, or ``own``, which is ours, has a lease of an earlier
        term or one that has ended."""
        asked, old = self._clock.boottime_ns(), self._held.lease
        lease = self._etcd.grant(max(1, round(self._policy.ttl_seconds)))
        self._change(lease=lease.id, term=lease.term)
        key, runs_key = site_key(self._policy.site), run_key(self._policy.site)
        value = json.dumps({"warden": self._held.warden, "since": to_text(self._clock.now())})
        outcome = self._etcd.txn(
            (Absent(key) if own is None else Unchanged(key, own.mod_revision), Absent(runs_key)),
            (Put(key, value, lease.id), Get(key), *FACTS),
            (Get(key), *FACTS),
        )
        _, epochs, runs = self._read(outcome)
        if not outcome.succeeded:
            self._etcd.revoke(lease.id)
            self._change(lease=old if own is not None else 0)
            run = runs.get(self._policy.site)
            if run is not None:
                return FromEtcd(epochs, None, run=run.run, run_by=run.site)
            return FromEtcd(epochs, None, "its key changed at the same moment")
        if own is not None and own.lease:
            self._etcd.revoke(own.lease)
        if outcome.term != lease.term:
            return FromEtcd(epochs, None, "etcd elected a leader meanwhile", unsure=True)
        return FromEtcd(epochs, Granted(asked, min(lease.ttl_seconds, self._policy.ttl_seconds)))

    def _read(self, outcome: Outcome) -> tuple[KeyValue | None, Mapping[SystemId, Standing], Mapping[SiteId, OpenRun]]:
        own, epoch_pairs, run_pairs, holds, words = outcome.reads
        epochs = {e.system: Standing(e.epoch, e.site) for e in map(epoch_of, epoch_pairs)}
        epochs = held(epochs, holds)
        runs = {run.lost: run for run in map(run_of, run_pairs)}
        self._holds = unanswered(self._policy.site, epochs, holds, words)
        with self._lock:
            self._known = (epochs, runs)
        return (own[0] if own else None), epochs, runs

    # --- acting ------------------------------------------------------------------------------------------------------

    def _give_back(self, version: int) -> None:
        """Revoke the lease, so that a recovery need not wait for its end; only once the gate says that it is shut, for
        a gate that has not read lease.json yet lets writes pass until the deadline it knows."""
        for _ in range(int(GATE_SECONDS / 0.05)):
            gate = self._gate_since(version)
            if gate and not gate.open:
                break
            self._wait(0.05)
        else:
            self._log.warning("gate did not say that it is shut; the lease is left to run out by itself")
            self._change(lease=0)
            return
        try:
            self._etcd.revoke(self._held.lease)
        except NoQuorum as error:
            self._log.warning("lease not given back, it runs out by itself", why=error.why)
        self._change(lease=0)

    def _gate_since(self, version: int) -> GateFile | None:
        """The gate's word, if it has read lease.json of that version."""
        gate = files.read(self._run / GATE_FILE, GateFile.from_json)
        return gate if gate and gate.boot == self._boot and gate.version_seen >= version else None

    def _give_words(self, written: LeaseFile) -> None:
        """Say in etcd that our gate is shut for what a run holds, once the gate itself says so."""
        waiting = list(self._holds)
        for _ in range(int(GATE_SECONDS / WORD_POLL_SECONDS)):
            gate = self._gate_since(written.version)
            for hold in [h for h in waiting if gate and h.system not in gate.open]:
                waiting.remove(hold)
                try:
                    give_word(self._etcd, self._policy.site, hold, self._clock.now())
                except NoQuorum as error:
                    self._log.warning("word not given, the next pass gives it", system=hold.system, why=error.why)
                self._log.info("held: our gate is shut for a system", system=hold.system, run=hold.run)
            if not waiting:
                return
            self._wait(WORD_POLL_SECONDS)
        self._log.warning("gate did not say that it is shut for what is held", systems=[h.system for h in waiting])

    def _tell(self, before: LeaseFile, now: LeaseFile) -> None:
        overslept = self._woke_ns - before.deadline_boottime_ns
        if before.deadline_boottime_ns and overslept > 0 and now.deadline_boottime_ns > before.deadline_boottime_ns:
            seconds = round(overslept / NANOSECONDS, 3)
            self._log.warning(f"the deadline had passed {seconds} s before this warden could renew it")
        if before.reason != now.reason:
            self._log.info(now.reason, version=now.version, deadline_boottime_ns=now.deadline_boottime_ns)
        for system, standing in now.systems.items():
            if before.systems.get(system) != standing:
                self._log.info("standing of a system", system=system, epoch=standing.epoch, active_site=standing.site)

    # --- what the doors ask ------------------------------------------------------------------------------------------

    def confirm(self, asker: SiteId) -> Confirmation:
        """May ``asker`` go on without the quorum? Only on what we read in this life, and not once a run stopped us."""
        with self._lock:
            if asker != self._policy.peer:
                return Confirmation(False, f"{asker} is not our peer", {})
            if not self._held.confirming:
                return Confirmation(False, "a recovery run has stopped confirmations", {})
            if self._known is None:
                return Confirmation(False, "nothing was read from etcd since this warden started", {})
            epochs, runs = self._known
            if asker in runs:
                return Confirmation(False, f"recovery run {runs[asker].run} is open against {asker}", epochs)
            self._last_confirmation_ns = self._clock.boottime_ns()
            return Confirmation(True, "no open run and no higher epoch is known here", epochs)

    def stop_confirming(self) -> int:
        """The moment of the last confirmation; none is given after this returns."""
        with self._lock:
            self._change(confirming=False)
            return self._last_confirmation_ns

    def resume_confirming(self) -> None:
        with self._lock:
            self._change(confirming=True)

    def fence(self, reason: str) -> dict[str, Any]:
        """Fence this site until :meth:`unfence`; returns once lease.json says so."""
        with self._lock:
            self._change(fence_order=reason or "no reason given")
        return self.refresh()

    def unfence(self) -> dict[str, Any]:
        with self._lock:
            self._change(fence_order="")
        return self.refresh()

    def refresh(self) -> dict[str, Any]:
        """A whole pass from now on, then the status; raises :class:`Unreachable` where the pass takes too long."""
        with self._lock:
            wanted = self._passes_begun + 1
            self._asked = True
            self._lock.notify_all()
            if not self._lock.wait_for(lambda: self._passes_done >= wanted, REFRESH_SECONDS):
                hint = "look at the warden's log; etcd may hang"
                raise Unreachable("fencing.slow-pass", "refresh the warden", "its pass is not done in time", hint)
        return self.status()

    def status(self) -> dict[str, Any]:
        with self._lock:
            told: dict[str, Any] = json.loads(self._lease_file.to_json())
            told["confirming"] = self._held.confirming
            told["last_confirmation_boottime_ns"] = self._last_confirmation_ns
            told["lease_held"] = bool(self._held.lease)
            left = self._lease_file.deadline_boottime_ns - self._clock.boottime_ns()
            told["seconds_left"] = max(0.0, left / NANOSECONDS)
            return told

    # --- across restarts ---------------------------------------------------------------------------------------------

    def _remember(self, identity: str) -> _Held:
        """What the warden before us of this boot held; it is dead, for we have its lock."""
        stored = files.read(self._state / STATE_FILE, lambda text: _Held(**json.loads(text)))
        if stored is None:
            return _Held(identity, self._boot)
        if stored.boot == self._boot:
            return stored
        return _Held(identity, self._boot, confirming=stored.confirming, fence_order=stored.fence_order)

    def _change(self, **fields: Any) -> None:
        """On disk first: a warden that is restarted at any moment still knows its own key."""
        with self._lock:
            held = replace(self._held, **fields)
            files.replace(self._state / STATE_FILE, json.dumps(asdict(held)))
            self._held = held

    def _previous(self) -> LeaseFile:
        """lease.json of the warden before us; where there is none of this boot, a fenced one is written at once."""
        path = self._run / LEASE_FILE
        found = files.read(path, LeaseFile.from_json)
        if found is not None and found.boot == self._boot and found.site == self._policy.site:
            return found
        version = found.version + 1 if found is not None else 1
        reason = "fenced: the warden has only just started"
        fresh = LeaseFile(version, self._policy.site, self._held.warden, self._boot, 0, 0, reason)
        files.replace(path, fresh.to_json())
        return fresh
