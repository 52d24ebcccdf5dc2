"""What recovering needs from the world, each method with its promise. All of it is at the surviving site, but for
:class:`Pair`.

Every call is bounded in time. :class:`Unreachable` (or :class:`NoQuorum`) means that nothing is known about whether the
other side acted; :class:`Refusal` that it understood and will not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.estate.model import Dataset
from ncia.core.journal.entries import Body
from ncia.core.journal.entries_recovery import StrandedTable
from recovery.fencing.claims import LeaseState
from recovery.fencing.keys import Epoch, HeldWord, Hold, OpenRun, Sync
from recovery.receiving.term import Held
from recovery.stranded_documents import DocumentLists


class Recorded(Protocol):
    """A journal entry, as far as recovering reads it."""

    @property
    def site(self) -> SiteId: ...
    @property
    def number(self) -> int: ...
    @property
    def at(self) -> datetime: ...
    @property
    def by(self) -> str: ...
    @property
    def body(self) -> Body: ...


class Journal(Protocol):
    """This site's journal, with what was pulled from the peer."""

    def append_all(self, bodies: Sequence[Body], *, by: str) -> Sequence[Recorded]:
        """One transaction, durable when it returns."""
        ...

    def merged(self) -> Iterator[Recorded]:
        """Both sites' entries in causal order."""
        ...

    def subscribe(self, callback: Callable[[Any], None]) -> None:
        """``callback`` gets each entry appended or pulled from now on; it may come from any thread."""
        ...


class Claims(Protocol):
    """Leases, epochs and open runs as the majority sees them (:class:`recovery.fencing.claims.Claims`)."""

    def lease_state(self, site: SiteId) -> LeaseState: ...

    def epochs(self) -> Mapping[SystemId, Epoch]: ...

    def runs(self) -> Mapping[SiteId, OpenRun]: ...

    def syncs(self) -> Mapping[SystemId, Sync]:
        """Whether each system's commits wait for the other site; one that was never written waits as promised."""
        ...

    def put_sync(self, sync: Sync, held_by: SiteId | None = None) -> Sync:
        """By compare-and-swap with ``sync.mod_revision`` (0: there is none yet); :class:`Refusal` where it changed."""
        ...

    def claim_epoch(
        self,
        system: SystemId,
        from_site: SiteId,
        to_site: SiteId,
        expected_mod_revision: int,
        run: RunId,
        by_site: SiteId | None = None,
    ) -> Epoch: ...

    def open_run(self, lost: SiteId, run: RunId, by_site: SiteId) -> OpenRun: ...

    def close_run(self, lost: SiteId, run: RunId) -> None: ...


class Warden(Protocol):
    """Our own site's warden (:class:`recovery.fencing.claims.WardenControl`)."""

    def status(self) -> Mapping[str, Any]: ...

    def refresh(self) -> Mapping[str, Any]:
        """Read epochs and runs now; answers once lease.json says what they say."""
        ...

    def stop_confirming(self) -> int:
        """Confirm the peer no more; the moment of the last confirmation (CLOCK_BOOTTIME, ns)."""
        ...

    def resume_confirming(self) -> None: ...


@dataclass(frozen=True)
class Replica:
    """One system's copy at our site, as its server answered. ``newest_canary_at``: the mark that measures how far
    behind it is; ``synchronous_standby_names``: whom a commit there would wait for."""

    in_recovery: bool
    newest_canary_at: datetime | None
    replayed_lsn: str
    synchronous_standby_names: str


class Databases(Protocol):
    """The PostgreSQL servers of our own site, without the gate in between."""

    def replica(self, system: SystemId) -> Replica: ...

    def in_recovery(self, system: SystemId) -> bool: ...

    def promote(self, system: SystemId) -> None:
        """Ask for promotion and return at once; a server that is promoted already is no error."""
        ...

    def synchronous_standby_names(self, system: SystemId) -> str: ...

    def clear_synchronous(self, system: SystemId) -> None:
        """Commits wait for nobody from the next reload on, which this asks for."""
        ...

    def set_synchronous(self, system: SystemId, names: str) -> None:
        """Commits wait for ``names`` from the next reload on, which this asks for; also of a copy, for when it is
        promoted."""
        ...

    def written_lsn(self, system: SystemId) -> str:
        """How far a primary's WAL is on its disk."""
        ...

    def streams_to(self, system: SystemId, standby: SiteId) -> bool:
        """Whether ``standby``'s copy streams from this server now."""
        ...

    def replayed_lsn(self, system: SystemId) -> str:
        """Up to where the copy has replayed; of one that is a primary already, up to where it has written."""
        ...

    def detach(self, system: SystemId) -> None:
        """The copy follows its primary no more, and reads what was handed to it; again is no error."""
        ...

    def attach(self, system: SystemId) -> None:
        """The inverse of :meth:`detach`."""
        ...


