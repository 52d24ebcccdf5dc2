"""Sites, hosts, links, grades and people: read, and judged where they alone can tell."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ncia.core.base.ids import AgencyId, HostId, PersonId, SiteId
from ncia.core.config.folder import Sections
from ncia.core.config.marked import Node
from ncia.core.config.reading import Reading, Record, Reference, place
from ncia.core.estate.keys import key_of_line
from ncia.core.estate.model import (
    Etcd,
    Grade,
    Host,
    Isolated,
    Link,
    Person,
    Promise,
    Role,
    Services,
    Site,
    SiteKind,
    WithoutPartner,
)

NEEDED_ROLES = ("database", "store")  # at each centre
HOST_ROLES = (*NEEDED_ROLES, "files")
CENTRES = 2
WHOLE_ESTATE = (Role.ON_CALL, Role.RETENTION_OFFICER, Role.ADMIN)  # roles that no agency bounds
LOGIN = re.compile(r"[a-z_][a-z0-9_-]*")
LOGIN_OR_NONE = re.compile(r"([a-z_][a-z0-9_-]*)?")
K = TypeVar("K")
T = TypeVar("T")

Placed = dict[K, tuple[T, Record]]  # what was read soundly, with its place


def facts(placed: Mapping[K, tuple[T, Record]]) -> dict[K, T]:
    return {key: fact for key, (fact, _) in placed.items()}


# --- sites -------------------------------------------------------------------------------------------------------


def read_sites(reading: Reading, sections: Sections) -> Placed[SiteId, Site]:
    found: Placed[SiteId, Site] = {}
    for node in sections.lists["sites"]:
        record = Record(reading, node, "a site")
        site = _site(record)
        if record.finish():
            found[site.id] = (site, record)
    return found


def _site(record: Record) -> Site:
    id = SiteId(record.id("site"))
    name = record.text("name")
    kind = record.choice("kind", SiteKind)
    zone = record.text("timezone")
    if zone and not _zone_known(zone):
        record.tell(record.where("timezone"), f"no time zone {zone!r}", "an IANA name, such as Etc/UTC")
    network = record.text("network")
    own = _network(record, record.where("network"), network) if network else None
    seen_from: dict[SiteId, str] = {}
    for viewer, node in record.pairs("seen_from", required=False):
        record.reading.references.append(Reference("site", viewer, node, f"{record.name}, 'seen_from'"))
        prefix = _network(record, node, str(node.value))
        if own and prefix and own.prefixlen != prefix.prefixlen:
            what = f"seen from {viewer} under /{prefix.prefixlen}, but its own network is /{own.prefixlen}"
            record.tell(node, what, f"/{own.prefixlen}: addresses are translated one to one")
        seen_from[SiteId(viewer)] = str(node.value)
    services = record.within("services")
    return Site(id, name, kind, zone, network, seen_from, _services(services) if services else Services())


def _services(record: Record) -> Services:
    etcd = record.within("etcd", required=False)
    services = Services(
        api=record.address("api", "api") if record.has("api") else None,
        console=record.address("console", "console") if record.has("console") else None,
        warden=record.address("warden", "warden") if record.has("warden") else None,
        etcd=Etcd(etcd.address("client", "client"), etcd.address("peer", "peer")) if etcd else None,
        traffic=record.address("traffic", "traffic") if record.has("traffic") else None,
        receipts=record.address("receipts", "receipts") if record.has("receipts") else None,
        witness=record.address("witness", "witness") if record.has("witness") else None,
    )
    if etcd:
        etcd.finish()
    record.finish()
    return services


def _network(record: Record, node: Node, text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        record.tell(node, f"{text!r} is no network: {error}", "10.1.0.0/16")
        return None


def _zone_known(name: str) -> bool:
    for zone in (name, "Etc/UTC"):  # a machine without a zone database cannot tell: the doubt is not a fault
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
        return zone == name
    return True


def judge_sites(reading: Reading, sections: Sections, sites: Placed[SiteId, Site]) -> None:
    """Two centres and a third vote, each with what it must run, in networks that cannot be mistaken."""
    if not sites or len(sites) != len(sections.lists["sites"]):
        return  # judged when each of them can be read
    centres = [site for site, _ in sites.values() if site.kind is SiteKind.CENTRE]
    if len(centres) != CENTRES:
        names = ", ".join(c.id for c in centres) or "none"
        node = sites[centres[-1].id][1].where("kind") if len(centres) > CENTRES else sections.whole
        reading.tell(node, f"an estate has exactly two centres, this one {len(centres)} ({names})", "kind: centre")
    if not any(site.kind is SiteKind.WITNESS and site.services.etcd for site, _ in sites.values()):
        hint = "a site with kind: witness and services: {etcd: …}"
        reading.tell(sections.whole, "no witness has a vote: two sites cannot tell a dead peer from a cut cable", hint)
    switches = [record for site, record in sites.values() if site.services.traffic]
    if len(switches) != 1:
        node = switches[-1].where("services") if switches else sections.whole
        what = f"exactly one site switches the citizens' traffic, here {len(switches)} do"
        reading.tell(node, what, "services: {traffic: address} at the public site")
    for site, record in sites.values():
        if site.services.witness is not None and site.kind is not SiteKind.WITNESS:
            what = "runs the witness of the journals, and is a place that it should vouch for or about"
            record.tell(record.where("services"), what, "witness: address at the site with kind: witness")
    for centre in centres:
        record = sites[centre.id][1]
        for service in ("api", "warden", "etcd"):
            if getattr(centre.services, service) is None:
                record.tell(record.where("services"), f"a centre runs {service}, this one does not", f"{service}: …")
    _judge_networks(sites)


def _judge_networks(sites: Placed[SiteId, Site]) -> None:
    """From each site's point of view no two sites share an address."""
    told: set[frozenset[SiteId]] = set()
    for viewer, _ in sites.values():
        views = [
            (ipaddress.IPv4Network(s.seen_from.get(viewer.id, s.network)), s.id, record)
            if s.id != viewer.id
            else (ipaddress.IPv4Network(s.network), s.id, record)
            for s, record in sites.values()
        ]
        for index, (network, site, _) in enumerate(views):
            for other, other_site, record in views[index + 1 :]:
                pair = frozenset((site, other_site))
                if network.overlaps(other) and pair not in told:
                    told.add(pair)
                    what = f"{other} overlaps {network} of site {site} as {viewer.id} sees them"
                    record.tell(record.where("network"), what, "give each site a prefix of its own")


