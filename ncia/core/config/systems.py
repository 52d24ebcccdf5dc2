"""Hosted systems and their datasets: read, and judged for promises that nothing could keep."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath

from ncia.core.base.ids import AgencyId, DatasetId, HostId, PersonId, SiteId, SystemId
from ncia.core.config.documents import (
    DOCUMENTS,
    Partition,
    judge_before_rows,
    judge_document_places,
    read_documents,
)
from ncia.core.config.folder import Sections
from ncia.core.config.marked import Node
from ncia.core.config.places import CENTRES, Placed, read_promise
from ncia.core.config.programs import read_program
from ncia.core.config.reading import WORD, Reading, Record, Reference, place
from ncia.core.estate.model import (
    Application,
    Dataset,
    Grade,
    Host,
    Isolated,
    PostgresCopy,
    Promise,
    Replication,
    Settings,
    Site,
    SiteKind,
    System,
    Unprotected,
    WithoutPartner,
)
from ncia.core.estate.program import Program

KINDS = ("postgresql", "files", "bucket", "program")
MIRRORED = ("postgresql", "files", "bucket")  # the kinds of which this release keeps a copy at the other site
SQL_NAME = re.compile(r"[a-z_][a-z0-9_]*")
PATH = re.compile(r"/\S*")
NO_PROMISE = Promise(0.0, 0.0)  # stands where the grade is unknown; told by its identity, for 0 is a promise too


@dataclass(frozen=True)
class World:
    """What systems are judged against. ``today`` None: an expired exception is no fault here."""

    sites: Placed[SiteId, Site]
    hosts: Placed[HostId, Host]
    grades: dict[int, Grade]
    settings: Settings
    today: date | None

    @property
    def centres(self) -> tuple[SiteId, ...]:
        """Both of them; empty while there are not exactly two, which is a fault of its own and told once."""
        found = tuple(site.id for site, _ in self.sites.values() if site.kind is SiteKind.CENTRE)
        return found if len(found) == CENTRES else ()


def read_systems(reading: Reading, sections: Sections, world: World) -> Placed[SystemId, System]:
    found: Placed[SystemId, System] = {}
    for node in sections.lists["systems"]:
        record = Record(reading, node, "a system")
        system = _system(record, world)
        if record.finish():
            found[system.id] = (system, record)
    judge_cycles(sections, reading)
    return found


def _system(record: Record, world: World) -> System:
    id = SystemId(record.id("system"))
    number = record.whole("grade")
    if number:
        where = record.where("grade")
        record.reading.references.append(Reference("grade", str(number), where, record.name))
    grade = world.grades.get(number)
    home = SiteId(record.reference("home", "site"))
    depends_on = record.texts("depends_on", required=False)
    for other, node in depends_on:
        record.reading.references.append(Reference("system", other, node, f"{record.name}, 'depends_on'"))
    system = System(
        id=id,
        name=record.text("name"),
        name_ko=record.text("name_ko", ""),
        agency=AgencyId(record.reference("agency", "agency")),
        grade=number,
        home=home,
        depends_on=tuple(SystemId(other) for other, _ in depends_on),
        isolated=record.choice("isolated", Isolated, grade.isolated if grade else Isolated.STOP),
        entry=record.address("entry", "entry"),
        read_path=record.text("read_path", pattern=PATH),
        verify_path=record.text("verify_path", pattern=PATH),
        applications=_applications(record),
        datasets=_datasets(record, id, grade, world),
        without_partner=record.choice(
            "without_partner", WithoutPartner, grade.without_partner if grade else WithoutPartner.BLOCK
        ),
    )
    _judge_home(record, system, world)
    return system


def _applications(record: Record) -> dict[SiteId, Application]:
    found: dict[SiteId, Application] = {}
    for site, node in record.pairs("applications"):
        record.reading.references.append(Reference("site", site, node, f"{record.name}, 'applications'"))
        address = record.address_of(node, f"application at {site}")
        found[SiteId(site)] = Application(SiteId(site), address)
    return found


def _judge_home(record: Record, system: System, world: World) -> None:
    home = world.sites.get(system.home)
    if home and home[0].kind is not SiteKind.CENTRE:
        what = f"its home {system.home} is a {home[0].kind} site, not a centre"
        record.tell(record.where("home"), what, f"home: {world.centres[0]}" if world.centres else "a centre")
    if isinstance(record.where("applications").value, dict) and record.has("applications"):
        for centre in world.centres:
            if centre not in system.applications:
                what = f"no application at {centre}: it could not be served from there"
                record.tell(record.where("applications"), what, f"{centre}: address")


# --- datasets ----------------------------------------------------------------------------------------------------


def _datasets(record: Record, system: SystemId, grade: Grade | None, world: World) -> tuple[Dataset, ...]:
    found: dict[DatasetId, Dataset] = {}
    before: dict[str, Node] = {}
    for node in record.items("datasets"):
        part = record.part(node, "a dataset")
        name = part.text("id", pattern=WORD)
        part.name = f"dataset {system}/{name}"
        if name in before:
            part.tell(part.where("id"), f"declared twice (first at {place(before[name])})", "give each its own id")
        elif name:
            before[name] = part.where("id")
        dataset = _dataset(part, system, name, grade)
        if part.finish():
            held = dataset.copies or dataset.documents
            if held and dataset.kind in MIRRORED and dataset.promise is not NO_PROMISE:
                _judge_promise(part, dataset, world)
                judge_before_rows(part, dataset, found)
            found[dataset.id] = dataset
        _judge_copies(part, dataset, world)
    rows = sum(1 for d in found.values() if d.kind == "postgresql")
    if rows != 1 and record.sound:
        what = f"a system has exactly one dataset of kind postgresql, this one has {rows}"
        record.tell(record.where("datasets"), what, "kind: postgresql")
    return tuple(found.values())


def _dataset(record: Record, system: SystemId, name: str, grade: Grade | None) -> Dataset:
    kind = record.text("kind")
    if kind and kind not in KINDS:
        record.tell(record.where("kind"), f"no kind {kind!r}", f"one of {', '.join(KINDS)}")
    rows = kind == "postgresql"
    program = read_program(record) if kind == "program" else None
    own = record.within("promise", required=False)
    promise = read_promise(own) if own else grade.promise if grade else NO_PROMISE
    if own:
        own.finish()
    return Dataset(
        id=DatasetId(f"{system}/{name}"),
        system=system,
        kind=kind,
        promise=promise,
        replication=record.choice("replication", Replication, None if rows else Replication.ASYNCHRONOUS),
        copies=_copies(record, required=rows),
        database=record.text("database", pattern=SQL_NAME) if rows else "",
        unprotected=_unprotected(record),
        program=program,
        documents=read_documents(record, kind),
        partition=record.choice("partition", Partition, Partition.NONE),
    )


def _copies(record: Record, *, required: bool) -> dict[SiteId, PostgresCopy]:
    found: dict[SiteId, PostgresCopy] = {}
    for site, node in record.pairs("copies") if required else ():
        record.reading.references.append(Reference("site", site, node, f"{record.name}, 'copies'"))
        part = record.part(node, f"copy at {site}")
        folder = part.text("data_directory")
        receiver = part.text("receiver_directory", f"receiver/{folder}")
        for key, told in (("data_directory", folder), ("receiver_directory", receiver)):
            if part.has(key) and told and (PurePosixPath(told).is_absolute() or ".." in PurePosixPath(told).parts):
                part.tell(part.where(key), f"{told!r} leaves the host's data root", "a relative path")
        copy = PostgresCopy(
            site=SiteId(site),
            host=HostId(part.reference("host", "host")),
            server=part.address("server", "server"),
            gate=part.address("gate", "gate"),
            data_directory=folder,
            receiver_directory=receiver,
        )
        part.finish()
        found[copy.site] = copy
    return found


def _unprotected(record: Record) -> Unprotected | None:
    part = record.within("unprotected", required=False)
    if part is None:
        return None
    found = Unprotected(part.day("until"), PersonId(part.reference("by", "person")), part.text("why"))
    part.finish()
    return found


def _judge_promise(record: Record, dataset: Dataset, world: World) -> None:
    """An asynchronous copy lags, and is measured once per canary: it cannot keep a promise sharper than that."""
    if dataset.unprotected or dataset.replication is Replication.SYNCHRONOUS:
        return
    rpo, settings = dataset.promise.rpo_seconds, world.settings
    by_marks = dataset.kind in DOCUMENTS
    interval = settings.document_canary_interval_seconds if by_marks else settings.canary_interval_seconds
    if rpo == 0:
        what = "RPO 0 is promised on an asynchronous copy: what was acknowledged last can be lost"
        record.tell(record.where("replication"), what, "replication: synchronous, or a promise of more than 0 s")
    elif rpo < interval:
        what = f"RPO {rpo:g} s is promised, but an asynchronous copy is measured every {interval:g} s"
        record.tell(record.where("replication"), what, f"rpo_seconds: {interval:g}, or a shorter canary interval")


def _judge_copies(record: Record, dataset: Dataset, world: World) -> None:
    """Each dataset is at both centres, or somebody said in writing why not, and until when."""
    places = dataset.program.places if dataset.program else dataset.copies or dataset.documents
    missing = [centre for centre in world.centres if centre not in places]
    if dataset.kind in DOCUMENTS:
        judge_document_places(record, dataset, world.sites, world.hosts)
    elif dataset.kind in MIRRORED:
        _judge_places(record, dataset, world)
    if dataset.program is not None:
        _judge_hosts(record, dataset.program, world)
    if dataset.unprotected is None:
        rows = dataset.kind == "postgresql"
        if dataset.kind in KINDS and missing and (not rows or record.has("copies")):
            where = ", ".join(missing) if places else "the other site"
            what = f"no copy at {where}, and nobody says why"
            record.tell(record.where("copies"), what, "unprotected: {until: day, by: person, why: reason}")
        return
    at = record.where("unprotected")
    if not missing and world.centres:
        record.tell(at, "declared unprotected, but it has a copy at each centre", "leave 'unprotected' out")
    if world.today and dataset.unprotected.until < world.today:
        what = f"unprotected until {dataset.unprotected.until}: that day is past"
        record.tell(at, what, "protect it, or have somebody decide again")


def _judge_places(record: Record, dataset: Dataset, world: World) -> None:
    for site, copy in dataset.copies.items():
        node = record.where("copies").value[site] if isinstance(record.where("copies").value, dict) else record.node
        host = world.hosts.get(copy.host)
        at = world.sites.get(site)
        if at and at[0].kind is not SiteKind.CENTRE:
            record.tell(node, f"a copy at {site}, which is a {at[0].kind} site", "a centre")
        elif host and host[0].site != site:
            record.tell(node, f"host {copy.host} stands at {host[0].site}, not at {site}", "a host of that site")
        elif host and "database" not in host[0].roles:
            record.tell(node, f"host {copy.host} has no role 'database'", "roles: [database]")


def _judge_hosts(record: Record, program: Program, world: World) -> None:
    for site, at in program.places.items():
        host = world.hosts.get(at.host)
        if host and host[0].site != site:
            what = f"host {at.host} stands at {host[0].site}, not at {site}"
            record.tell(record.where("copies"), what, "a host of that site")


# --- over all systems --------------------------------------------------------------------------------------------


def judge_cycles(sections: Sections, reading: Reading) -> None:
    """A dependency cycle has no order in which to bring its systems back; each is told once, named in full."""
    graph: dict[str, list[str]] = {}
    places: dict[str, Node] = {}
    for node in sections.lists["systems"]:
        if isinstance(node.value, dict) and isinstance(needs := node.value.get("depends_on"), Node):
            id = node.value["id"].value if "id" in node.value else None
            if isinstance(id, str) and id not in graph and isinstance(needs.value, list):
                graph[id] = [str(other.value) for other in needs.value]
                places[id] = needs
    done: set[str] = set()
    for start in graph:
        cycle = _cycle_from(start, graph, done)
        if cycle:
            what = f"dependency cycle: {' → '.join(cycle)}"
            reading.tell(places[cycle[-2]], what, "take one of these dependencies out")


def _cycle_from(start: str, graph: dict[str, list[str]], done: set[str]) -> list[str]:
    """A cycle reachable from ``start`` through systems not yet ``done``; iterative, for deep estates."""
    path: list[str] = [start]
    ways = [iter(graph.get(start, ()))]
    if start in done:
        return []
    found: list[str] = []
    while ways:
        other = next(ways[-1], None)
        if other is None:
            done.add(path.pop())
            ways.pop()
        elif other in path:
            found = found or [*path[path.index(other) :], other]
        elif other not in done:
            path.append(other)
            ways.append(iter(graph.get(other, ())))
    return found
