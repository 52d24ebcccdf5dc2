"""Agencies and their own repositories: read, and judged for what could not be kept or would lie in another's place."""

from __future__ import annotations

from ncia.core.base.ids import AgencyId, HostId, PersonId, SiteId, SystemId
from ncia.core.config.documents import read_place, told_place, within
from ncia.core.config.folder import Sections
from ncia.core.config.marked import Node
from ncia.core.config.places import CENTRES, Placed
from ncia.core.config.reading import Reading, Record, Reference
from ncia.core.estate.keys import key_of_line
from ncia.core.estate.model import Agency, BucketCopy, Host, Person, Site, SiteKind, System, TreeCopy
from ncia.core.estate.repository import (
    POINTS_INTERVAL_SECONDS,
    PROVE_INTERVAL_SECONDS,
    PRUNE_INTERVAL_SECONDS,
    AgencyRepository,
    EngineName,
    Keep,
    Rotation,
)

KEPT = ("daily", "weekly", "monthly", "yearly")
RECIPIENTS_MIN = 2
PARTS_MAX = 256  # the most that restic divides a repository into
SEALABLE = "ssh-ed25519"  # keys in hardware (sk-…) cannot be sealed for


def read_agencies(reading: Reading, sections: Sections) -> Placed[AgencyId, Agency]:
    found: Placed[AgencyId, Agency] = {}
    for node in sections.lists["agencies"]:
        record = Record(reading, node, "an agency")
        id, name = AgencyId(record.id("agency")), record.text("name")
        part = record.within("repository", required=False)
        repository = None if part is None else _repository(part)
        if record.finish():
            found[id] = (Agency(id, name, repository), record)
    return found


def _repository(record: Record) -> AgencyRepository:
    engine = record.choice("engine", EngineName, EngineName.NCIA)
    interval = record.number("interval_seconds", above=0)
    keep = record.within("keep")
    kept = Keep(1) if keep is None else _keep(keep)
    check = record.within("check", required=False)
    rotation = Rotation() if check is None else _rotation(check)
    prune = record.within("prune", required=False)
    pruned = PRUNE_INTERVAL_SECONDS if prune is None else _interval(prune, PRUNE_INTERVAL_SECONDS)
    prove = record.within("prove", required=False)
    proven = PROVE_INTERVAL_SECONDS if prove is None else _interval(prove, PROVE_INTERVAL_SECONDS)
    points = record.within("points", required=False)
    kept_each = POINTS_INTERVAL_SECONDS if points is None else _interval(points, POINTS_INTERVAL_SECONDS)
    retained = record.whole("retain_days", 0)
    places: dict[SiteId, TreeCopy | BucketCopy] = {}
    for site, node in record.pairs("places"):
        record.reading.references.append(Reference("site", site, node, f"{record.name}, 'places'"))
        part = record.part(node, f"place at {site}")
        places[SiteId(site)] = read_place(part, SiteId(site), "bucket" if part.has("bucket") else "files")
        part.finish()
    if retained and places and not any(isinstance(place, BucketCopy) for place in places.values()):
        what = "'retain_days' asks for Object Lock, and none of its places is a bucket"
        record.tell(record.where("retain_days"), what, "a place {endpoint: …, bucket: …}")
    escrow = record.texts("escrow")
    for person, node in escrow:
        record.reading.references.append(Reference("person", person, node, f"{record.name}, 'escrow'"))
    if len(escrow) < RECIPIENTS_MIN and record.has("escrow"):
        what = f"{len(escrow)} can recover its key, and one may be lost together with the password"
        record.tell(record.where("escrow"), what, "at least two people")
    record.finish()
    people = tuple(PersonId(person) for person, _ in escrow)
    return AgencyRepository(engine, interval, kept, places, people, rotation, pruned, retained, proven, kept_each)


def _keep(record: Record) -> Keep:
    """``last`` is said; of days, weeks, months and years as many as are said."""
    last = record.whole("last")
    counts = {name: record.whole(name, 0) for name in KEPT}
    record.finish()
    return Keep(last, **counts)