@dataclass(frozen=True)
class Received:
    """What the receiver of a system holds, by names and times: from where on, and when its newest byte was written."""

    first_lsn: str
    newest_at: datetime


class Receivers(Protocol):
    """Our own site's WAL receivers (:class:`recovery.receiving.control.ReceiverControl`). ``None`` everywhere for a
    system that has none, or whose receiver holds nothing."""

    def received(self, system: SystemId) -> Received | None: ...

    def hand_over(self, system: SystemId) -> Held | None:
        """Receive nothing more in this term, and lay all that is held out for the copy. May be called again."""
        ...

    def follow_again(self, system: SystemId) -> None:
        """The hand-over is void: the receiver goes on."""
        ...


class Marks(Protocol):
    """The canaries of file trees and buckets at our own site."""

    def newest(self, dataset: Dataset) -> datetime | None:
        """When the newest canary at our copy was written; ``None`` where it holds none."""
        ...


@dataclass(frozen=True)
class Answer:
    """What an application said. ``epoch`` and ``site`` are 0 and empty where it did not name them."""

    status: int
    epoch: int
    site: str
    text: str  # the beginning of the body


class Applications(Protocol):
    """The systems' web applications."""

    def verify(self, system: SystemId) -> Answer:
        """A real, marked transaction at our site's application, asked directly."""
        ...

    def read_from_outside(self, system: SystemId) -> Answer:
        """The characteristic read through the citizens' entry."""
        ...


@dataclass(frozen=True)
class Position:
    """Where the front door sends a system's citizens, and under which epoch."""

    site: SiteId
    epoch: int


class Traffic(Protocol):
    """The front door's switch."""

    def positions(self) -> Mapping[SystemId, Position]: ...

    def switch(self, system: SystemId, site: SiteId, epoch: int) -> None:
        """:class:`Refusal` where the front door already follows a higher epoch."""
        ...


class Patience(Protocol):
    """Time, as a step may spend it."""

    def now(self) -> datetime: ...

    def boottime_ns(self) -> int: ...

    def pause(self, seconds: float) -> None:
        """Let so much time pass; raises :class:`recovery.step.Halted` at once when the run is told to stop."""
        ...


@dataclass(frozen=True)
class Outage:
    """Since when citizens are without a system, as our vantages saw it; ``None`` where it is not down.

    ``since`` is not earlier than the loss: it is the first bad look.
    """

    since: datetime | None
    evidence: str


class Watching(Protocol):
    """What watching knows of a system at this moment, from the folded verdicts."""

    def outage(self, system: SystemId) -> Outage: ...


class Permits(Protocol):
    """What permits a run to act (:class:`recovery.permits.RunPermits`)."""

    def demand(self, run: RunId, what: str) -> str:
        """That the run's plan, approvals and start are known at two of the three places, in a sentence;
        :class:`Refusal` where no second place took them in time, with who did not answer and the override."""
        ...


class Holds(Protocol):
    """Planned moves in etcd (:class:`recovery.fencing.holds.Holds`)."""

    def word_of(self, system: SystemId) -> HeldWord | None: ...

    def lay(self, system: SystemId, run: RunId, to_site: SiteId, expected_mod_revision: int) -> Hold: ...

    def release(self, system: SystemId, run: RunId) -> None: ...

    def claim(self, system: SystemId, to_site: SiteId, expected_mod_revision: int, run: RunId) -> Epoch: ...


@dataclass(frozen=True)
class CopyFacts:
    """One system's cluster as found on its host. ``standby``: it is told to follow; ``clean``: its server ended in
    order, with ``checkpoint_lsn`` as its last checkpoint; ``rewound_by``: the run that last rewound it."""

    present: bool
    running: bool = False
    standby: bool = False
    clean: bool = False
    checkpoint_lsn: str = ""
    rewound_by: str = ""


