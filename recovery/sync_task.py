"""The task that keeps etcd's word on synchronous commits true, at the site where a system is active.

A system whose estate says ``without_partner: degrade`` goes on alone once etcd holds since when; every system's commits
wait for the other site again once that follows. One effect at a time; each look begins anew, so a task that was killed
between two of them is carried on by the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.base.lsn import lsn_text
from ncia.core.estate.model import Estate, Replication, System
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import (
    SyncDegraded,
    SyncRestored,
)
from recovery.fencing.keys import Sync, SyncMode
from recovery.sync import Action, Decision, Memory, Seen, decide, standby_names

BY = "sync"

log = structlog.get_logger("recovery.sync")


class Primaries(Protocol):
    """The servers of our own site, as the task needs them (:class:`recovery.actions.postgresql.PostgresDatabases`)."""

    def seen(self, system: SystemId) -> Seen | None:
        """``None`` where the server is no primary."""
        ...

    def require_synchronous(self, system: SystemId, names: str) -> None:
        """Commits wait for these from the next reload on, which this asks for."""
        ...

    def clear_synchronous(self, system: SystemId) -> None: ...


class Syncs(Protocol):
    """etcd's word (:class:`recovery.fencing.claims.Claims`)."""

    def syncs(self) -> Mapping[SystemId, Sync]: ...

    def put_sync(self, sync: Sync, held_by: SiteId | None = None) -> Sync: ...


class Writer(Protocol):
    """This site's journal."""

    def append(self, body: Body, *, by: str) -> Any: ...


@dataclass(frozen=True)
class Parts:
    """``active`` tells where each system is active now."""

    estate: Estate
    site: SiteId
    primaries: Primaries
    syncs: Syncs
    journal: Writer
    active: Callable[[], Mapping[SystemId, SiteId]]


class SyncTask:
    """One per controller; ``tick`` is called about once a second."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._peer = parts.estate.peer_of(parts.site)
        self._memory: dict[SystemId, Memory] = {}
        self._known: Mapping[SystemId, Sync] | None = None  # what etcd said last; None where it must be asked
        self._troubles: dict[SystemId, str] = {}

    def tick(self, now: datetime) -> None:
        active = self._parts.active()
        for system in self._parts.estate.systems.values():
            waits = system.postgres.replication is Replication.SYNCHRONOUS
            if not waits or active.get(system.id, system.home) != self._parts.site:
                self._memory.pop(system.id, None)
                continue
            try:
                self._one(system, now)
                self._troubles.pop(system.id, None)
            except NciaError as error:
                self._known = None
                if self._troubles.get(system.id) != error.code:  # the same trouble is told once
                    self._troubles[system.id] = error.code
                    log.warning("sync.not-looked-after", system=system.id, error=str(error))

    def _one(self, system: System, now: datetime) -> None:
        seen = self._parts.primaries.seen(system.id)
        if seen is None:
            return
        decision = self._decide(system, seen, now, self._known or {})
        if decision.action is not Action.NOTHING or not self._plain(system.id):
            self._known = self._parts.syncs.syncs()
            decision = self._decide(system, seen, now, self._known)
        self._memory[system.id] = decision.memory
        if decision.action is not Action.NOTHING:
            log.warning("sync.action", system=system.id, action=decision.action.value, why=decision.why)
            self._act(system, decision, seen, now)
            self._known = None

    def _plain(self, system: SystemId) -> bool:
        known = self._known.get(system) if self._known is not None else None
        return known is not None and known.mode is SyncMode.SYNC

    def _decide(self, system: System, seen: Seen, now: datetime, known: Mapping[SystemId, Sync]) -> Decision:
        memory = self._memory.get(system.id, Memory())
        return decide(self._peer, system.without_partner, known.get(system.id), seen, memory, now)

    def _act(self, system: System, decision: Decision, seen: Seen, now: datetime) -> None:
        """In the order in which a crash between two of them leaves etcd saying no more than is true."""
        action = decision.action
        if action is Action.REQUIRE:
            self._parts.primaries.require_synchronous(system.id, standby_names(self._peer))
            return
        before = (self._known or {}).get(system.id)
        if action is Action.RECORD_SYNC:
            self._put(system.id, before, SyncMode.SYNC, seen, now)
            if before is not None:
                self._write_restored(system.id, before, seen, now)
            return
        since, lsn = (before.since, before.lsn) if before and action is Action.CLEAR else (to_text(now), "")
        if action in (Action.DEGRADE, Action.RECORD_ASYNC):
            self._put(system.id, before, SyncMode.ASYNC, seen, now)
        told = SyncDegraded(
            system=system.id, site=self._parts.site, since=since, lsn=lsn or lsn_text(seen.lsn), reason=decision.why
        )
        self._parts.journal.append(told, by=BY)
        if action is not Action.RECORD_ASYNC:
            self._parts.primaries.clear_synchronous(system.id)

    def _put(self, system: SystemId, before: Sync | None, mode: SyncMode, seen: Seen, now: datetime) -> None:
        by = f"{BY} at {self._parts.site}"
        fresh = Sync(system, mode, to_text(now), lsn_text(seen.lsn), by)
        self._parts.syncs.put_sync(
            replace(fresh, mod_revision=before.mod_revision) if before else fresh, self._parts.site
        )

    def _write_restored(self, system: SystemId, before: Sync, seen: Seen, now: datetime) -> None:
        told = SyncRestored(
            system=system,
            site=self._parts.site,
            since=before.since,
            lsn=lsn_text(seen.lsn),
            unprotected_seconds=round((now - from_text(before.since)).total_seconds(), 3),
        )
        self._parts.journal.append(told, by=BY)
