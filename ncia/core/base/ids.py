"""Typed names of things, and the making of new ones."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import NewType

SiteId = NewType("SiteId", str)
SystemId = NewType("SystemId", str)
DatasetId = NewType("DatasetId", str)  # "<system>/<name>", e.g. "hometax/rows"
HostId = NewType("HostId", str)
PersonId = NewType("PersonId", str)
AgencyId = NewType("AgencyId", str)
Subject = NewType("Subject", str)  # what a probe looks at; see docs/architecture.md
RunId = NewType("RunId", str)
IncidentId = NewType("IncidentId", str)
JobId = NewType("JobId", str)

SHORT = 8  # so many digits of a long hash are shown to people, and stand in the sentences of looks and mendings


def new_id(kind: str, now: datetime) -> str:
    """A name that sorts by time and cannot collide between sites: ``<kind>-<UTC minute>-<6 hex>``."""
    return f"{kind}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