@dataclass(frozen=True)
class Stranded:
    """What an old primary holds beyond the fork. ``timeline`` 0: there is nothing that could hold any."""

    timeline: int = 0
    fork_lsn: str = ""
    transactions: int = 0
    tables: tuple[StrandedTable, ...] = ()
    evidence: str = ""
    sha256: str = ""

    @property
    def rows(self) -> int:
        return sum(table.only_here + table.differs for table in self.tables)


class Copies(Protocol):
    """The clusters of both sites, commanded on their hosts. Every method may be called again."""

    def facts(self, system: SystemId, site: SiteId) -> CopyFacts: ...

    def stop(self, system: SystemId, site: SiteId) -> None:
        """In order: what streams from it has everything when this returns. Not running is no error."""
        ...

    def start(self, system: SystemId, site: SiteId) -> None:
        """Returns when it serves or stands by. Running is no error."""
        ...

    def follow(self, system: SystemId, site: SiteId, primary: SiteId) -> None:
        """A cluster that does not run will be a copy of ``primary``'s when it is started; its slot is made there."""
        ...

    def forget(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        """Drop the slots that :meth:`slots_left` tells, but for those that are being read at this moment: these are
        answered."""
        ...

    def slots_left(self, system: SystemId, site: SiteId, standby: SiteId) -> tuple[str, ...]:
        """The slots by which ``standby`` and its receiver once followed this server, which is a standby itself now,
        and those of backup jobs that ended with it: one that nobody reads keeps WAL for ever."""
        ...

    def rewind(self, system: SystemId, site: SiteId, source: SiteId, run: RunId) -> str:
        """Throw away what the cluster has beyond ``source``'s history, for good; the way it was done, in a word:
        ``pg_rewind``, or ``pg_basebackup`` where that cannot."""
        ...

    def list_stranded(self, system: SystemId, site: SiteId, active: SiteId, run: RunId) -> Stranded:
        """Compare the old primary with the new one on a copy of its files, which stay as they are, and keep the rows
        as evidence; ``Stranded()`` is kept too where there is no old primary."""
        ...

    def stranded_listed(self, system: SystemId, run: RunId) -> Stranded | None:
        """What :meth:`list_stranded` found in this run, if it came to its end."""
        ...


class Compared(Protocol):
    """A system's documents at the other site against ours. ``looked_at``: of the time that can matter; ``lacking``:
    those that we lack or have with other bytes; ``refused``: names there that nobody may copy."""

    @property
    def looked_at(self) -> int: ...
    @property
    def lacking(self) -> Sequence[str]: ...
    @property
    def refused(self) -> Sequence[str]: ...


class DocumentDrain(Protocol):
    """How a system's documents at the other site, which has it, come to be all here."""

    def behind(self, system: SystemId) -> Mapping[str, float | None]:
        """By dataset: by how many seconds our canary is older than the other site's; ``None`` where one of the two has
        none."""
        ...

    def compare(self, system: SystemId) -> Compared:
        """Changes nothing. :class:`NciaError` where a store did not answer or is not what it was; a system without
        documents compares as the same at once."""
        ...

    def bring(self, system: SystemId, now: datetime) -> int:
        """Copy what is lacking here, each read back and compared; how many there were. May be called again."""
        ...


@dataclass(frozen=True)
class Pair:
    """What a planned move needs, for which both sites must live. ``there``: the other site's servers; ``documents``:
    lists of those that only one site holds; ``drain``: how the last of them are brought."""

    holds: Holds
    there: Databases
    copies: Copies
    documents: DocumentLists
    drain: DocumentDrain


@dataclass(frozen=True)
class World:
    """All of it. ``permits`` is None where one place is all there is: a world in memory; ``pair`` where planned moves
    are not provided for."""

    claims: Claims
    warden: Warden
    databases: Databases
    applications: Applications
    traffic: Traffic
    receivers: Receivers
    marks: Marks
    watching: Watching | None = None  # the desk fills it in
    permits: Permits | None = None
    pair: Pair | None = None

    @property
    def both(self) -> Pair:
        if self.pair is None:
            raise NciaError("recovery.no-pair", "make a planned move", "this controller commands no hosts")
        return self.pair
