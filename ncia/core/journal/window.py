"""The entries of a time: found by halving, for a log of a year is not read to tell one day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry

STEPPED_BACK_MAX = timedelta(hours=1)  # by how much a site's clock may have been set back without an entry being missed
BATCH = 1000


class Logs(Protocol):
    """A journal, as far as it is read here."""

    def size(self, site: SiteId) -> int: ...

    def entries(self, site: SiteId, start: int = 0, limit: int = BATCH) -> Sequence[Entry]: ...


def since(logs: Logs, site: SiteId, moment: datetime) -> Iterator[Entry]:
    """One site's entries written at ``moment`` or later, in the order of their numbers."""
    size = logs.size(site)
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        if logs.entries(site, middle, 1)[0].at < moment - STEPPED_BACK_MAX:
            low = middle + 1
        else:
            high = middle
    while low < size:
        for entry in logs.entries(site, low, BATCH):
            low = entry.number + 1
            if entry.at >= moment:
                yield entry


def first_at(logs: Logs, site: SiteId) -> datetime | None:
    """When that log began; None where it is empty."""
    found = logs.entries(site, 0, 1)
    return found[0].at if found else None
