"""An agency with a repository at two sites, its documents in memory, real jobs, a real journal, either controller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backup.agencies.perform import AgencyWork, Tools
from backup.agencies.plan import FIRST_AFTER_SECONDS, LOOK_SECONDS, MAKE_AFTER_SECONDS
from backup.agencies.ports import Engine, Place
from backup.agencies.task import AgencyTask, Parts
from backup.engines.own import OwnEngine, password_in
from backup.ledger import JournalLedger
from backup.repository.ports import Kind
from backup.repository.repository import Repository, open_repository
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import AgencyId, DatasetId, HostId, PersonId, SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, Agency, Dataset, Host, Person, Promise, Replication, Role, TreeCopy
from ncia.core.estate.repository import AgencyRepository, EngineName, Keep
from ncia.core.journal import Entry
from ncia.core.journal.body import Body
from ncia.core.journal.entries_repositories import BODIES
from ncia.core.state import StateStore
from ncia.core.state.repositories import RepositoryFact
from ncia.core.work.documents import MARK
from ncia.core.work.jobs import Job, Limits
from ncia.lab.secrets import openssh_public
from tests.backup.repository.sample import CHEAP, PASSWORD
from tests.backup.world import estate_with
from tests.core.journal.sites import EAST, WEST, SetClock, journal_of, sqlite_url
from tests.fakes.documents import FakeDocuments
from tests.fakes.jobs import FakeJobs
from tests.fakes.repository import FakeStore

TAX, TREASURY = DatasetId("tax/files"), AgencyId("agency")
INTERVAL = 3600.0
SELDOM = 1e9
NOWHERE = Address("127.0.0.1", 1)
KIM, LEE = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def estate_of(engine: EngineName = EngineName.NCIA, server: Address = NOWHERE) -> Estate:
    """One system at home in the east, with documents; its agency's repository is at both sites."""
    base = estate_with(server)
    promise = Promise(0, 3600)
    copies = {site: TreeCopy(site, HostId(f"{site}-files"), "tax") for site in (EAST, WEST)}
    files = Dataset(TAX, SystemId("tax"), "files", promise, Replication.ASYNCHRONOUS, {}, documents=copies)
    system = base.systems[SystemId("tax")]
    system = replace(system, datasets=(system.datasets[0], files))
    places = {site: TreeCopy(site, HostId(f"{site}-files"), "backups") for site in (EAST, WEST)}
    escrow = (PersonId("kim"), PersonId("lee"))
    repository = AgencyRepository(engine, INTERVAL, Keep(2, daily=3), places, escrow, prove_interval_seconds=SELDOM)
    hosts = {
        each.id: each
        for each in (
            Host(HostId(f"{site}-files"), site, Address("127.0.0.1", 22), "ncia", ("files", "store"), "files")
            for site in (EAST, WEST)
        )
    }
    people = {
        PersonId(name): Person(PersonId(name), name, Role.ADMIN, openssh_public(key))
        for name, key in (("kim", KIM), ("lee", LEE))
    }
    people[PersonId("han")] = Person(PersonId("han"), "han", Role.RETENTION_OFFICER, "")
    return replace(
        base,
        hosts=hosts,
        systems={system.id: system},
        agencies={TREASURY: Agency(TREASURY, "Treasury", repository)},
        people=people,
    )


@dataclass
class World:
    """The controller of ``site``; ``stores`` are what lies at the two places, whoever looks."""

    folder: Path
    site: SiteId = EAST
    estate: Estate = field(default_factory=estate_of)
    clock: SetClock = field(default_factory=SetClock)
    alone: bool = False
    stores: dict[str, FakeStore] = field(default_factory=lambda: {site: FakeStore() for site in (EAST, WEST)})

    def __post_init__(self) -> None:
        self.agency = self.estate.agencies[TREASURY]
        self.documents = {site: FakeDocuments(site) for site in (EAST, WEST)}
        for store in self.documents.values():
            store.held[MARK] = (b"as agents write it", 0.0)
        self.journal = journal_of(self.site, sqlite_url(self.folder, self.site), self.clock)
        self.states = StateStore(self.journal)
        self.active = {SystemId("tax"): EAST}
        self.jobs = FakeJobs()
        (self.folder / "password").write_text(PASSWORD)
        self.engine: Engine = OwnEngine(lambda url: self.stores[url], SystemClock(), "0.1.0", cost=CHEAP)
        self.task = AgencyTask(
            Parts(
                estate=self.estate,
                site=self.site,
                journal=self.journal,
                states=self.states,
                jobs=self.jobs,
                clock=self.clock,
                engine_of=lambda repository: self.engine,
                place_of=self.place,
                active=lambda: self.active,
                permit=self.permit,
            )
        )
        ledger = JournalLedger(self.journal, self.states, self.jobs.check)
        self.tools = Tools(
            ledger=ledger,
            engine_of=lambda repository: self.engine,
            place_of=self.place,
            password_of=password_in,
            store_of=lambda url: self.stores[url],
            documents_of=lambda copy: self.documents[copy.site],
            staging=self.folder / "staging",
            clock=self.clock,
            cost=CHEAP,
        )
        self.works = AgencyWork(self.estate, self.site, self.tools).works()
        self.jobs.start(self.works, Limits())

    def permit(self, entries: Sequence[Entry]) -> None:
        """A second place that knows of all, unless ``alone``."""
        if self.alone and entries:
            raise Refusal("journal.alone", "forget snapshots", "nobody else knows of it")

    def place(self, agency: Agency, site: SiteId) -> Place:
        return Place(site, self.folder / "password")

    def tick(self, seconds: float = 0.0) -> list[Job]:
        """The calendar's call so much later; what it ordered begins after it, and has ended when this returns."""
        self.clock.moment += timedelta(seconds=seconds)
        before = {job.id for job in self.jobs.list()}
        self.jobs.close()
        self.jobs.freeze()
        self.task.tick(self.clock.now())
        self.jobs.start(self.works, Limits())
        return [self.jobs.wait(job.id, 60) for job in self.jobs.list() if job.id not in before]

    def made(self) -> World:
        """With repositories at both sites."""
        (job,) = self.tick(MAKE_AFTER_SECONDS)
        assert job.state == "succeeded", job.sentence
        return self

    def kept(self) -> World:
        """With one document in one snapshot at each."""
        self.made()
        self.documents[EAST].put("2026/a", b"a citizen's return", 1000.0)
        (job,) = self.tick(FIRST_AFTER_SECONDS - MAKE_AFTER_SECONDS + 1)
        assert job.state == "succeeded", job.sentence
        return self

    def look(self) -> RepositoryFact:
        """What stands in the journal after a look at this site's own place."""
        self.task.look(self.agency)
        return self.fact(self.site)

    def fact(self, site: SiteId) -> RepositoryFact:
        return self.states.snapshot().repositories[TREASURY, site]

    def opened(self, site: SiteId) -> Repository:
        found = open_repository(self.stores[site], PASSWORD)
        found.load_index()
        return found

    def snapshots(self, site: SiteId) -> list[str]:
        return sorted(each.name for each in self.stores[site].names(Kind.SNAPSHOTS))

    def told(self) -> list[Body]:
        return [entry.body for entry in self.journal.entries(self.site) if isinstance(entry.body, BODIES)]

    def close(self) -> None:
        self.jobs.close()
        self.journal.close()


__all__ = ["EAST", "INTERVAL", "LOOK_SECONDS", "TAX", "TREASURY", "WEST", "World", "estate_of"]
