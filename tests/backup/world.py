"""Two sites, one system on a real cluster at the one, a store on this machine at the other, a real journal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from backup.engines.postgresql import PostgresSources
from backup.ledger import JournalLedger
from backup.perform import Performer
from backup.plan import Charge
from backup.ports import RestoredCopy, Store
from backup.stores.remote import RemoteStore, StoreSite
from backup.stores.scratch import Scratch
from ncia.core.base.clock import to_text
from ncia.core.base.ids import AgencyId, DatasetId, HostId, SiteId, SystemId
from ncia.core.estate.model import (
    Address,
    Dataset,
    Estate,
    Grade,
    Host,
    Isolated,
    PostgresCopy,
    Promise,
    Replication,
    Services,
    Site,
    SiteKind,
    System,
)
from ncia.core.journal import Entry, Journal
from ncia.core.journal.entries import BackupFinished, ProofFinished
from ncia.core.state import StateStore
from ncia.core.work.jobs import Job
from tests.backup.cluster import Cluster
from tests.core.journal.sites import EAST, WEST, SetClock, journal_of, sqlite_url
from tests.fakes.jobs import MemorySteps, order
from tests.fakes.remote import LocalRemote

DATASET = DatasetId("tax/rows")
STORE_HOST = Host(HostId("west-store"), WEST, Address("127.0.0.1", 22), "ncia", ("store",))
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def estate_with(server: Address, database: str = "acts", interval_seconds: float = 3600.0) -> Estate:
    """One system, at home in the east."""
    copies = {
        EAST: PostgresCopy(EAST, HostId("east-db"), server, server, "tax"),
        WEST: PostgresCopy(WEST, HostId("west-db"), Address("127.0.0.1", 1), Address("127.0.0.1", 2), "tax"),
    }
    promise = Promise(0, 3600)
    rows = Dataset(DATASET, SystemId("tax"), "postgresql", promise, Replication.ASYNCHRONOUS, copies, database)
    files = Dataset(DatasetId("tax/files"), SystemId("tax"), "files", promise, Replication.ASYNCHRONOUS, {})
    system = System(
        id=SystemId("tax"),
        name="Tax",
        name_ko="세금",
        agency=AgencyId("agency"),
        grade=1,
        home=EAST,
        depends_on=(),
        isolated=Isolated.STOP,
        entry=Address("127.0.0.1", 3),
        read_path="/",
        verify_path="/",
        applications={},
        datasets=(rows, files),
    )
    sites = {site: Site(site, site, SiteKind.CENTRE, "UTC", "127.0.0.0/24", {}, Services()) for site in (EAST, WEST)}
    grades = {1: Grade(1, promise, Isolated.STOP, interval_seconds)}
    return Estate("test", "", sites, {STORE_HOST.id: STORE_HOST}, (), {}, grades, {system.id: system}, {})


def charge_of(estate: Estate) -> Charge:
    interval = estate.grades[1].backup_interval_seconds
    return Charge(estate.datasets[DATASET], EAST, WEST, interval)


class TamperingStore:
    """A store whose restored copies are altered, by a superuser, between the recovery and the comparing."""

    def __init__(self, inner: RemoteStore, remote: LocalRemote, tools: Path, statement: str) -> None:
        self._inner = inner
        self._statement = statement

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    @contextmanager
    def restore(self, job: str, path: str, database: str, lsn: str, manifest_sha256: str) -> Iterator[RestoredCopy]:
        with self._inner.restore(job, path, database, lsn, manifest_sha256) as copy:
            assert isinstance(copy, Scratch)
            copy.ask("select pg_promote(true, 30)", role="postgres")
            copy.ask(f"set search_path = civil, pg_catalog; {self._statement}", role="postgres")
            yield copy


@dataclass
class Hands:
    """A performer whose steps are recorded in memory. Each call is a job of its own, unless ``recorded`` is shared."""

    performer: Performer

    def back_up(
        self, charge: Charge, due_at: datetime, job: str, recorded: dict[str, object] | None = None, fence: int = 1
    ) -> BackupFinished:
        return self.performer.back_up(self.steps(job, recorded, fence), charge, to_text(due_at))

    def prove(
        self, point: BackupFinished, database: str, job: str, recorded: dict[str, object] | None = None, fence: int = 1
    ) -> ProofFinished:
        return self.performer.prove(self.steps(job, recorded, fence), point, database)

    def delete(self, point: BackupFinished, reason: str) -> None:
        self.performer.delete(self.steps("backup-1", None, 1), point, reason)

    def steps(self, job: str, recorded: dict[str, object] | None, fence: int) -> MemorySteps:
        return MemorySteps(Job(order(job), "running", fence=fence), {} if recorded is None else recorded)


@dataclass
class World:
    """The west's controller, which protects what is active in the east."""

    cluster: Cluster
    folder: Path
    clock: SetClock = field(default_factory=SetClock)
    remote: LocalRemote = field(default_factory=LocalRemote)

    def __post_init__(self) -> None:
        self.estate = estate_with(self.cluster.server, self.cluster.database)
        self.charge = charge_of(self.estate)
        self.journal: Journal = journal_of(WEST, sqlite_url(self.folder, "west"), self.clock)
        self.states = StateStore(self.journal)
        self.root = self.folder / "store"
        place = StoreSite(STORE_HOST, PurePosixPath(self.root), PurePosixPath(self.cluster.tools))
        self.store = RemoteStore(self.remote, place)
        passfile = self.cluster.write_passfile(self.folder / "pgpass")
        self.sources = PostgresSources(self.estate, WEST, passfile, attempts_max=5)

    def performer(self, store: Store | None = None, permit: Callable[[Entry], object] = lambda entry: None) -> Hands:
        ledger = JournalLedger(self.journal, self.states, lambda job, fence: None, permit)
        return Hands(Performer(ledger, self.sources, store or self.store, self.clock))

    def tampering(self, statement: str) -> Hands:
        store = TamperingStore(self.store, self.remote, self.cluster.tools, statement)
        return self.performer(store)  # type: ignore[arg-type]

    def kinds(self) -> list[str]:
        return [entry.kind for entry in self.journal.entries(WEST)]

    def leftovers(self) -> list[str]:
        """Whatever a job should not have left: partial copies, scratch, slots."""
        names = [str(path.relative_to(self.root)) for path in self.root.glob("*/*/.partial-*")]
        names += [str(path.relative_to(self.root)) for path in self.root.glob(".scratch/*")]
        return names + self.cluster.slots()

    def close(self) -> None:
        self.journal.close()


def later(moment: datetime, seconds: float) -> datetime:
    return moment + timedelta(seconds=seconds)


__all__ = ["DATASET", "EAST", "NOW", "WEST", "SiteId", "World", "charge_of", "estate_with", "later"]
