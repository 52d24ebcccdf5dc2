"""What somebody of one agency may see of a view: its own systems, and nothing that a table does not let through.

Works on a view's JSON form. A key that no table names keeps its shape and loses its content: what is added to a view is
withheld from an agency until somebody says how it is to be cut.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Json = Mapping[str, Any]
Cut = Callable[[Any, frozenset[str]], Any]


def whole(value: Any, systems: frozenset[str]) -> Any:
    """Everybody's: sites, names, moments."""
    return value


def by(key: str) -> Cut:
    """A list whose items name a system, or a dataset of it, under ``key``."""

    def cut(items: Any, systems: frozenset[str]) -> Any:
        return [item for item in items if str(item[key]).split("/", 1)[0] in systems]

    return cut


def incidents(items: Any, systems: frozenset[str]) -> Any:
    """Those that one of the systems feels, and of their systems only these."""
    felt = [{**item, "systems": [s for s in item["systems"] if s in systems]} for item in items]
    return [item for item in felt if item["systems"]]


def runs(items: Any, systems: frozenset[str]) -> Any:
    """Runs that move one of the systems: their own steps, and those of the run as a whole."""
    found = []
    for run in items:
        if any(step["id"].partition("/")[0] in systems for step in run["steps"]):
            steps = [s for s in run["steps"] if "/" not in s["id"] or s["id"].partition("/")[0] in systems]
            found.append({**run, "steps": steps})
    return found


STATUS: Mapping[str, Cut] = {
    **dict.fromkeys(("site", "timezone", "estate", "estate_hash", "as_of", "verdict", "sites"), whole),
    "systems": by("id"),
    "incidents": incidents,
    "runs": runs,
    "missed": by("dataset"),
    "unprotected": by("system"),
    "proofs": by("system"),
}
INCIDENTS: Mapping[str, Cut] = {"incidents": incidents}
BACKUPS: Mapping[str, Cut] = {
    "site": whole,
    **dict.fromkeys(("datasets", "points", "missed", "jobs", "snapshots", "late", "aside"), by("dataset")),
}
CONTINUITY: Mapping[str, Cut] = {
    **dict.fromkeys(("site", "estate", "estate_hash", "as_of"), whole),
    "systems": by("id"),
    "unprotected": by("dataset"),
    "not_proven": by("subject"),
}


def within(told: Json, systems: frozenset[str], view: Mapping[str, Cut]) -> dict[str, Any]:
    """``told`` as somebody sees it who may know of ``systems`` only."""
    return {key: view[key](value, systems) if key in view else _withheld(value) for key, value in told.items()}


def _withheld(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return []
    return {} if isinstance(value, Mapping) else None
