"""The estate: sites, hosts, agencies, systems, datasets, links and people, as frozen facts.

Nothing here reads a file or a clock. ``ncia.core.config`` makes an :class:`Estate` from YAML; everything else asks it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from functools import cached_property

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import AgencyId, DatasetId, HostId, PersonId, SiteId, SystemId
from ncia.core.estate.keys import SshKey, key_of_line
from ncia.core.estate.program import Program
from ncia.core.estate.repository import AgencyRepository


class SiteKind(StrEnum):
    CENTRE = "centre"  # holds citizens' data; systems are at home here
    WITNESS = "witness"  # the third voter; holds no citizen data
    PUBLIC = "public"  # the citizens' side: the front door stands here


class Replication(StrEnum):
    SYNCHRONOUS = "synchronous"
    ASYNCHRONOUS = "asynchronous"


class Isolated(StrEnum):
    STOP = "stop"
    CONTINUE = "continue"


class WithoutPartner(StrEnum):
    """What a synchronous system does when nobody at the other site keeps its commits any more."""

    BLOCK = "block"  # acknowledges nothing
    DEGRADE = "degrade"  # goes on alone, once etcd holds since when


class Role(StrEnum):
    OPERATOR = "operator"
    ON_CALL = "on-call"
    AUDITOR = "auditor"
    RETENTION_OFFICER = "retention-officer"
    ADMIN = "admin"


@dataclass(frozen=True)
class Address:
    """Where a service listens: ``host`` is an IPv4 address as seen at its own site, ``port`` a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Etcd:
    client: Address
    peer: Address


@dataclass(frozen=True)
class Services:
    """Our own processes at a site; ``None`` where a site does not run that one. ``api`` is for machines with a
    certificate of the estate, ``console`` for people."""

    api: Address | None = None
    console: Address | None = None
    warden: Address | None = None
    etcd: Etcd | None = None
    traffic: Address | None = None  # the front door's switch, at the public site
    receipts: Address | None = None  # where a centre takes receipts; the only door of it that the public side may dial
    witness: Address | None = None  # who cosigns the heads of the centres' journals, at the witness


@dataclass(frozen=True)
class Site:
    """A data centre, the witness, or the public side.

    ``network`` is the site's own prefix; ``seen_from`` maps another site to the prefix under which that site sees
    ours (prefix translation, the same length), and is absent where addresses are routed as they are.
    """

    id: SiteId
    name: str
    kind: SiteKind
    timezone: str
    network: str
    seen_from: Mapping[SiteId, str]
    services: Services


@dataclass(frozen=True)
class Host:
    """A machine that we command over SSH. ``roles``: ``database`` (postmasters live there), ``store`` (copies do),
    ``files`` (file trees do). ``sftp_user`` may enter the file root over SFTP and run nothing."""

    id: HostId
    site: SiteId
    ssh: Address
    user: str
    roles: tuple[str, ...]
    sftp_user: str = ""


@dataclass(frozen=True)
class Link:
    """A connection between two sites; ``a`` < ``b``."""

    a: SiteId
    b: SiteId

    @property
    def id(self) -> str:
        return f"{self.a}-{self.b}"


@dataclass(frozen=True)
class Agency:
    """Who owns systems; ``repository`` is where backups of its documents lie, where it has one."""

    id: AgencyId
    name: str
    repository: AgencyRepository | None = None


@dataclass(frozen=True)
class Promise:
    """What was promised, in seconds. RPO 0: no acknowledged act is ever lost."""

    rpo_seconds: float
    rto_seconds: float


@dataclass(frozen=True)
class Grade:
    """1 essential … 4 general: the default promise of a class of systems, and what it does when cut off."""

    number: int
    promise: Promise
    isolated: Isolated
    backup_interval_seconds: float
    without_partner: WithoutPartner = WithoutPartner.BLOCK


@dataclass(frozen=True)
class PostgresCopy:
    """One PostgreSQL cluster of a dataset at one site.

    ``server`` is where PostgreSQL itself listens: for replication, watching and recovery only. ``gate`` is where
    applications connect. ``data_directory`` is relative to the database host's data root, and so is
    ``receiver_directory``, where the site's WAL receiver keeps what the other site's primary writes (better on another
    disk; ``receiver/<data_directory>`` unless told).
    """

    site: SiteId
    host: HostId
    server: Address
    gate: Address
    data_directory: str
    receiver_directory: str = ""


