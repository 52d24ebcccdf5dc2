"""One system whose program lies in two folders of this machine, as if each were a site's host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from backup.program.hosts import SshPrograms
from backup.program.task import Parts, ProgramTask
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import DatasetId, HostId, SiteId, SystemId
from ncia.core.estate.model import Dataset, Estate, Host, Replication, System
from ncia.core.estate.program import ItemKind, Program, ProgramItem, ProgramPlace
from ncia.core.journal import Journal
from ncia.core.journal.entries import Body, ProgramCaptured, ProgramCompared
from ncia.core.state import StateStore
from tests.backup.world import EAST, STORE_HOST, WEST, estate_with
from tests.core.journal.sites import journal_of, sqlite_url
from tests.fakes.remote import LocalRemote
from tests.monitors.servers import SetClock

DATASET = DatasetId("tax/program")
ADDRESSES: Mapping[SiteId, str] = MappingProxyType({EAST: "192.0.2.10:8000", WEST: "198.51.100.10:8000"})
SCHEMA = "0123456789abcdef"
ITEMS = (
    ProgramItem(ItemKind.PACKAGES, "packages.txt"),
    ProgramItem(ItemKind.CONFIGURATION, "etc"),
    ProgramItem(ItemKind.CERTIFICATE, "certs/entry.pem"),
    ProgramItem(ItemKind.SCHEMA, "schema"),
)
CONTENT: Mapping[str, str] = MappingProxyType(
    {
        "packages.txt": "libpq 17.2\nopenssl 3.0.1\n",
        "etc/app.yaml": "listen: {address}\npassword: swordfish\ndebug: false\n",
        "etc/한글 이름.yaml": "x: 1\n",
        "certs/entry.pem": "-----BEGIN CERTIFICATE-----\n",
        "schema": f"{SCHEMA}\n",
    }
)


def program_at(folder: Path) -> Program:
    places = {
        site: ProgramPlace(site, HostId(f"{site}-db"), str(folder / site / "tax"), {"address": ADDRESSES[site]})
        for site in (EAST, WEST)
    }
    return Program(ITEMS, places)


@dataclass
class FakeSchemas:
    """What the databases bear; ``silent`` are sites whose database does not answer."""

    versions: dict[SiteId, str] = field(default_factory=lambda: {EAST: SCHEMA, WEST: SCHEMA})
    silent: set[SiteId] = field(default_factory=set)
    asked: int = 0

    def version(self, system: System, site: SiteId) -> str:
        self.asked += 1
        if site in self.silent:
            raise Unreachable("program.no-schema", f"read the schema version of {system.id} at {site}", "silent")
        return self.versions[site]


class Hosts:
    """Both sites' programs on disk, and the west's controller, which would take over."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SetClock()
        self.remote = LocalRemote()
        self.schemas = FakeSchemas()
        self.active = EAST
        self.estate = self._estate()
        for site in (EAST, WEST):
            for path, text in CONTENT.items():
                self.write(site, path, text.replace("{address}", ADDRESSES[site]))
        self.journal: Journal = journal_of(WEST, sqlite_url(folder, "west"), self.clock)
        self.states = StateStore(self.journal)
        self.task = ProgramTask(self._parts())

    def _estate(self) -> Estate:
        estate = estate_with(STORE_HOST.ssh)
        system = estate.systems[SystemId("tax")]
        made = Dataset(
            DATASET, system.id, "program", system.datasets[0].promise, Replication.ASYNCHRONOUS, {},
            program=program_at(self.folder),
        )  # fmt: skip
        hosts = {
            HostId(f"{site}-db"): Host(HostId(f"{site}-db"), site, STORE_HOST.ssh, "ncia", ("database",))
            for site in (EAST, WEST)
        }
        systems = {system.id: replace(system, datasets=(*system.datasets, made))}
        return replace(estate, systems=systems, hosts={**estate.hosts, **hosts})

    def _parts(self) -> Parts:
        return Parts(
            estate=self.estate,
            site=WEST,
            journal=self.journal,
            states=self.states,
            programs=SshPrograms(self.estate, self.remote),
            schemas=self.schemas,
            store=STORE_HOST,
            root=PurePosixPath(self.folder / "store"),
            active=lambda: {SystemId("tax"): self.active},
        )

    def write(self, site: SiteId, path: str, text: str) -> None:
        file = self.folder / site / "tax" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.task.tick(self.clock.now())
            self.clock.go(10)

    def restart(self) -> None:
        self.task = ProgramTask(self._parts())

    def bodies(self, kind: type[Body]) -> list[Body]:
        return [entry.body for entry in self.journal.entries(WEST, 0, 1000) if isinstance(entry.body, kind)]

    def compared(self) -> list[tuple[str, ...]]:
        return [body.differences for body in self.bodies(ProgramCompared) if isinstance(body, ProgramCompared)]

    def captured(self) -> list[ProgramCaptured]:
        return [body for body in self.bodies(ProgramCaptured) if isinstance(body, ProgramCaptured)]
