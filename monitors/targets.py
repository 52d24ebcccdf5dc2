"""Who looks at what: from the estate and a vantage to its targets (docs/architecture.md, "Subjects")."""

from __future__ import annotations

from dataclasses import dataclass

from ncia.core.base.ids import SiteId, Subject, SystemId
from ncia.core.estate.model import (
    Address,
    BucketCopy,
    Dataset,
    Estate,
    PostgresCopy,
    Replication,
    Site,
    SiteKind,
    System,
    TreeCopy,
    store_of,
)


@dataclass(frozen=True)
class AppTarget:
    system: System
    site: SiteId
    address: Address


@dataclass(frozen=True)
class EntryTarget:
    system: System
    address: Address


@dataclass(frozen=True)
class GateTarget:
    subject: Subject
    address: Address


@dataclass(frozen=True)
class DatabaseTarget:
    """``db:``, ``replica:`` and ``canary:`` of one system at the vantage's own site, over two connections."""

    system: System
    copy: PostgresCopy
    database: str
    rpo_seconds: float


@dataclass(frozen=True)
class ReceiverTarget:
    """``receiver:`` of one synchronous system: that of ``peer``, looked at over the vantage's own server."""

    system: System
    copy: PostgresCopy
    database: str
    peer: SiteId


@dataclass(frozen=True)
class SiteTarget:
    site: SiteId
    api: Address | None
    etcd: Address | None
    warden: Address | None
    from_outside: bool


@dataclass(frozen=True)
class LeaseTarget:
    """``members`` in the order in which to ask them."""

    sites: tuple[SiteId, ...]
    members: tuple[Address, ...]


@dataclass(frozen=True)
class DocumentsTarget:
    """``mark:`` and ``mirror:`` of one file tree or bucket at the vantage's own site."""

    dataset: Dataset
    copy: TreeCopy | BucketCopy


@dataclass(frozen=True)
class StoreTarget:
    """A host of file trees or an object store of the vantage's own site."""

    subject: Subject
    address: Address


Target = (
    AppTarget
    | EntryTarget
    | GateTarget
    | DatabaseTarget
    | ReceiverTarget
    | SiteTarget
    | LeaseTarget
    | DocumentsTarget
    | StoreTarget
)


def vantages(estate: Estate) -> tuple[SiteId, ...]:
    """The sites that run an agent: the data centres and the witness."""
    return tuple(s.id for s in estate.sites.values() if s.kind is not SiteKind.PUBLIC)


def targets(estate: Estate, viewer: SiteId) -> tuple[Target, ...]:
    """Everything that the agent at ``viewer`` looks at, with addresses as it must dial them."""
    found: list[Target] = []
    for system in estate.systems.values():
        for at, application in system.applications.items():
            found.append(AppTarget(system, at, estate.seen(application.address, at, viewer)))
        if estate.sites[viewer].kind is SiteKind.CENTRE:
            found += _of_centre(estate, system, viewer)
    if estate.sites[viewer].kind is SiteKind.CENTRE:
        found += _documents(estate, viewer)
    for site in estate.sites.values():
        if site.kind is not SiteKind.PUBLIC:
            found.append(_site(estate, site, viewer))
    leased = tuple(s.id for s in estate.sites.values() if s.services.warden is not None)
    voters = sorted(estate.voters, key=lambda voter: voter != viewer)
    members = [address for voter in voters if (address := _etcd(estate, estate.sites[voter], viewer)) is not None]
    if leased and members:
        found.append(LeaseTarget(leased, tuple(members)))
    return tuple(found)


def _of_centre(estate: Estate, system: System, viewer: SiteId) -> list[Target]:
    found: list[Target] = []
    public = next((s.id for s in estate.sites.values() if s.kind is SiteKind.PUBLIC), viewer)
    found.append(EntryTarget(system, estate.seen(system.entry, public, viewer)))
    dataset = system.postgres
    copy = dataset.copies.get(viewer)
    if copy is not None:
        found.append(GateTarget(subject("gate", system.id, viewer), copy.gate))
        found.append(DatabaseTarget(system, copy, dataset.database, dataset.promise.rpo_seconds))
        if dataset.replication is Replication.SYNCHRONOUS:
            found.append(ReceiverTarget(system, copy, dataset.database, estate.peer_of(viewer)))
    return found


def _documents(estate: Estate, viewer: SiteId) -> list[Target]:
    """The documents at the vantage's own site, and each store that holds some of them, once."""
    found: list[Target] = []
    stores: dict[Subject, Address] = {}
    for system in estate.systems.values():
        for dataset in system.documents:
            copy = dataset.documents[viewer]
            found.append(DocumentsTarget(dataset, copy))
            address = estate.hosts[copy.host].ssh if isinstance(copy, TreeCopy) else copy.endpoint
            stores.setdefault(Subject(f"store:{store_of(copy)}@{viewer}"), address)
    return found + [StoreTarget(subject, address) for subject, address in stores.items()]


def _site(estate: Estate, site: Site, viewer: SiteId) -> SiteTarget:
    def seen(address: Address | None) -> Address | None:
        return None if address is None else estate.seen(address, site.id, viewer)

    services = site.services
    return SiteTarget(
        site.id, seen(services.api), _etcd(estate, site, viewer), seen(services.warden), site.id != viewer
    )


def _etcd(estate: Estate, site: Site, viewer: SiteId) -> Address | None:
    etcd = site.services.etcd
    return None if etcd is None else estate.seen(etcd.client, site.id, viewer)


def subject(kind: str, system: SystemId, site: SiteId) -> Subject:
    return Subject(f"{kind}:{system}@{site}")
