"""One entry of a log: its canonical form, its leaf hash, and its form on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from ncia.core.base.clock import from_text, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.canonical import canonical, parse
from ncia.core.journal.entries import VOCABULARY, Body
from ncia.core.journal.tree import leaf_hash

FIELDS = frozenset({"site", "number", "at", "kind", "version", "by", "peer_seen", "body"})


@dataclass(frozen=True)
class Entry:
    """What was written down. ``number`` counts from 0 within the site's log; ``peer_seen`` is the size of the peer's
    log that the writer held, which puts two logs into causal order; ``text`` is the canonical form that was hashed."""

    site: SiteId
    number: int
    at: datetime
    kind: str
    version: int
    by: str
    peer_seen: int
    body: Body
    leaf_hash: bytes
    text: str


def make_entry(site: SiteId, number: int, at: datetime, by: str, peer_seen: int, body: Body) -> Entry:
    """A new entry. Its body is read back from the canonical form, so that a writer sees what a reader will."""
    fields = {
        "site": str(site),
        "number": number,
        "at": to_text(at),
        "kind": body.KIND,
        "version": body.VERSION,
        "by": by,
        "peer_seen": peer_seen,
        "body": body.model_dump(mode="python"),
    }
    return entry_from_text(canonical(fields).decode("utf-8"))


def entry_from_text(text: str) -> Entry:
    """The entry that ``text`` spells; raises :class:`NciaError` where it is not exactly canonical or not known."""
    fields = parse(text)
    if not isinstance(fields, dict) or set(fields) != FIELDS:
        raise _malformed("its fields are not those of an entry")
    where = f"read entry {fields['site']} {fields['number']}"
    if any(type(fields[name]) is not int or fields[name] < 0 for name in ("number", "version", "peer_seen")):
        raise _malformed(f"{where}: number, version and peer_seen are whole numbers from 0 on")
    if any(type(fields[name]) is not str for name in ("site", "at", "kind", "by")):
        raise _malformed(f"{where}: site, at, kind and by are text")
    model = VOCABULARY.get((fields["kind"], fields["version"]))
    if model is None:
        why = f"kind {fields['kind']!r} version {fields['version']!r} is not in this release's vocabulary"
        raise NciaError("journal.unknown-kind", where, why, "upgrade this site to the writer's release")
    try:
        body, at = model.model_validate(fields["body"]), from_text(fields["at"])
    except (ValidationError, ValueError, TypeError) as error:
        raise _malformed(f"{fields['kind']}: {error}") from error
    spelt = canonical({**fields, "at": to_text(at), "body": body.model_dump(mode="python")})
    if spelt != text.encode("utf-8", "surrogatepass"):
        raise _malformed(f"{where}: it is not in its canonical form")
    return Entry(
        site=SiteId(fields["site"]),
        number=fields["number"],
        at=at,
        kind=fields["kind"],
        version=fields["version"],
        by=fields["by"],
        peer_seen=fields["peer_seen"],
        body=body,
        leaf_hash=leaf_hash(spelt),
        text=text,
    )


def entry_to_wire(entry: Entry) -> dict[str, Any]:
    """The entry's fields as JSON, and its leaf hash in hex."""
    fields: dict[str, Any] = parse(entry.text)
    return {**fields, "leaf_hash": entry.leaf_hash.hex()}


def entry_from_wire(wire: Mapping[str, Any]) -> Entry:
    """The inverse; raises :class:`NciaError` where the leaf hash is not that of the fields."""
    fields = {key: value for key, value in wire.items() if key != "leaf_hash"}
    entry = entry_from_text(canonical(fields).decode("utf-8"))
    if wire.get("leaf_hash") != entry.leaf_hash.hex():
        what = f"read entry {entry.site} {entry.number} ({entry.kind})"
        raise NciaError(
            "journal.leaf-mismatch", what, "its leaf hash is not the hash of its fields", "verify both logs"
        )
    return entry


def _malformed(why: str) -> NciaError:
    return NciaError("journal.malformed-entry", "read an entry", why, "ncia journal verify FILE")
