"""Canonical JSON: one spelling for one value, so that a hash of it means something.

UTF-8, keys sorted by code point, no spaces, floats finite and in ``repr`` form. Closed: what JSON cannot say
exactly (bytes, moments, sets, NaN, keys that are not text) is refused, never coerced.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from ncia.core.base.errors import NciaError

PLAIN = frozenset({str, bool, int, type(None)})
DEPTH_MAX = 64  # nested deeper than any entry of ours; keeps a hostile answer from exhausting the stack


def canonical(value: Any) -> bytes:
    """The one spelling of ``value``; raises :class:`NciaError` naming the path of what has none."""
    _demand_closed(value, "$", 0)
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refuse("$", "text holds half of a surrogate pair") from error


def parse(data: bytes | str) -> Any:
    """JSON read strictly: no repeated key, no NaN or Infinity. Raises :class:`NciaError`."""
    try:
        return json.loads(data, object_pairs_hook=_unrepeated, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NciaError("journal.not-json", "read canonical JSON", str(error)) from error


def _demand_closed(value: Any, path: str, depth: int) -> None:
    """Of every entry, when it is made and whenever it is read: for what is plain no path is spelt."""
    if depth > DEPTH_MAX:
        raise _refuse(path, f"nested deeper than {DEPTH_MAX}")
    if value is None or isinstance(value, (str, bool, int)):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _refuse(path, f"{value!r} is not a number that JSON knows")
    elif isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise _refuse(path, f"the key {key!r} is not text")
            if type(inner) not in PLAIN or depth == DEPTH_MAX:
                _demand_closed(inner, f"{path}.{key}", depth + 1)
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            if type(inner) not in PLAIN or depth == DEPTH_MAX:
                _demand_closed(inner, f"{path}[{index}]", depth + 1)
    else:
        raise _refuse(path, f"a {type(value).__name__} has no canonical form")


def _refuse(path: str, why: str) -> NciaError:
    return NciaError("journal.not-canonical", f"spell {path} canonically", why, "text, whole numbers, lists and maps")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is repeated")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
