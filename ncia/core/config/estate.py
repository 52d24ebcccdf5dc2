"""From a folder of YAML to an :class:`Estate`, or to every fault in it at once."""

from __future__ import annotations

import ipaddress
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path

from ncia.core.base.errors import Fault, InputFaults
from ncia.core.base.ids import HostId, SiteId, SystemId
from ncia.core.config.agencies import judge_repositories, read_agencies
from ncia.core.config.documents import judge_document_folders
from ncia.core.config.folder import Sections, read_folder
from ncia.core.config.marked import Node
from ncia.core.config.places import (
    Placed,
    facts,
    judge_hosts,
    judge_sites,
    read_grades,
    read_hosts,
    read_links,
    read_people,
    read_sites,
)
from ncia.core.config.reading import Reading, Record, Shapes, place
from ncia.core.config.systems import World, read_systems
from ncia.core.estate.model import Estate, Host, Settings, Site, System


def load_estate(folder: str | Path) -> Estate:
    """The estate of ``folder``; raises :class:`InputFaults` with every fault.

    An exception (``unprotected``) whose day is past stops nobody here: a controller must start on the night of the
    fire. ``check_estate`` tells it as a fault, and every view shows it.
    """
    estate, faults = _read(Path(folder), None)
    if estate is None or faults:
        raise InputFaults(f"read the estate in {folder}", faults)
    return estate


def check_estate(folder: str | Path, today: date | None = None) -> tuple[Fault, ...]:
    """Every fault of the estate in ``folder``, by file and line; ``today`` is the day of the check (UTC by default)."""
    return _read(Path(folder), today or datetime.now(UTC).date())[1]


def estate_shapes(folder: Path) -> Shapes:
    """What the reading of the estate in ``folder`` asked of each of its records; raises :class:`InputFaults`."""
    shapes = Shapes()
    estate, faults = _read(folder, None, shapes)
    if estate is None:
        raise InputFaults(f"read the estate in {folder}", faults)
    return shapes


def _read(folder: Path, today: date | None, shapes: Shapes | None = None) -> tuple[Estate | None, tuple[Fault, ...]]:
    reading = Reading(shapes=shapes)
    sections = read_folder(folder, reading.faults)
    if shapes:
        shapes.paths.update((id(node), f"{name}[]") for name, nodes in sections.lists.items() for node in nodes)
    for name in ("sites", "hosts", "agencies", "grades", "systems", "people"):
        if not sections.lists[name] and not reading.faults:
            reading.tell(sections.whole, f"no {name}", f"a file with {name}: [...]")
    settings = _settings(reading, sections)
    sites = read_sites(reading, sections)
    hosts = read_hosts(reading, sections)
    grades, people = read_grades(reading, sections), read_people(reading, sections)
    agencies, links = read_agencies(reading, sections), read_links(reading, sections)
    systems = read_systems(reading, sections, World(sites, hosts, grades, settings, today))
    judge_sites(reading, sections, sites)
    judge_hosts(sections, sites, hosts)
    judge_addresses(reading, sections, sites)
    judge_directories(systems, hosts)
    judge_document_folders(systems)
    judge_repositories(agencies, sites, hosts, systems, people)
    reading.resolve()
    faults = tuple(sorted(set(reading.faults), key=lambda f: (f.file, f.line, f.what)))
    if faults:
        return None, faults
    named = sections.singles.get("name")
    estate = Estate(
        name=str(named.value) if named else folder.name,
        hash=sections.hash,
        sites=facts(sites),
        hosts=facts(hosts),
        links=links,
        agencies=facts(agencies),
        grades=grades,
        systems=facts(systems),
        people=people,
        settings=settings,
    )
    return estate, ()


def _settings(reading: Reading, sections: Sections) -> Settings:
    """The platform's own settings: a number for each field of :class:`Settings`, its default where left out."""
    node = sections.singles.get("settings")
    if node is None:
        return Settings()
    record = Record(reading, node, "settings")
    values: dict[str, float] = {}
    for each in fields(Settings):
        default = each.default
        if isinstance(default, int):
            values[each.name] = record.whole(each.name, default)
        elif isinstance(default, float):
            values[each.name] = record.number(each.name, default, above=0)
    return Settings(**values) if record.finish() else Settings()  # type: ignore[arg-type]  # whole or number, as each field is


def judge_addresses(reading: Reading, sections: Sections, sites: Placed[SiteId, Site]) -> None:
    """No two things listen on one address, and each address belongs to some site's own network."""
    networks = [ipaddress.IPv4Network(site.network) for site, _ in sites.values()]
    if len(sites) != len(sections.lists["sites"]):
        networks = []  # a site that cannot be read may be where they belong
    first: dict[str, tuple[str, Node]] = {}
    for address, whose, node in reading.addresses:
        if str(address) in first:
            other, where = first[str(address)]
            if other == whose:  # one object store, named by each of its buckets
                continue
            what = f"{whose}: {address} is already taken by {other} ({place(where)})"
            reading.tell(node, what, "give each its own address or port")
            continue
        first[str(address)] = (whose, node)
        if networks and not any(ipaddress.IPv4Address(address.host) in network for network in networks):
            what = f"{whose}: {address} lies in no site's network"
            reading.tell(node, what, "an address as seen at the site where it listens")


def judge_directories(systems: Placed[SystemId, System], hosts: Placed[HostId, Host]) -> None:
    """Two clusters in one folder destroy each other."""
    taken: dict[tuple[str, str], str] = {}
    for system, record in systems.values():
        for dataset in system.datasets:
            for copy in dataset.copies.values():
                key = (copy.host, copy.data_directory)
                if key in taken and copy.host in hosts:
                    what = f"{dataset.id} and {taken[key]} share {copy.data_directory!r} on host {copy.host}"
                    record.tell(record.where("datasets"), what, "a data_directory of its own")
                taken.setdefault(key, dataset.id)
