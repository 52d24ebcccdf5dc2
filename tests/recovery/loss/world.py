"""Receipts of the sample estate, in a store of their own."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.reports.loss import Receipt, Stream
from tests.core.story import NORTH, START, at, sample_estate

ESTATE = sample_estate()
TAX, FINES = SystemId("tax"), SystemId("fines")
DOOR = next(site.id for site in ESTATE.sites.values() if site.kind == "public")
SHA = "ab" * 32


def act_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def receipt(number: int, seconds: float = 1, system: SystemId = TAX, sha: str = SHA, site: SiteId = NORTH) -> Receipt:
    return Receipt(act_id(number), sha, system, ESTATE.systems[system].agency, site, 1, at(seconds))


def stream(began: float = 0, until: float = 60, id: str = "s1", **more: Any) -> Stream:
    return Stream(id, DOOR, NORTH, at(began), at(until), **more)


def batch(**more: Any) -> dict[str, Any]:
    """What a door sends of acts that north served."""
    told = {
        "door": DOOR,
        "stream": "s1",
        "served_by": NORTH,
        "began_at": to_text(START),
        "complete_until": to_text(START + timedelta(seconds=60)),
        "closed": False,
        "drops": [],
        "receipts": [[act_id(1), SHA, "tax", 1, to_text(at(1))]],
    }
    return {**told, **more}