def _rotation(record: Record) -> Rotation:
    """What is not said is as it is without."""
    usual = Rotation()
    interval = record.number("interval_seconds", usual.interval_seconds, above=0)
    parts = record.whole("parts", usual.parts)
    if parts > PARTS_MAX:
        record.tell(
            record.where("parts"), f"'parts' is {parts}: no engine reads so small a part", f"at most {PARTS_MAX}"
        )
    record.finish()
    return Rotation(interval, parts)


def _interval(record: Record, usual: float) -> float:
    interval = record.number("interval_seconds", usual, above=0)
    record.finish()
    return interval


def judge_repositories(
    agencies: Placed[AgencyId, Agency],
    sites: Placed[SiteId, Site],
    hosts: Placed[HostId, Host],
    systems: Placed[SystemId, System],
    people: dict[PersonId, Person],
) -> None:
    """At both centres, in a place of its own, with something to keep, and recoverable by people whose keys allow it."""
    centres = [site.id for site, _ in sites.values() if site.kind is SiteKind.CENTRE]
    taken: dict[tuple[str, str, str], str] = {
        told_place(copy): str(dataset.id)
        for system, _ in systems.values()
        for dataset in system.datasets
        for copy in dataset.documents.values()
    }
    for agency, record in agencies.values():
        if agency.repository is None:
            continue
        whole = record.where("repository")
        for site in centres if len(centres) == CENTRES else ():
            if site not in agency.repository.places:
                record.tell(whole, f"its repository has no place at {site}", f"places: {{{site}: …}}")
        if systems and not any(s.agency == agency.id and s.datasets for s, _ in systems.values()):
            what = "its repository would stay empty: it has no system with anything to keep"
            record.tell(whole, what, "leave 'repository' out")
        for person in agency.repository.escrow:
            _judge_recipient(record, whole, people.get(person))
        for id, copy in agency.repository.places.items():
            _judge_place(record, whole, (id, copy), sites, hosts)
            _judge_taken(record, whole, f"the repository of {agency.id}", copy, taken)


def _judge_recipient(record: Record, node: Node, person: Person | None) -> None:
    """A key is handed in later than the estate is written; one that is there must be of a kind that can be used."""
    if person is None or not person.public_key.strip():
        return
    try:
        kinds = {key_of_line(line).kind for line in (person.public_key, *person.more_keys) if line.strip()}
    except ValueError:
        return  # told where it is read
    if SEALABLE not in kinds:
        what = f"{person.id} has no key that a repository's key can be sealed for ({', '.join(sorted(kinds))})"
        record.tell(node, what, "one more key of theirs: ssh-ed25519 … under more_keys")


def _judge_place(
    record: Record,
    node: Node,
    place: tuple[SiteId, TreeCopy | BucketCopy],
    sites: Placed[SiteId, Site],
    hosts: Placed[HostId, Host],
) -> None:
    id, copy = place
    site = sites.get(id)
    if site and site[0].kind is not SiteKind.CENTRE:
        record.tell(node, f"its repository has a place at {id}, which is a {site[0].kind} site", "a centre")
    elif isinstance(copy, TreeCopy) and copy.host in hosts:
        host = hosts[copy.host][0]
        if host.site != id:
            what = f"its repository's host {copy.host} stands at {host.site}, not at {id}"
            record.tell(node, what, "a host of that site")
        elif "files" not in host.roles:
            record.tell(node, f"its repository's host {copy.host} has no role 'files'", "roles: [files]")
    elif isinstance(copy, BucketCopy) and site and not within(copy.endpoint, site[0]):
        what = f"its repository's endpoint {copy.endpoint} does not lie in the network of {id} ({site[0].network})"
        record.tell(node, what, "the store of that site")


def _judge_taken(
    record: Record, node: Node, whose: str, copy: TreeCopy | BucketCopy, taken: dict[tuple[str, str, str], str]
) -> None:
    """A repository among documents would be mirrored as documents; two in one place are none."""
    key, path, how = told_place(copy)
    for (other_key, other_path, _), other in taken.items():
        if other_key == key and _overlap(path, other_path):
            record.tell(node, f"{whose} and {other} share {path!r} {how}", "a place of its own")
    taken[key, path, how] = whose


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
