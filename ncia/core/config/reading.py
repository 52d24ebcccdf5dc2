"""Reading records: typed values out of marked YAML, every fault gathered, references kept for later.

A getter never raises. On a fault it tells it and answers a placeholder; :attr:`Record.sound` is then false, and what
needs the whole record leaves it out, so that one fault is told once and not in its consequences.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any, Final, TypeVar

from ncia.core.base.errors import Fault
from ncia.core.config.marked import Node
from ncia.core.estate.model import Address

WORD = re.compile(r"[a-z][a-z0-9-]{0,39}")
LIKE_A_WORD = "lower-case letters, digits and dashes, a letter first, at most 40"

ADDRESS = {"type": "string", "pattern": r"^\d{1,3}(\.\d{1,3}){3}:\d{1,5}$"}

E = TypeVar("E", bound=StrEnum)


class _Required:
    """Marks a key that must be there."""


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Reference:
    """``node`` names a ``kind`` of thing that must exist; ``owner`` is who says so."""

    kind: str
    id: str
    node: Node
    owner: str


@dataclass
class Shape:
    """What readers ask of one kind of record, as JSON Schema: ``keys`` may stand in it; one that every reading of it
    demanded is required."""

    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    demanded: dict[str, int] = field(default_factory=dict)
    records: int = 0


@dataclass
class Shapes:
    """The shapes of all records by their path, such as ``systems[]/datasets[]``; of what is no record, its schema."""

    records: dict[str, Shape] = field(default_factory=dict)
    values: dict[str, dict[str, Any]] = field(default_factory=dict)
    paths: dict[int, str] = field(default_factory=dict)  # of nodes, by identity


@dataclass
class Reading:
    """What was seen in all files so far."""

    faults: list[Fault] = field(default_factory=list)
    declared: dict[str, dict[str, Node]] = field(default_factory=dict)  # kind -> id -> where
    references: list[Reference] = field(default_factory=list)
    addresses: list[tuple[Address, str, Node]] = field(default_factory=list)  # address, whose, where
    shapes: Shapes | None = None  # where it is wanted: what was asked of each kind of record

    def tell(self, node: Node, what: str, hint: str = "") -> None:
        self.faults.append(node.fault(what, hint))

    def declare(self, kind: str, id: str, node: Node) -> None:
        known = self.declared.setdefault(kind, {})
        if id in known:
            first = known[id]
            self.tell(node, f"{kind} {id!r} declared twice (first at {place(first)})", "give each its own id")
        else:
            known[id] = node

    def resolve(self) -> None:
        """Tell every reference to something that no file declares (a section left out whole is told once, as that)."""
        for reference in self.references:
            known = self.declared.get(reference.kind)
            if known and reference.id not in known:
                what = f"{reference.owner}: no {reference.kind} {reference.id!r} in the estate"
                self.tell(reference.node, what, nearest(reference.id, known))


class Record:
    """One mapping, read key by key; ``finish`` tells the keys that nobody asked for."""

    def __init__(self, reading: Reading, node: Node, name: str, parent: Record | None = None) -> None:
        self.reading = reading
        self.node = node
        self.name = name
        self.sound = True
        self._parent = parent
        self._asked: dict[str, None] = {}
        self._values: dict[str, Node] = {}
        self._path = reading.shapes.paths.get(id(node), name) if reading.shapes else ""
        if reading.shapes:
            reading.shapes.records.setdefault(self._path, Shape()).records += 1
        if isinstance(node.value, dict):
            self._values = node.value
        else:
            self.tell(node, f"must be a mapping, is {kind_of(node.value)}", "key: value")

    def tell(self, node: Node, what: str, hint: str = "") -> None:
        self.reading.tell(node, f"{self.name}: {what}", hint)
        record: Record | None = self
        while record:
            record.sound = False
            record = record._parent

    def has(self, key: str) -> bool:
        self._asked[key] = None
        return key in self._values

    def get(self, key: str, *, required: bool = True, shape: dict[str, Any] | None = None) -> Node | None:
        """The node of ``key``; ``shape`` is what must stand there, as JSON Schema, where that is known here."""
        if self.reading.shapes:
            self._note(self.reading.shapes, key, required, shape)
        self._asked[key] = None
        found = self._values.get(key)
        if found is None and required and isinstance(self.node.value, dict):
            self.tell(self.node, f"key {key!r} is missing", f"{key}: …")
        return found

    def _note(self, shapes: Shapes, key: str, required: bool, shape: dict[str, Any] | None) -> None:
        own = shapes.records[self._path]
        own.keys[key] = shape or own.keys.get(key, {})
        if required and key not in self._asked:
            own.demanded[key] = own.demanded.get(key, 0) + 1
        node = self._values.get(key)
        if node is None:
            return
        path = f"{self._path}/{key}"
        shapes.paths[id(node)] = path
        if isinstance(node.value, list):
            shapes.paths.update((id(item), f"{path}[]") for item in node.value)
        elif isinstance(node.value, dict) and shape and "$values" in shape:
            shapes.paths.update((id(value), f"{path}{{}}") for value in node.value.values())

    def where(self, key: str) -> Node:
        """The node of ``key``, or the record's own where it is not there."""
        return self._values.get(key, self.node)

    def text(self, key: str, default: str | _Required = REQUIRED, pattern: re.Pattern[str] | None = None) -> str:
        required = isinstance(default, _Required)
        shape = {
            "type": "string",
            **({"pattern": f"^{pattern.pattern}$"} if pattern else {"pattern": r"\S"} if required else {}),
        }
        node = self.get(key, required=required, shape=shape)
        if node is None:
            return "" if isinstance(default, _Required) else default
        if not isinstance(node.value, str):
            hint = f'{key}: "{spell(node.value)}"' if isinstance(node.value, bool | int | float) else f"{key}: …"
            self.tell(node, f"{key!r} must be text, is {kind_of(node.value)}", hint)
            return ""
        if pattern and not pattern.fullmatch(node.value):
            wanted = LIKE_A_WORD if pattern is WORD else f"something like {pattern.pattern}"
            self.tell(node, f"{key!r} is {node.value!r}", wanted)
            return ""
        if not node.value.strip() and isinstance(default, _Required):
            self.tell(node, f"{key!r} is empty", f"{key}: …")
        return node.value

    def number(self, key: str, default: float | _Required = REQUIRED, *, above: float | None = None) -> float:
        shape = {"type": "number", **({"minimum": 0} if above is None else {"exclusiveMinimum": above})}
        node = self.get(key, required=isinstance(default, _Required), shape=shape)
        if node is None:
            return 0.0 if isinstance(default, _Required) else default
        value = node.value
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or value != value
            or abs(value) == float("inf")
        ):
            self.tell(node, f"{key!r} must be a number, is {kind_of(value)}", f"{key}: 1")
            return 0.0
        if value < 0 or (above is not None and value <= above):
            bound = "0 or more" if above is None else f"more than {above:g}"
            self.tell(node, f"{key!r} must be {bound}, is {value:g}", f"{key}: 1")
        return float(value)

    def whole(self, key: str, default: int | _Required = REQUIRED) -> int:
        node = self.get(key, required=isinstance(default, _Required), shape={"type": "integer", "minimum": 1})
        if node is None:
            return 0 if isinstance(default, _Required) else default
        if isinstance(node.value, bool) or not isinstance(node.value, int):
            self.tell(node, f"{key!r} must be a whole number, is {kind_of(node.value)}", f"{key}: 1")
            return 0
        if node.value < 1:
            self.tell(node, f"{key!r} must be 1 or more, is {node.value}", f"{key}: 1")
        return node.value

    def day(self, key: str) -> date:
        node = self.get(key, shape={"type": "string", "format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$"})
        if node is None:
            return date.max
        if type(node.value) is not date:
            self.tell(node, f"{key!r} must be a day, is {kind_of(node.value)}", f"{key}: 2027-06-30")
            return date.max
        return node.value

    def choice(self, key: str, values: type[E], default: E | None = None) -> E:
        node = self.get(key, required=default is None, shape={"enum": [str(value) for value in values]})
        fallback = default if default is not None else next(iter(values))
        if node is None:
            return fallback
        try:
            return values(node.value)
        except ValueError:
            known = [str(v) for v in values]
            self.tell(
                node, f"{key!r} is {spell(node.value)!r}, not one of {', '.join(known)}", nearest(node.value, known)
            )
            return fallback

    def id(self, kind: str) -> str:
        """The record's own ``id``, declared as a ``kind``."""
        found = self.text("id", pattern=WORD)
        if found:
            self.name = f"{kind} {found}"
            self.reading.declare(kind, found, self.where("id"))
        return found

    def reference(self, key: str, kind: str) -> str:
        found = self.text(key)
        if found:
            self.reading.references.append(Reference(kind, found, self.where(key), self.name))
        return found

    def texts(self, key: str, *, required: bool = True) -> list[tuple[str, Node]]:
        """A list of words, each once, with its place."""
        found: dict[str, Node] = {}
        for node in self.items(key, required=required, of={"type": "string"}):
            if not isinstance(node.value, str):
                self.tell(node, f"{key!r} holds {kind_of(node.value)}, not text", f'"{spell(node.value)}"')
            elif node.value in found:
                self.tell(node, f"{key!r} names {node.value!r} twice", "keep one of them")
            else:
                found[node.value] = node
        return list(found.items())

    def items(self, key: str, *, required: bool = True, of: dict[str, Any] | None = None) -> list[Node]:
        shape = {"type": "array", **({"items": of, "uniqueItems": True} if of else {"$items": f"{self._path}/{key}[]"})}
        node = self.get(key, required=required, shape=shape)
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.tell(node, f"{key!r} must be a list, is {kind_of(node.value)}", f"{key}: [...]")
            return []
        return node.value

    def pairs(self, key: str, *, required: bool = True) -> list[tuple[str, Node]]:
        shape = {"type": "object", "$values": f"{self._path}/{key}{{}}"}
        node = self.get(key, required=required, shape=shape)
        if node is None:
            return []
        if not isinstance(node.value, dict):
            self.tell(node, f"{key!r} must be a mapping, is {kind_of(node.value)}", f"{key}: {{name: value}}")
            return []
        return list(node.value.items())

    def address(self, key: str, whose: str) -> Address:
        node = self.get(key, shape=ADDRESS)
        return Address("0.0.0.0", 0) if node is None else self.address_of(node, whose)  # noqa: S104 - a placeholder

    def address_of(self, node: Node, whose: str) -> Address:
        """``host:port`` with an IPv4 host; kept for the check that no two things share one."""
        if self.reading.shapes and id(node) in self.reading.shapes.paths:
            self.reading.shapes.values[self.reading.shapes.paths[id(node)]] = ADDRESS
        host, colon, port = str(node.value).rpartition(":")
        try:
            found = Address(str(ipaddress.IPv4Address(host)), int(port))
            if not (colon and 0 < found.port < 65536 and port.isdecimal()):
                raise ValueError
        except ValueError:
            self.tell(node, f"{whose}: {spell(node.value)!r} is no address", '"10.1.0.5:5432" (IPv4 and port)')
            return Address("0.0.0.0", 0)  # noqa: S104 - a placeholder; the estate is refused
        self.reading.addresses.append((found, f"{self.name}, {whose}", node))
        return found

    def within(self, key: str, *, required: bool = True) -> Record | None:
        """The record that stands under ``key``."""
        node = self.get(key, required=required, shape={"type": "object", "$record": f"{self._path}/{key}"})
        return None if node is None else self.part(node, key)

    def part(self, node: Node, name: str) -> Record:
        """A record inside this one: its faults are this one's."""
        return Record(self.reading, node, f"{self.name}, {name}", self)

    def finish(self) -> bool:
        """Tell the unknown keys; True where nothing at all was wrong."""
        for key, node in self._values.items():
            if key not in self._asked:
                self.tell(node, f"unknown key {key!r}", nearest(key, self._asked))
        return self.sound


def nearest(word: Any, known: Iterable[str]) -> str:
    """The known word that ``word`` was probably meant to be, or all of them."""
    names = sorted(str(k) for k in known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.6)
    if close:
        return close[0]
    return f"one of {', '.join(names[:12])}{' …' if len(names) > 12 else ''}" if names else ""


def place(node: Node) -> str:
    return f"{node.file.rsplit('/', 1)[-1]}:{node.line}"


def kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return f"{'true' if value else 'false'} (quote it if text is meant)"
    if isinstance(value, str):
        return f"text ({value!r})"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else str(value)


def spell(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
