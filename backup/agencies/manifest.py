"""Whether files are the base backup that the journal knows: values in, a sentence out.

The journal has the manifest's hash from when the point was taken, and the manifest has the hash of each file. What it
does not speak of is WAL: that a proof alone can judge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

MANIFEST = "data/backup_manifest"
DESCRIPTION = "point.json"
UNSPOKEN = ("wal/", "data/pg_wal/")  # folders of what no manifest lists
SHA256 = "SHA256"
SHOWN_MAX = 80

Digests = Mapping[str, tuple[int, str]]
"""By name below the point: size and SHA-256 of each file."""


def fault_of(manifest: bytes, found: Digests, journalled: str) -> str:
    """Why what was found is not the point whose manifest has that hash, in one clause; empty where it is."""
    if hashlib.sha256(manifest).hexdigest() != journalled:
        return "its manifest is not the one that was journalled when it was taken"
    try:
        listed = {f"data/{_name(file)}": file for file in json.loads(manifest)["Files"]}
    except (ValueError, KeyError, TypeError) as error:
        return f"its manifest cannot be read: {error}"
    for name, file in listed.items():
        if name not in found:
            return f"{shown(name)} is missing"
        if file.get("Checksum-Algorithm") != SHA256:
            return f"its manifest has no SHA-256 of {shown(name)}"
        if found[name] != (file.get("Size"), file.get("Checksum")):
            return f"{shown(name)} is not what was written"
    for name in found:
        if name not in listed and name not in (MANIFEST, DESCRIPTION) and not name.startswith(UNSPOKEN):
            return f"{shown(name)} is none of its files"
    return "" if DESCRIPTION in found else f"{DESCRIPTION} is missing"


def description_fault(description: bytes, point: str, journalled: str) -> str:
    """Why what lies beside the copy describes another one; empty where it describes this one."""
    try:
        told = json.loads(description)
        same = (told["point"], told["manifest_sha256"]) == (point, journalled)
    except (ValueError, KeyError, TypeError):
        return f"{DESCRIPTION} cannot be read"
    return "" if same else f"{DESCRIPTION} describes another point"


def shown(name: str) -> str:
    """A name as a sentence may show it."""
    plain = name if name.isprintable() else ascii(name)[1:-1]
    return plain if len(plain) <= SHOWN_MAX else f"{plain[:SHOWN_MAX]}…"


def _name(file: Mapping[str, Any]) -> str:
    """A name that is no UTF-8 is kept in hex, and is none that PostgreSQL itself gives."""
    return str(file["Path"]) if "Path" in file else bytes.fromhex(file["Encoded-Path"]).decode("utf-8", "replace")
