"""Reading a dataset of kind ``program``: its items, and its place at each centre with what may differ there."""

from __future__ import annotations

from pathlib import PurePosixPath

from ncia.core.base.ids import HostId, SiteId
from ncia.core.config.marked import Node
from ncia.core.config.reading import Record, Reference, nearest
from ncia.core.estate.program import ItemKind, Program, ProgramItem, ProgramPlace

VALUE_CHARACTERS_MIN = 4  # a shorter one would stand in too many places by chance


def read_program(record: Record) -> Program | None:
    """The program that the record describes; None where it describes none (it is then unprotected, or a fault)."""
    if not record.has("items"):
        return None
    items = tuple(item for kind, node in record.pairs("items") if (item := _item(record, kind, node)) is not None)
    places = {}
    for site, node in record.pairs("copies"):
        record.reading.references.append(Reference("site", site, node, f"{record.name}, 'copies'"))
        place = _place(record.part(node, f"copy at {site}"), SiteId(site))
        places[place.site] = place
    if record.sound:
        _judge_values(record, places)
    return Program(items, places)


def _item(record: Record, kind: str, node: Node) -> ProgramItem | None:
    known = [str(each) for each in ItemKind]
    if kind not in known:
        record.tell(node, f"no item {kind!r} of a program", nearest(kind, known))
        return None
    path = node.value if isinstance(node.value, str) else ""
    if not _inside(path):
        record.tell(node, f"item {kind}: {node.plain!r} is no path inside the program's folder", "a relative path")
        return None
    return ProgramItem(ItemKind(kind), path)


def _place(record: Record, site: SiteId) -> ProgramPlace:
    host = HostId(record.reference("host", "host"))
    folder = record.text("folder")
    values = {}
    for name, node in record.pairs("values", required=False):
        if isinstance(node.value, str) and len(node.value) >= VALUE_CHARACTERS_MIN:
            values[name] = node.value
        else:
            record.tell(node, f"value {name!r} must be text of {VALUE_CHARACTERS_MIN} characters or more", "an address")
    record.finish()
    return ProgramPlace(site, host, folder, values)


def _judge_values(record: Record, places: dict[SiteId, ProgramPlace]) -> None:
    """What may differ must be said of every place: else a difference could hide behind a name."""
    named = {site: set(place.values) for site, place in places.items()}
    for site, names in named.items():
        lacking = sorted(set().union(*named.values()) - names)
        if lacking:
            what = f"value {lacking[0]!r} is given for another site, and not for {site}"
            record.tell(record.where("copies"), what, f"values: {{{lacking[0]}: …}}")


def _inside(path: str) -> bool:
    return bool(path) and not PurePosixPath(path).is_absolute() and ".." not in PurePosixPath(path).parts
