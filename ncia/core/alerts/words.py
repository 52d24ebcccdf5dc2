"""The few phrases of evidence on which both sides lean: agents write them, incidents are diagnosed from them.

Evidence is a clause for a person; what a diagnosis must read out of it is spelled here and nowhere else.
"""

from __future__ import annotations

import re

STANDBY = "answers as standby"
SILENT = "its agent is silent"
NO_QUORUM = "etcd cannot commit"
HANGS = "no answer from"

_NAMES = re.compile(r"\bnames dependency ([a-z0-9][a-z0-9_-]*)")


def naming(finding: str, system: str) -> str:
    """The clause of a system that says which dependency failed it."""
    return f"{finding}, names dependency {system}"


def named(evidence: str) -> str | None:
    """The dependency that a system blamed, if it blamed one."""
    found = _NAMES.search(evidence)
    return found.group(1) if found else None
