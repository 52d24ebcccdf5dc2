"""What a program is at one site, and what differs between two: values in, sentences out. Pure.

Files are compared by hash. Where two hashes differ the texts are compared with each site's own values (addresses) put
out of the way: what the estate says may differ does not count. Sentences name files, packages and lines, and never show
a line: configuration holds secrets.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ncia.core.base.ids import SiteId
from ncia.core.estate.program import ItemKind, Program, ProgramPlace

PACKAGES_NAMED_MAX = 5
DIFFERENCES_MAX = 20


@dataclass(frozen=True)
class File:
    """``path`` is relative to the program's folder."""

    path: str
    mode: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Inventory:
    """The files of a program at one site. ``texts`` are the contents of those that need a closer look; ``schema`` is
    the version that the database there bears (None: not known, nothing is said of it)."""

    files: Mapping[str, File]
    texts: Mapping[str, bytes] = field(default_factory=dict)
    schema: str | None = None


def doubtful(one: Inventory, other: Inventory) -> tuple[str, ...]:
    """The files whose hashes differ: their texts decide."""
    return tuple(
        path for path in sorted(one.files) if path in other.files and one.files[path].sha256 != other.files[path].sha256
    )


def differences(program: Program, sites: Mapping[SiteId, Inventory]) -> tuple[str, ...]:
    """What differs between the program's two sites and may not, one sentence each; empty where nothing does."""
    (a, one), (b, other) = sites.items()
    found: list[str] = []
    for path in sorted({*one.files, *other.files}):
        found.extend(_of_file(program, path, (a, one), (b, other)))
    for item in program.items:
        if not any(_covers(item.path, path) for path in (*one.files, *other.files)):
            found.append(f"{item.path} ({item.kind}) is at neither site")
    for site, inventory in sites.items():
        found.extend(_of_schema(program, site, inventory))
    if len(found) > DIFFERENCES_MAX:
        found = [*found[:DIFFERENCES_MAX], f"and {len(found) - DIFFERENCES_MAX} more"]
    return tuple(found)


Side = tuple[SiteId, Inventory]


def _of_file(program: Program, path: str, one: Side, other: Side) -> Iterator[str]:
    sides = {site: inventory.files.get(path) for site, inventory in (one, other)}
    there = {site: file for site, file in sides.items() if file is not None}
    if len(there) == 1:
        lacking = next(site for site in sides if site not in there)
        yield f"{path} is missing at {lacking}"
        return
    (a, first), (b, second) = there.items()
    if first.mode != second.mode:
        yield f"{path} has mode {first.mode} at {a}, {second.mode} at {b}"
    if first.sha256 == second.sha256:
        return
    texts = [
        neutral(inventory.texts[path], program.places[site]) if path in inventory.texts else None
        for site, inventory in (one, other)
    ]
    if texts[0] is None or texts[1] is None:
        yield f"{path} is not the same at {a} and {b}"
    elif texts[0] != texts[1]:
        packages = program.kind_of(path) is ItemKind.PACKAGES
        yield from _of_packages(texts[0], texts[1], a, b) if packages else (_of_lines(path, texts[0], texts[1], a, b),)


def neutral(text: bytes, place: ProgramPlace) -> bytes:
    """The text with the site's own values replaced by their names; the longest first, for one may hold another."""
    for name, value in sorted(place.values.items(), key=lambda item: (-len(item[1]), item[0])):
        text = text.replace(value.encode(), f"{{{name}}}".encode())
    return text


def _of_lines(path: str, one: bytes, other: bytes, a: SiteId, b: SiteId) -> str:
    lines = [one.splitlines(), other.splitlines()]
    same = next((n for n, (x, y) in enumerate(zip(*lines, strict=False)) if x != y), min(map(len, lines)))
    return f"{path} is not the same at {a} and {b}, from line {same + 1}"


def _of_packages(one: bytes, other: bytes, a: SiteId, b: SiteId) -> Iterator[str]:
    here, there = _versions(one), _versions(other)
    found = [
        f"package {name} is {here.get(name, 'missing')} at {a}, {there.get(name, 'missing')} at {b}"
        for name in sorted({*here, *there})
        if here.get(name) != there.get(name)
    ]
    yield from found[:PACKAGES_NAMED_MAX]
    if len(found) > PACKAGES_NAMED_MAX:
        yield f"and {len(found) - PACKAGES_NAMED_MAX} more packages"
    if not found:
        yield f"the lists of packages are not the same at {a} and {b}"


def _versions(text: bytes) -> dict[str, str]:
    found = {}
    for line in text.decode("utf-8", "replace").splitlines():
        name, _, version = line.strip().partition(" ")
        if name:
            found[name] = version.strip()
    return found


def _of_schema(program: Program, site: SiteId, inventory: Inventory) -> Iterator[str]:
    """Whether the program at a site fits the database that it would be given there."""
    for item in program.items:
        text = inventory.texts.get(item.path)
        if item.kind is not ItemKind.SCHEMA or text is None or inventory.schema is None:
            continue
        expected = (text.decode("utf-8", "replace").splitlines() or [""])[0].strip()
        if expected != inventory.schema:
            had = inventory.schema or "none"
            yield f"the program at {site} expects schema {expected}, its database there has {had}"


def _covers(item: str, path: str) -> bool:
    return path == item or path.startswith(f"{item}/")