# --- hosts and links ---------------------------------------------------------------------------------------------


def read_hosts(reading: Reading, sections: Sections) -> Placed[HostId, Host]:
    found: Placed[HostId, Host] = {}
    for node in sections.lists["hosts"]:
        record = Record(reading, node, "a host")
        id = HostId(record.id("host"))
        site = SiteId(record.reference("site", "site"))
        roles = record.texts("roles")
        for role, where in roles:
            if role not in HOST_ROLES:
                record.tell(where, f"no role {role!r}", f"one of {', '.join(HOST_ROLES)}")
        user, sftp_user = record.text("user", pattern=LOGIN), record.text("sftp_user", "", pattern=LOGIN_OR_NONE)
        if not sftp_user and any(role == "files" for role, _ in roles):
            what = "a host of file trees needs a user for SFTP that may run nothing"
            record.tell(record.where("roles"), what, "sftp_user: files")
        elif sftp_user and sftp_user == user:
            what = f"'sftp_user' is {user!r}, who may run commands"
            record.tell(record.where("sftp_user"), what, "a user of its own")
        names = tuple(role for role, _ in roles)
        host = Host(id, site, record.address("ssh", "ssh"), user, names, sftp_user)
        if record.finish():
            found[id] = (host, record)
    return found


def judge_hosts(sections: Sections, sites: Placed[SiteId, Site], hosts: Placed[HostId, Host]) -> None:
    """Copies of each centre go to the other one's store."""
    if len(hosts) != len(sections.lists["hosts"]):
        return
    for site, record in sites.values():
        roles = {role for host, _ in hosts.values() if host.site == site.id for role in host.roles}
        for role in NEEDED_ROLES if site.kind is SiteKind.CENTRE else ():
            if role not in roles:
                record.tell(record.node, f"no host with role {role!r}", f"a host of this site with roles: [{role}]")


