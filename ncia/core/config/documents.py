"""File trees and buckets of a system: where their copies are, read, and judged for what would mix or escape."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import PurePosixPath

from ncia.core.base.ids import DatasetId, HostId, SiteId, SystemId
from ncia.core.config.places import Placed
from ncia.core.config.reading import Record, Reference
from ncia.core.estate.model import Address, BucketCopy, Dataset, Host, Replication, Site, SiteKind, System, TreeCopy

DOCUMENTS = ("files", "bucket")
BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")  # what every S3 takes, without the dots that break TLS


class Partition(StrEnum):
    """How documents lie in their tree or bucket."""

    NONE = "none"
    TIME = "time"


def read_documents(record: Record, kind: str) -> dict[SiteId, TreeCopy | BucketCopy]:
    """The ``copies`` of a file tree or bucket; none for other kinds, and none where the dataset has no such key."""
    found: dict[SiteId, TreeCopy | BucketCopy] = {}
    for site, node in record.pairs("copies", required=False) if kind in DOCUMENTS else ():
        record.reading.references.append(Reference("site", site, node, f"{record.name}, 'copies'"))
        part = record.part(node, f"copy at {site}")
        found[SiteId(site)] = read_place(part, SiteId(site), kind)
        part.finish()
    return found


def read_place(part: Record, site: SiteId, kind: str) -> TreeCopy | BucketCopy:
    """A folder below a host's file root (``kind`` files), or a bucket."""
    if kind == "files":
        path = part.text("path")
        if path and (PurePosixPath(path).is_absolute() or {"..", ".", ""} & set(path.split("/"))):
            part.tell(part.where("path"), f"{path!r} leaves the host's file root", "a relative path")
        return TreeCopy(site, HostId(part.reference("host", "host")), path)
    endpoint = _endpoint(part)
    return BucketCopy(site, endpoint, part.text("bucket", pattern=BUCKET))


def _endpoint(part: Record) -> Address:
    """One store holds many buckets: each of them names it, and all mean the same one."""
    before = len(part.reading.addresses)
    found = part.address("endpoint", "endpoint")
    for at in range(before, len(part.reading.addresses)):
        part.reading.addresses[at] = (found, f"object store {found}", part.where("endpoint"))
    return found


def judge_before_rows(record: Record, dataset: Dataset, known: Mapping[DatasetId, Dataset]) -> None:
    """Documents wait for both sites only where the rows do: an act cannot be acknowledged half."""
    rows = next((d for d in known.values() if d.kind == "postgresql"), None)
    if dataset.kind not in DOCUMENTS or dataset.unprotected or rows is None:
        return
    if dataset.replication is Replication.SYNCHRONOUS and rows.replication is not Replication.SYNCHRONOUS:
        what = f"written at both sites before the acknowledgement, but the rows ({rows.id}) are not"
        record.tell(record.where("replication"), what, "replication: asynchronous, or synchronous for both")


def judge_document_places(
    record: Record, dataset: Dataset, sites: Placed[SiteId, Site], hosts: Placed[HostId, Host]
) -> None:
    for id, copy in dataset.documents.items():
        copies = record.where("copies").value
        node = copies[id] if isinstance(copies, dict) and id in copies else record.node
        site = sites.get(id)
        if site and site[0].kind is not SiteKind.CENTRE:
            record.tell(node, f"a copy at {id}, which is a {site[0].kind} site", "a centre")
        elif isinstance(copy, TreeCopy) and copy.host in hosts:
            host = hosts[copy.host][0]
            if host.site != id:
                record.tell(node, f"host {copy.host} stands at {host.site}, not at {id}", "a host of that site")
            elif "files" not in host.roles:
                record.tell(node, f"host {copy.host} has no role 'files'", "roles: [files]")
        elif isinstance(copy, BucketCopy) and site and not within(copy.endpoint, site[0]):
            what = f"endpoint {copy.endpoint} does not lie in the network of {id} ({site[0].network})"
            record.tell(node, what, "the store of that site")


def within(address: Address, site: Site) -> bool:
    """Whether an address lies in the site's own network."""
    try:
        return ipaddress.IPv4Address(address.host) in ipaddress.IPv4Network(site.network)
    except ValueError:
        return True  # told where the network is read


def judge_document_folders(systems: Placed[SystemId, System]) -> None:
    """Two trees one inside the other, or two datasets in one bucket, would each mirror what is the other's."""
    taken: dict[tuple[str, str], tuple[str, str]] = {}
    for system, record in systems.values():
        for dataset in system.datasets:
            for copy in dataset.documents.values():
                key, path = _place(copy)
                for (other_key, other_path), (other, how) in taken.items():
                    if other_key == key and other != dataset.id and _overlap(path, other_path):
                        what = f"{dataset.id} and {other} share {path!r} {how}"
                        record.tell(record.where("datasets"), what, "a place of its own")
                taken.setdefault((key, path), (dataset.id, _where(copy)))


def told_place(copy: TreeCopy | BucketCopy) -> tuple[str, str, str]:
    """The store, the place in it, and how to say where that is."""
    return (*_place(copy), _where(copy))


def _place(copy: TreeCopy | BucketCopy) -> tuple[str, str]:
    return (str(copy.host), copy.path) if isinstance(copy, TreeCopy) else (str(copy.endpoint), copy.bucket)


def _where(copy: TreeCopy | BucketCopy) -> str:
    return f"on host {copy.host}" if isinstance(copy, TreeCopy) else f"at {copy.endpoint}"


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
