"""A folder of YAML files as one document: its sections, wherever they stand, and its hash."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from ncia.core.base.errors import Fault
from ncia.core.config import marked
from ncia.core.config.marked import Node
from ncia.core.config.reading import kind_of, nearest, place

LISTS = ("sites", "hosts", "links", "agencies", "grades", "systems", "people")  # may be spread over files
SINGLES = ("name", "settings")  # said once
FILES_MAX = 2000


@dataclass
class Sections:
    """``hash``: SHA-256 (hex) of the canonical JSON of {file name: content}."""

    folder: Path
    hash: str = ""
    singles: dict[str, Node] = field(default_factory=dict)
    lists: dict[str, list[Node]] = field(default_factory=lambda: {name: [] for name in LISTS})

    @property
    def whole(self) -> Node:
        """Where a fault of the folder as a whole is told."""
        return Node(str(self.folder), 0, None)


def read_folder(folder: Path, faults: list[Fault]) -> Sections:
    """Every ``*.yaml`` directly in ``folder``, in the order of the names; folders below it belong to others."""
    sections = Sections(folder)
    files = sorted(folder.glob("*.yaml"))[:FILES_MAX]
    if not files:
        why = "holds no *.yaml" if folder.is_dir() else "is no folder"
        faults.append(Fault(str(folder), 0, why, "name the folder of the estate"))
    contents: dict[str, Any] = {}
    for path in files:
        root = marked.read(path, faults)
        if root is None:
            continue
        contents[path.name] = root.plain
        if isinstance(root.value, dict):
            for key, node in root.value.items():
                _take(sections, key, node, faults)
        else:
            faults.append(root.fault(f"must hold sections, is {kind_of(root.value)}", f"one of {', '.join(LISTS)}"))
    sections.hash = hashlib.sha256(canonical(contents)).hexdigest()
    return sections


def _take(sections: Sections, key: str, node: Node, faults: list[Fault]) -> None:
    if key in LISTS:
        if isinstance(node.value, list):
            sections.lists[key].extend(node.value)
        else:
            faults.append(node.fault(f"section {key!r} must be a list, is {kind_of(node.value)}", f"{key}: [...]"))
    elif key not in SINGLES:
        faults.append(node.fault(f"unknown section {key!r}", nearest(key, LISTS + SINGLES)))
    elif key in sections.singles:
        first = place(sections.singles[key])
        faults.append(node.fault(f"section {key!r} said twice (first at {first})", "keep one of them"))
    else:
        sections.singles[key] = node


def canonical(content: Any) -> bytes:
    """UTF-8 JSON, keys sorted, no spaces; days in ISO form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_spell)
    return text.encode()


def _spell(value: Any) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return repr(value)
