"""What a recovery run does to leases and epochs: look, open the run, claim, close; and its word with the own warden.

Every method may be called again with the same arguments: what is already so is success.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.etcd import Absent, Compare, Delete, EtcdClient, Get, Put, Unchanged
from recovery.fencing.files import NANOSECONDS
from recovery.fencing.keys import (
    EPOCHS,
    RUNS,
    SYNC,
    Epoch,
    OpenRun,
    Sync,
    epoch_key,
    epoch_of,
    run_key,
    run_of,
    site_key,
    sync_key,
    sync_of,
)

CONTROL_SECONDS = 5.0


@dataclass(frozen=True)
class LeaseState:
    """A site's lease as the majority sees it in raft term ``term``; ``warden`` and ``since`` are empty where it is not
    held."""

    site: SiteId
    held: bool
    warden: str
    since: str
    term: int


class Claims:
    """Leases, epochs and open runs in etcd; :class:`NoQuorum` from every method where etcd cannot commit."""

    def __init__(self, etcd: EtcdClient) -> None:
        self._etcd = etcd

    def lease_state(self, site: SiteId) -> LeaseState:
        """Not held means: expired or revoked, as seen by the majority (a linearisable read)."""
        outcome = self._etcd.read(Get(site_key(site)))
        if not outcome.reads[0]:
            return LeaseState(site, False, "", "", outcome.term)
        told = outcome.reads[0][0].json()
        return LeaseState(site, True, str(told.get("warden", "")), str(told.get("since", "")), outcome.term)

    def epochs(self) -> Mapping[SystemId, Epoch]:
        return {epoch.system: epoch for epoch in map(epoch_of, self._etcd.prefix(EPOCHS))}

    def runs(self) -> Mapping[SiteId, OpenRun]:
        """Open runs by the site they are against."""
        return {run.lost: run for run in map(run_of, self._etcd.prefix(RUNS))}

    def syncs(self) -> Mapping[SystemId, Sync]:
        return {sync.system: sync for sync in map(sync_of, self._etcd.prefix(SYNC))}

    def put_sync(self, sync: Sync, held_by: SiteId | None = None) -> Sync:
        """By compare-and-swap with ``sync.mod_revision``; with ``held_by`` only while that site holds its lease and the
        system's epoch. :class:`Refusal` with what stands there where any of it is otherwise."""
        key = sync_key(sync.system)
        own = Unchanged(key, sync.mod_revision) if sync.mod_revision else Absent(key)
        right = () if held_by is None else self._right(sync.system, held_by)
        outcome = self._etcd.txn((own, *right), (Put(key, sync.value()), Get(key)), (Get(key),))
        found = [sync_of(pair) for pair in outcome.reads[0]]
        if outcome.succeeded:
            return found[0]
        if found and found[0].value() == sync.value():
            return found[0]  # an earlier attempt of ours came through
        told = f"it says {found[0].mode} since {found[0].since} by {found[0].by}" if found else "it is not there"
        why = f"it changed meanwhile, or the site's lease or the system's epoch did: {told}"
        raise Refusal("sync.changed", f"write that {sync.system} is {sync.mode}", why, "look again")

    def _right(self, system: SystemId, site: SiteId) -> tuple[Unchanged, ...]:
        """What must stand as it does now for ``site`` to have the say over ``system``."""
        lease, epoch = self._etcd.get(site_key(site)), self._etcd.get(epoch_key(system))
        what = f"have the say over {system} at {site}"
        if lease is None:
            raise Refusal("sync.no-lease", what, f"{site} holds no lease", "its warden must hold it")
        if epoch is None or epoch_of(epoch).site != site:
            raise Refusal("sync.not-active", what, f"{system} is not active there", "ncia status")
        return (Unchanged(lease.key, lease.mod_revision), Unchanged(epoch.key, epoch.mod_revision))

    def birth(self, system: SystemId, home: SiteId) -> Epoch:
        """Epoch 1 at its home, for a system that has none yet; an epoch already there stays as it is."""
        key = epoch_key(system)
        born = Epoch(system, 1, home, "", 0)
        outcome = self._etcd.txn((Absent(key),), (Put(key, born.value()), Get(key)), (Get(key),))
        return epoch_of(outcome.reads[0][0])

    def claim_epoch(
        self,
        system: SystemId,
        from_site: SiteId,
        to_site: SiteId,
        expected_mod_revision: int,
        run: RunId,
        by_site: SiteId | None = None,
    ) -> Epoch:
        """Make ``to_site`` the active site under the next epoch, if nobody else moved the system, ``from_site`` holds
        no lease, and the run was not taken over from ``by_site``, which carries it out (``to_site`` unless told);
        :class:`Refusal` otherwise."""
        key, what = epoch_key(system), f"claim {system} for {to_site}"
        before = self._etcd.get(key)
        if before is None:
            raise Refusal("fencing.no-epoch", what, "the system has no epoch", "see that the estate was brought up")
        now = epoch_of(before)
        if (now.site, now.run) == (to_site, run):
            return now
        claimed = Epoch(system, now.epoch + 1, to_site, run, 0)
        ours = self._still_ours(from_site, run, by_site or to_site, what)
        outcome = self._etcd.txn(
            (Unchanged(key, expected_mod_revision), Absent(site_key(from_site)), ours),
            (Put(key, claimed.value()), Get(key)),
            (Get(key), Get(site_key(from_site))),
        )
        if outcome.succeeded:
            return epoch_of(outcome.reads[0][0])
        self._still_ours(from_site, run, by_site or to_site, what)
        if outcome.reads[1]:
            why = f"{from_site} holds its lease, so it may be serving {system}"
            raise Refusal("fencing.lease-held", what, why, "fence that site, or wait until its lease expires")
        now = epoch_of(outcome.reads[0][0])
        why = f"epoch {now.epoch} is already at {now.site} by {now.run or 'its birth'}, since the plan was made"
        raise Refusal("fencing.epoch-moved", what, why, "make a new plan")

    def _still_ours(self, lost: SiteId, run: RunId, by_site: SiteId, what: str) -> Compare:
        """What must stand as it does now for ``by_site`` to act for ``run``; refused where another site has it."""
        found = self._etcd.get(run_key(lost))
        if found is None:
            return Absent(run_key(lost))
        there = run_of(found)
        if there.run == run and there.site != by_site:
            raise taken_over(what, there)
        return Unchanged(found.key, found.mod_revision)

    def open_run(self, lost: SiteId, run: RunId, by_site: SiteId) -> OpenRun:
        """Declare ``run`` against ``lost``: that site fences itself and its peer stops confirming it. The same run may
        be taken over from another site once that one holds no lease, as the majority sees it; another run is
        refused."""
        key, wanted = run_key(lost), OpenRun(lost, run, by_site)
        found = self._etcd.get(key)
        if found is not None:
            there = run_of(found)
            if there.run != run:
                why = f"run {there.run} of {there.site} is open against {lost}"
                raise Refusal("fencing.run-open", f"open run {run}", why, f"end run {there.run} first")
            if there == wanted:
                return there
        compare: tuple[Compare, ...] = (Absent(key),)
        if found is not None:
            compare = (Unchanged(key, found.mod_revision), Absent(site_key(there.site)))
        outcome = self._etcd.txn(compare, (Put(key, wanted.value()),), (Get(key),))
        if outcome.succeeded:
            return wanted
        now = [run_of(pair) for pair in outcome.reads[0]]
        if found is not None and now == [there]:
            why = f"{there.site} holds its lease, so its controller may be carrying it out"
            raise Refusal("fencing.executor-lives", f"take run {run} over", why, f"ask {there.site}'s controller")
        if now and now[0].run == run:
            raise taken_over(f"take run {run} over", now[0])
        raise Refusal("fencing.run-open", f"open run {run}", f"another run against {lost} was opened just now")

    def close_run(self, lost: SiteId, run: RunId) -> None:
        """The site may take its lease again. A run that is not open any more is no error; another run is not closed."""
        found = self._etcd.get(run_key(lost))
        if found is None or run_of(found).run != run:
            return
        self._etcd.txn((Unchanged(found.key, found.mod_revision),), (Delete(found.key),))