@dataclass(frozen=True)
class TreeCopy:
    """One file tree of a dataset at one site: ``path`` below the file root of ``host``, which SFTP shows as ``/``."""

    site: SiteId
    host: HostId
    path: str


@dataclass(frozen=True)
class BucketCopy:
    """One bucket of a dataset at one site, in the object store (S3) that listens at ``endpoint``."""

    site: SiteId
    endpoint: Address
    bucket: str


def store_of(copy: TreeCopy | BucketCopy) -> str:
    """The store that holds a copy, as subjects name it: the host's id, or ``s3-<address>``."""
    return str(copy.host) if isinstance(copy, TreeCopy) else f"s3-{copy.endpoint.host}-{copy.endpoint.port}"


@dataclass(frozen=True)
class Unprotected:
    """A named, dated admission that a dataset has no copy elsewhere; every view shows it in red."""

    until: date
    by: PersonId
    why: str


@dataclass(frozen=True)
class Dataset:
    """One PostgreSQL cluster (``kind: postgresql``), file tree (``files``), bucket, or ``program`` of a system.

    ``copies`` are those of rows, ``documents`` those of a file tree or bucket. ``partition`` says how documents lie:
    ``time``: each in the folder of the ten seconds in which it was acknowledged; ``none``: anywhere.
    """

    id: DatasetId
    system: SystemId
    kind: str
    promise: Promise
    replication: Replication
    copies: Mapping[SiteId, PostgresCopy]
    database: str = ""
    unprotected: Unprotected | None = None
    program: Program | None = None  # of a dataset of kind `program` that is at both centres
    documents: Mapping[SiteId, TreeCopy | BucketCopy] = field(default_factory=dict)
    partition: str = "none"


@dataclass(frozen=True)
class Application:
    """The system's web application at one site."""

    site: SiteId
    address: Address


@dataclass(frozen=True)
class System:
    """A hosted agency service. ``read_path`` is its characteristic read; ``entry`` its citizens' address."""

    id: SystemId
    name: str
    name_ko: str
    agency: AgencyId
    grade: int
    home: SiteId
    depends_on: tuple[SystemId, ...]
    isolated: Isolated
    entry: Address
    read_path: str
    verify_path: str
    applications: Mapping[SiteId, Application]
    datasets: tuple[Dataset, ...]
    without_partner: WithoutPartner = WithoutPartner.BLOCK

    @property
    def promise(self) -> Promise:
        """The strictest promise over the system's datasets."""
        return Promise(
            min(d.promise.rpo_seconds for d in self.datasets), min(d.promise.rto_seconds for d in self.datasets)
        )

    @property
    def postgres(self) -> Dataset:
        """The system's rows; every system of an estate has exactly one such dataset."""
        return next(d for d in self.datasets if d.kind == "postgresql")

    @property
    def documents(self) -> tuple[Dataset, ...]:
        """The system's file trees and buckets that have a copy at each centre."""
        return tuple(d for d in self.datasets if d.documents and not d.unprotected)


@dataclass(frozen=True)
class Person:
    """Somebody who may ask for things. Keys are OpenSSH lines (``ncia.core.estate.keys``); ``public_key`` is the first
    of them. ``agencies`` is how far the role reaches: empty is the whole estate."""

    id: PersonId
    name: str
    role: Role
    public_key: str
    more_keys: tuple[str, ...] = ()
    agencies: tuple[AgencyId, ...] = ()

    @property
    def keys(self) -> tuple[SshKey, ...]:
        return tuple(key_of_line(line) for line in (self.public_key, *self.more_keys) if line.strip())