def read_links(reading: Reading, sections: Sections) -> tuple[Link, ...]:
    found: dict[str, tuple[Link, Node]] = {}
    for node in sections.lists["links"]:
        ends = [end.value for end in node.value] if isinstance(node.value, list) else []
        if len(ends) != 2 or not all(isinstance(end, str) for end in ends) or ends[0] == ends[1]:
            reading.tell(node, "a link joins two different sites", "[one-site, other-site]")
            continue
        for end in ends:
            reading.references.append(Reference("site", end, node, f"link {ends[0]}-{ends[1]}"))
        link = Link(SiteId(min(ends)), SiteId(max(ends)))
        if link.id in found:
            reading.tell(node, f"link {link.id} declared twice (first at {place(found[link.id][1])})", "keep one")
        else:
            found[link.id] = (link, node)
    return tuple(link for link, _ in found.values())


# --- grades, people ----------------------------------------------------------------------------------------------


def read_grades(reading: Reading, sections: Sections) -> dict[int, Grade]:
    found: dict[int, Grade] = {}
    for node in sections.lists["grades"]:
        record = Record(reading, node, "a grade")
        number = record.whole("number")
        record.name = f"grade {number}"
        if number:
            reading.declare("grade", str(number), record.where("number"))
        promise = read_promise(record)
        isolated = record.choice("isolated", Isolated)
        interval = record.number("backup_interval_seconds", above=0)
        without_partner = record.choice("without_partner", WithoutPartner, WithoutPartner.BLOCK)
        record.finish()
        found[number] = Grade(number, promise, isolated, interval, without_partner)
    return found


def read_promise(record: Record) -> Promise:
    return Promise(record.number("rpo_seconds"), record.number("rto_seconds", above=0))


def read_people(reading: Reading, sections: Sections) -> dict[PersonId, Person]:
    found: dict[PersonId, Person] = {}
    owners: dict[bytes, str] = {}  # of each key
    for node in sections.lists["people"]:
        record = Record(reading, node, "a person")
        id = PersonId(record.id("person"))
        name, role, first = record.text("name"), record.choice("role", Role), record.text("public_key", "")
        more = record.texts("more_keys", required=False)
        agencies = record.texts("agencies", required=False)
        for agency, where in agencies:
            reading.references.append(Reference("agency", agency, where, record.name))
        if agencies and role in WHOLE_ESTATE:
            what = f"{role.value} is a role for the whole estate, and 'agencies' would make it smaller"
            record.tell(record.where("agencies"), what, "leave 'agencies' out, or role: operator or auditor")
        lines = [(first, record.where("public_key"), "public_key")] if first else []
        for line, where, key in lines + [(line, where, "more_keys") for line, where in more]:
            _judge_key(record, id, (line, where, key), owners)
        record.finish()
        found[id] = Person(
            id, name, role, first, tuple(line for line, _ in more), tuple(AgencyId(agency) for agency, _ in agencies)
        )
    return found


def _judge_key(record: Record, owner: str, told: tuple[str, Node, str], owners: dict[bytes, str]) -> None:
    """A key is one that we can check, and stands once in the whole estate."""
    line, where, key = told
    try:
        blob = key_of_line(line).blob
    except ValueError:
        hint = "ssh-ed25519 AAAA… (ssh-keygen -t ed25519, or -t ed25519-sk)"
        record.tell(where, f"{key!r} is no Ed25519 public key", hint)
        return
    if owners.get(blob, owner) != owner:
        what = f"has the key of {owners[blob]}: one key would sign as two people"
        record.tell(where, what, "each person hands in a key that only they hold")
    elif blob in owners:
        record.tell(where, f"{key!r} repeats a key of the same person", "each key once")
    owners.setdefault(blob, owner)
