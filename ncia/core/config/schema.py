"""A JSON Schema of the estate's files for editors, made from the reader itself.

The reader notes what it asks for while it reads an estate that uses everything (the reference estate); the schema is
what it noted. So a key that the reader learns is in the schema without a second list to keep. An editor checks one file
and what stands in it; references, promises and addresses between files are for ``ncia estate check``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ncia.core.config.estate import estate_shapes
from ncia.core.config.folder import LISTS, SINGLES
from ncia.core.config.places import HOST_ROLES
from ncia.core.config.reading import Shapes
from ncia.core.config.systems import KINDS

DIALECT = "http://json-schema.org/draft-07/schema#"  # what YAML language servers speak best
FILE = "estate.schema.json"
SITE_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9-]{0,39}$"}
PROMISE = {
    "type": "object",
    "properties": {
        "rpo_seconds": {"type": "number", "minimum": 0},
        "rto_seconds": {"type": "number", "exclusiveMinimum": 0},
    },
    "required": ["rpo_seconds", "rto_seconds"],
    "additionalProperties": False,
}
UNPROTECTED = {
    "type": "object",
    "properties": {
        "until": {"type": "string", "format": "date", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
        "by": SITE_NAME,
        "why": {"type": "string", "pattern": r"\S"},
    },
    "required": ["until", "by", "why"],
    "additionalProperties": False,
}
# What a reader checks after it has read a word, or reads only where it is there.
REFINED: dict[str, dict[str, Any]] = {
    "hosts[]/roles": {"type": "array", "items": {"enum": list(HOST_ROLES)}, "uniqueItems": True},
    "systems[]/datasets[]/kind": {"enum": list(KINDS)},
    "systems[]/datasets[]/promise": PROMISE,
    "systems[]/datasets[]/unprotected": UNPROTECTED,
}
LINK = {"type": "array", "items": SITE_NAME, "minItems": 2, "maxItems": 2, "uniqueItems": True}


def estate_schema(example: Path) -> dict[str, Any]:
    """The schema of one file of an estate; ``example`` is the folder of an estate in which everything stands."""
    shapes = estate_shapes(example)
    sections: dict[str, Any] = {
        name: {"type": "array", "items": LINK if name == "links" else _record(shapes, f"{name}[]")} for name in LISTS
    }
    singles = {"name": {"type": "string"}, "settings": _record(shapes, "settings")}
    return {
        "$schema": DIALECT,
        "title": "A file of an ncia estate",
        "type": "object",
        "properties": {**sections, **{name: singles[name] for name in SINGLES}},
        "additionalProperties": False,
    }


def _record(shapes: Shapes, path: str) -> dict[str, Any]:
    shape = shapes.records.get(path)
    if shape is None:
        return shapes.values.get(path, {})
    required = sorted(key for key, count in shape.demanded.items() if count == shape.records)
    properties = {
        key: REFINED.get(f"{path}/{key}") or _value(shapes, schema) for key, schema in sorted(shape.keys.items())
    }
    whole: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**whole, "required": required} if required else whole


def _value(shapes: Shapes, noted: dict[str, Any]) -> dict[str, Any]:
    """What stands under a key: the reader's note, with the records inside it put in their places."""
    told = {key: value for key, value in noted.items() if not key.startswith("$")}
    if "$items" in noted:
        told["items"] = _record(shapes, noted["$items"])
    if "$values" in noted:
        told["additionalProperties"] = _record(shapes, noted["$values"])
    if "$record" in noted and noted["$record"] in shapes.records:
        told.update(_record(shapes, noted["$record"]))
    return told
