"""What promoting the copies of one site would lose, of each system: the figure that people sign.

Pure: what the copies, the receivers and etcd said goes in, a :class:`Loss` with its sentence comes out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ncia.core.base.clock import CANARY_AHEAD_SECONDS_MAX, to_text
from ncia.core.base.ids import DatasetId
from ncia.core.base.lsn import lsn_number
from ncia.core.estate.model import Replication, Settings, System
from recovery.fencing.keys import Sync, SyncMode
from recovery.planned import Loss
from recovery.ports import Outage, Received, Replica

IN_SYNC_SECONDS = 15.0
"""A synchronous partner is known in sync when its newest canary is not older than this before the loss: the canary's
interval, and what our vantages need to call a system down. It does not enlarge the loss: while a partner is away, a
synchronous commit is not acknowledged at all."""


@dataclass(frozen=True)
class DocumentCopy:
    """The newest canary of a file tree or bucket at our copy; ``None``: there is none, or ``trouble`` says why not."""

    dataset: DatasetId
    newest_canary_at: datetime | None
    trouble: str = ""


@dataclass(frozen=True)
class Facts:
    """What was found out about one system when the plan was asked for. ``replica`` is ``None`` where its server here
    did not answer, and ``trouble`` says why. ``cleared_by`` is the run that cleared its synchronous requirement, by the
    journal; ``sync`` is what etcd says, which counts more. ``received`` is what our receiver of it holds;
    ``documents``, of each of its file trees and buckets, what our copy says."""

    replica: Replica | None
    outage: Outage
    trouble: str = ""
    cleared_by: str = ""
    sync: Sync | None = None
    received: Received | None = None
    drift: tuple[str, ...] = ()  # how its program here differs from the one that served, as last compared
    documents: tuple[DocumentCopy, ...] = ()

    @property
    def waited(self) -> bool:
        """Whether commits of a synchronous system waited for our site until it was lost."""
        return self.sync.mode is SyncMode.SYNC if self.sync is not None else not self.cleared_by


def loss_of(system: System, facts: Facts, settings: Settings, now: datetime) -> Loss:
    """What promoting the copies here would lose. An act is its rows and its document: the worst dataset counts."""
    lost_at = facts.outage.since or now
    rows = _loss_of_rows(system, facts, settings.canary_interval_seconds, now)
    waited = system.postgres.replication is Replication.SYNCHRONOUS and facts.waited
    direct = {d.id for d in system.documents if d.replication is Replication.SYNCHRONOUS} if waited else set()
    interval = settings.document_canary_interval_seconds
    papers = [
        _loss_of_documents(copy, lost_at, now, None if copy.dataset in direct else interval) for copy in facts.documents
    ]
    return max((rows, *papers), key=lambda loss: (loss.seconds is None, loss.seconds or 0.0))


def _clocks_differ(newest_canary_at: datetime, now: datetime) -> Loss | None:
    """A canary from the future measures nothing: the clock of the lost site, or ours, is wrong."""
    ahead = (newest_canary_at - now).total_seconds()
    if ahead <= CANARY_AHEAD_SECONDS_MAX:
        return None
    told = f"not known: the newest canary here is dated {ahead:.0f} s from now, so the clocks of the two sites differ"
    return Loss(None, "unknown", told, to_text(newest_canary_at))


def _loss_of_rows(system: System, facts: Facts, canary_interval_seconds: float, now: datetime) -> Loss:
    """The time from the copy's newest canary to the loss, and one canary interval; nothing where commits waited."""
    if facts.replica is None or facts.replica.newest_canary_at is None:
        why = facts.trouble or "its copy here holds no canary"
        return Loss(None, "unknown", f"not known: {why}")
    newest, lost_at = facts.replica.newest_canary_at, facts.outage.since or now
    if (skewed := _clocks_differ(newest, now)) is not None:
        return skewed
    behind = max(0.0, (lost_at - newest).total_seconds())
    mark = to_text(newest)
    synchronous = system.postgres.replication is Replication.SYNCHRONOUS
    if synchronous and facts.waited:
        if behind <= IN_SYNC_SECONDS:
            sentence = f"nothing: commits waited for this copy, in sync {behind:.1f} s before the loss"
            return Loss(0.0, "synchronous", sentence, mark)
        return _by_receiver(facts.replica, facts.received, lost_at, behind)
    seconds = round(behind + canary_interval_seconds, 3)
    told = f"at most {seconds:.1f} s, from the newest canary at this copy"
    if synchronous and facts.sync is not None:
        told += f"; commits waited for nobody since {facts.sync.since} (WAL {facts.sync.lsn})"
    return Loss(seconds, "measured", told, mark)


def _by_receiver(replica: Replica, received: Received | None, lost_at: datetime, behind: float) -> Loss:
    """The copy had fallen back; where our receiver went on, in an unbroken row from what the copy has, commits waited
    for that, and the copy is given all of it before it is promoted."""
    why = f"commits should wait for this site, but the copy's newest canary is {behind:.0f} s older than the loss"
    if received is None:
        return Loss(None, "unknown", f"not known: {why}, and no receiver holds more")
    ago = max(0.0, (lost_at - received.newest_at).total_seconds())
    mark = to_text(received.newest_at)
    if lsn_number(replica.replayed_lsn or "0/0") < lsn_number(received.first_lsn):
        return Loss(None, "unknown", f"not known: {why}, and its receiver begins only at {received.first_lsn}", mark)
    if ago > IN_SYNC_SECONDS:
        return Loss(None, "unknown", f"not known: {why}, and its receiver heard nothing for {ago:.0f} s before", mark)
    sentence = f"nothing: commits waited for the receiver here, which wrote the last {ago:.1f} s before the loss"
    return Loss(0.0, "synchronous", sentence, mark)


def _loss_of_documents(copy: DocumentCopy, lost_at: datetime, now: datetime, interval_seconds: float | None) -> Loss:
    """``interval_seconds`` ``None``: acts waited until their document was here."""
    if copy.newest_canary_at is None:
        why = copy.trouble or f"the copy of {copy.dataset} here holds no canary"
        return Loss(None, "unknown", f"not known: {why}")
    if (skewed := _clocks_differ(copy.newest_canary_at, now)) is not None:
        return skewed
    behind, mark = max(0.0, (lost_at - copy.newest_canary_at).total_seconds()), to_text(copy.newest_canary_at)
    if interval_seconds is not None:
        seconds = round(behind + interval_seconds, 3)
        told = f"at most {seconds:.1f} s, from the newest canary at the copy of {copy.dataset}"
        return Loss(seconds, "measured", told, mark)
    if behind <= IN_SYNC_SECONDS:
        told = f"nothing: acts waited for the copy of {copy.dataset}, in sync {behind:.1f} s before the loss"
        return Loss(0.0, "synchronous", told, mark)
    why = (
        f"acts should wait for the copy of {copy.dataset}, but its newest canary is {behind:.0f} s older than the loss"
    )
    return Loss(None, "unknown", f"not known: {why}", mark)
