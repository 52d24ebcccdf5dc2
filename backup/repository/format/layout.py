"""Which path of a place a file of the repository has: restic's default layout, the same for folders and buckets.

``config``, ``keys/<id>``, ``data/<first two of id>/<id>``, ``index/<id>``, ``snapshots/<id>``, ``locks/<id>``; an id is
64 characters of lower-case hex. Whatever else lies there is none of the repository's and is not listed.
Source: restic's design document, "Repository Layout".
"""

from __future__ import annotations

import re

from backup.repository.ports import Kind
from ncia.core.base.errors import NciaError

ID = re.compile(r"[0-9a-f]{64}")
SHELVES = tuple(f"{number:02x}" for number in range(256))  # the folders of `data`


def path_of(kind: Kind, name: str) -> str:
    """Relative to the repository; raises ``repository.bad-name``."""
    if kind is Kind.CONFIG and name == "":
        return str(kind)
    if kind is Kind.CONFIG or ID.fullmatch(name) is None:
        want = "the configuration has no name" if kind is Kind.CONFIG else "a name is 64 characters of lower-case hex"
        raise NciaError(
            "repository.bad-name", f"name a file of {kind}", f"{name[:80]!r}: {want}", "it is no id of ours"
        )
    return f"{kind}/{name[:2]}/{name}" if kind is Kind.DATA else f"{kind}/{name}"


def name_of(kind: Kind, path: str) -> str | None:
    """The inverse of :func:`path_of`; None for what is no file of that kind."""
    if kind is Kind.CONFIG:
        return "" if path == str(kind) else None
    name = path.rpartition("/")[2]
    return name if ID.fullmatch(name) and path == path_of(kind, name) else None


def folders() -> tuple[str, ...]:
    """Every folder of a new repository, parents first."""
    kinds = [str(kind) for kind in Kind if kind is not Kind.CONFIG]
    return (*kinds, *(f"{Kind.DATA}/{shelf}" for shelf in SHELVES))


def told(kind: Kind, name: str) -> str:
    """A file of the repository, for a person: short as restic shows ids."""
    return str(kind) if kind is Kind.CONFIG else f"{kind}/{name[:10]}"


def demand_range(what: str, offset: int, length: int | None) -> None:
    """Refuses a range that no file can have."""
    if offset < 0 or (length is not None and length < 0):
        why = f"bytes from {offset}, {length} of them, are no range"
        raise NciaError("repository.bad-range", what, why, "both are counted from 0 upwards")
