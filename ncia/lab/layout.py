"""Where everything of a lab is, and who may dial whom: pure questions to the estate."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import HostId, SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, BucketCopy, PostgresCopy, Site, SiteKind, System, TreeCopy
from ncia.lab.relay.end import EndSettings, Export, Line

RELAY = SiteId("relay")  # the WAN's own ground: one folder per end below it
PEOPLE = "people"  # private keys: with the people, outside every site
FILES, OBJECTS = "files", "objects"
RELAY_HOST_NUMBER = 4  # x.x.0.4 of each site
RELAY_PORT = 7000
HOME_CHARACTERS_MAX = 50  # unix sockets below it must stay within 107 bytes


@dataclass(frozen=True)
class Layout:
    """The folders of a lab below ``home``."""

    home: Path

    def site(self, site: SiteId) -> Path:
        return self.home / site

    def relay(self, site: SiteId) -> Path:
        return self.home / RELAY / site

    def settings(self, site: SiteId) -> Path:
        return self.site(site) / "site.yaml"

    def secrets(self, site: SiteId) -> Path:
        return self.site(site) / "secrets"

    def postgres(self, copy: PostgresCopy) -> Path:
        return self.site(copy.site) / "pg" / copy.data_directory

    def files(self, site: SiteId) -> Path:
        """The file root of the site's hosts: what SFTP shows as ``/``."""
        return self.site(site) / FILES

    def objects(self, site: SiteId) -> Path:
        """What the site's object store holds: a folder a bucket, a file an object."""
        return self.site(site) / OBJECTS

    def documents(self, copy: TreeCopy | BucketCopy) -> Path:
        """Where the documents of one copy lie on disk."""
        if isinstance(copy, TreeCopy):
            return self.files(copy.site) / copy.path
        return self.objects(copy.site) / copy.bucket

    def tools(self, site: SiteId) -> Path:
        return self.site(site) / "tools"

    @property
    def people(self) -> Path:
        return self.home / PEOPLE

    @property
    def record(self) -> Path:
        return self.home / "lab.json"


def check_length(home: Path) -> None:
    if len(str(home)) > HOME_CHARACTERS_MAX:
        why = f"{home} is longer than {HOME_CHARACTERS_MAX} characters, too long for the unix sockets below it"
        raise NciaError("lab.home-too-long", "make a lab", why, "NCIA_LAB=/a/shorter/folder")


def relay_address(site: Site) -> Address:
    return Address(str(ipaddress.ip_network(site.network).network_address + RELAY_HOST_NUMBER), RELAY_PORT)


def linked(estate: Estate, site: SiteId) -> tuple[SiteId, ...]:
    """The sites that a link joins to ``site``; the public side first, so that faults reach it first."""
    peers = [link.b if link.a == site else link.a for link in estate.links if site in (link.a, link.b)]
    return tuple(sorted(peers, key=lambda peer: (estate.sites[peer].kind is not SiteKind.PUBLIC, peer)))


def silencing(estate: Estate, site: SiteId) -> tuple[tuple[SiteId, tuple[SiteId, ...]], ...]:
    """The order in which ends fall silent (end, towards whom) when ``site`` is lost.

    The public side's end first, then the site's own towards all in one go, the public side again first: no citizen is
    told of an act that replication was no longer able to carry.
    """
    peers = linked(estate, site)
    public, others = peers[:1], peers[1:]
    return (*((peer, (site,)) for peer in public), (site, peers), *((peer, (site,)) for peer in others))


def services_for(estate: Estate, site: SiteId, viewer: SiteId) -> tuple[Address, ...]:
    """What ``site`` lets ``viewer`` dial. Gates never: applications write at their own site only.

    The public side reaches applications and the intake of receipts alone; the witness also what tells whether a site
    lives; only another data centre reaches databases and hosts.
    """
    at, kind = estate.sites[site], estate.sites[viewer].kind
    applications = [s.applications[site].address for s in estate.systems.values() if site in s.applications]
    own = at.services
    if kind is SiteKind.PUBLIC:
        return (*applications, own.receipts) if own.receipts else tuple(applications)
    found = [address for address in (own.api, own.warden, own.traffic) if address is not None]
    if own.etcd is not None:
        found += [own.etcd.client, own.etcd.peer]
    found += applications
    if at.kind is SiteKind.PUBLIC:
        found += [s.entry for s in estate.systems.values()]
    if kind is SiteKind.CENTRE:
        found += [own.witness] if own.witness is not None else []
        found += [host.ssh for host in estate.hosts.values() if host.site == site]
        found += [copy.server for copy in copies_at(estate, site)]
        found += endpoints_at(estate, site)
    return tuple(found)


def endpoints_at(estate: Estate, site: SiteId) -> tuple[Address, ...]:
    """The object stores of ``site``: the lab runs one, whatever number of buckets it has."""
    copies = [dataset.documents.get(site) for dataset in estate.datasets.values()]
    return tuple(dict.fromkeys(copy.endpoint for copy in copies if isinstance(copy, BucketCopy)))


def copies_at(estate: Estate, site: SiteId) -> tuple[PostgresCopy, ...]:
    return tuple(s.postgres.copies[site] for s in estate.systems.values() if site in s.postgres.copies)


def system_of(estate: Estate, copy: PostgresCopy) -> System:
    return next(s for s in estate.systems.values() if s.postgres.copies.get(copy.site) == copy)


def end_settings(estate: Estate, site: SiteId) -> EndSettings:
    """The relay end of ``site``: whom it is joined to, and which addresses it speaks for."""
    lines, exports = [], []
    for peer in linked(estate, site):
        # The later name dials, so each link has one tunnel.
        lines.append(Line(peer, str(relay_address(estate.sites[peer])), dials=site > peer))
        for target in services_for(estate, peer, site):
            seen = estate.seen(target, peer, site)
            exports.append(Export(peer, str(seen), str(target)))
    return EndSettings(site, str(relay_address(estate.sites[site])), tuple(lines), tuple(exports))


def hosts_at(estate: Estate, site: SiteId) -> tuple[HostId, ...]:
    return tuple(host.id for host in estate.hosts.values() if host.site == site)