def taken_over(what: str, there: OpenRun) -> Refusal:
    why = f"{there.site} has taken run {there.run} over"
    return Refusal("fencing.run-taken", what, why, f"ask {there.site}'s controller")


class WardenControl:
    """The site's own warden, over its unix socket; :class:`Unreachable` where it does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def status(self) -> dict[str, Any]:
        """lease.json as it stands, with ``confirming``, ``last_confirmation_boottime_ns`` and ``lease_held``."""
        return self._ask("GET", "/status")

    def refresh(self) -> dict[str, Any]:
        """Read epochs and runs now; the status once lease.json says what they say."""
        return self._ask("POST", "/refresh")

    def stop_confirming(self) -> int:
        """Confirm the peer no more; the moment of the last confirmation (CLOCK_BOOTTIME, ns) of this host."""
        return int(self._ask("POST", "/stop-confirming")["last_confirmation_boottime_ns"])

    def resume_confirming(self) -> None:
        self._ask("POST", "/resume-confirming")

    def fence(self, reason: str) -> dict[str, Any]:
        """Close this site's gate and give its lease back; stays so until :meth:`unfence`."""
        return self._ask("POST", "/fence", {"reason": reason})

    def unfence(self) -> dict[str, Any]:
        return self._ask("POST", "/unfence")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        # No TLS on a unix socket: making a context for each call would cost 33 ms of processor time.
        transport = httpx.HTTPTransport(uds=str(self._socket), verify=False)
        try:
            with httpx.Client(transport=transport, base_url="http://warden", timeout=CONTROL_SECONDS) as http:
                response = http.request(method, path, json=body or {})
        except httpx.HTTPError as error:
            hint = "ncia warden must run at this site"
            raise Unreachable("fencing.no-warden", f"ask the warden {path}", str(error), hint) from error
        if response.status_code != httpx.codes.OK:
            raise NciaError("fencing.warden-refused", f"ask the warden {path}", response.text[:300])
        return dict(response.json())


def confirmations_lapse_seconds(last_confirmation_boottime_ns: int, now_boottime_ns: int, ttl_seconds: float) -> float:
    """How long to wait until no site can still lean on our warden's last confirmation; 0 where it has lapsed."""
    left_ns = last_confirmation_boottime_ns + int(ttl_seconds * NANOSECONDS) - now_boottime_ns
    return max(0.0, left_ns / NANOSECONDS)