@dataclass(frozen=True)
class Estate:
    """Everything we run and promise. ``hash`` is the SHA-256 (hex) of the canonical form of its files."""

    name: str
    hash: str
    sites: Mapping[SiteId, Site]
    hosts: Mapping[HostId, Host]
    links: tuple[Link, ...]
    agencies: Mapping[AgencyId, Agency]
    grades: Mapping[int, Grade]
    systems: Mapping[SystemId, System]
    people: Mapping[PersonId, Person]
    settings: Settings = field(default_factory=lambda: Settings())

    @cached_property
    def centres(self) -> tuple[SiteId, ...]:
        """The sites that hold citizens' data; always two."""
        return tuple(s.id for s in self.sites.values() if s.kind is SiteKind.CENTRE)

    @cached_property
    def voters(self) -> tuple[SiteId, ...]:
        """The sites that run an etcd member."""
        return tuple(s.id for s in self.sites.values() if s.services.etcd is not None)

    @cached_property
    def cosigner(self) -> SiteId | None:
        """The site whose `ncia witness` cosigns the centres' journals; ``None`` where no site runs one."""
        return next((s.id for s in self.sites.values() if s.services.witness is not None), None)

    @cached_property
    def datasets(self) -> Mapping[DatasetId, Dataset]:
        return {d.id: d for s in self.systems.values() for d in s.datasets}

    def system(self, system: str) -> System:
        """Raises :class:`NciaError` naming the nearest thing to do where the estate has no such system."""
        try:
            return self.systems[SystemId(system)]
        except KeyError:
            known = ", ".join(sorted(self.systems))
            raise NciaError("estate.no-such-system", f"look up system {system!r}", "not in the estate", known) from None

    def peer_of(self, site: SiteId) -> SiteId:
        """The other data centre."""
        one, other = self.centres
        return other if site == one else one

    def systems_of(self, agencies: Collection[AgencyId]) -> frozenset[SystemId]:
        """The systems that these agencies own."""
        return frozenset(s.id for s in self.systems.values() if s.agency in agencies)

    def at_home(self, site: SiteId) -> tuple[System, ...]:
        return tuple(s for s in self.systems.values() if s.home == site)

    def dependents_of(self, system: SystemId) -> frozenset[SystemId]:
        """Every system that needs ``system``, directly or through others."""
        found: set[SystemId] = set()
        frontier = [system]
        while frontier:
            current = frontier.pop()
            for other in self.systems.values():
                if current in other.depends_on and other.id not in found:
                    found.add(other.id)
                    frontier.append(other.id)
        return frozenset(found)

    def host_of(self, site: SiteId, role: str) -> Host:
        """The host of ``site`` with that role (``database`` or ``store``)."""
        return next(h for h in self.hosts.values() if h.site == site and role in h.roles)

    def seen(self, address: Address, at: SiteId, viewer: SiteId) -> Address:
        """``address`` of site ``at`` as a process at site ``viewer`` must dial it."""
        prefix = self.sites[at].seen_from.get(viewer)
        if viewer == at or prefix is None:
            return address
        own, other = ipaddress.ip_network(self.sites[at].network), ipaddress.ip_network(prefix)
        offset = int(ipaddress.ip_address(address.host)) - int(own.network_address)
        return Address(str(other.network_address + offset), address.port)


@dataclass(frozen=True)
class Settings:
    """How the platform itself behaves; seconds throughout. Defaults are those of the reference estate."""

    lease_ttl_seconds: float = 10.0
    probe_interval_seconds: float = 2.0
    probe_fast_interval_seconds: float = 0.5  # between looks while a verdict is in question, or a look takes long
    probe_timeout_seconds: float = 1.5
    canary_interval_seconds: float = 1.0
    document_canary_interval_seconds: float = 0.5  # a mirror's turn comes on top of it, a stream's does not
    looks_to_fall: int = 3  # consecutive bad looks before `down`
    looks_to_rise: int = 2  # consecutive good looks before `up`
    approval_valid_seconds: float = 900.0
    step_timeout_seconds: float = 30.0
    moves_at_once: int = 4  # systems a run works on at the same time
    jobs_at_once: int = 2  # backups and proofs an executor (the controller, a worker) runs at the same time
    jobs_per_link: int = 2  # of all executors of a site, over one link
    jobs_per_host: int = 2  # of all executors of a site, on one host
    receipts_kept_days: int = 14  # longer than the oldest copy that a system may have to be restored from
    session_valid_seconds: float = 28800.0  # a shift: then a person signs in again
