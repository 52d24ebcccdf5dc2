"""As much of JSON Schema (draft 7) as the estate's schema uses; an unknown keyword is an error, never ignored."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any

TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
KNOWN = {"type", "enum", "pattern", "minimum", "exclusiveMinimum", "items", "minItems", "maxItems", "uniqueItems"}
KNOWN |= {"properties", "additionalProperties", "required", "format", "title", "$schema"}


def faults(value: Any, schema: Any, path: str = "$") -> Iterator[str]:
    """One sentence for each place that the schema does not allow."""
    if schema is False:
        yield f"{path}: must not be here"
        return
    if schema is True:
        return
    assert schema.keys() <= KNOWN, schema.keys() - KNOWN
    if isinstance(value, date):
        value = value.isoformat()  # to an editor a day is text
    wanted = schema.get("type")
    if wanted and (not isinstance(value, TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        yield f"{path}: is no {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} is not like {schema['pattern']}"
    if "minimum" in schema and value < schema["minimum"]:
        yield f"{path}: {value} is less than {schema['minimum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield f"{path}: {value} is not more than {schema['exclusiveMinimum']}"
    if isinstance(value, dict):
        yield from _of_object(value, schema, path)
    if isinstance(value, list):
        yield from _of_array(value, schema, path)


def _of_object(value: dict[str, Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{path}: {key} is missing"
    known = schema.get("properties", {})
    for key, inner in value.items():
        yield from faults(inner, known.get(key, schema.get("additionalProperties", True)), f"{path}.{key}")


def _of_array(value: list[Any], schema: dict[str, Any], path: str) -> Iterator[str]:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        yield f"{path}: holds {len(value)}"
    if schema.get("uniqueItems") and len({str(item) for item in value}) < len(value):
        yield f"{path}: holds one twice"
    for index, item in enumerate(value):
        yield from faults(item, schema.get("items", True), f"{path}[{index}]")
