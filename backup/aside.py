"""What was damaged where it lay in a store and is kept aside as evidence: looked for from time to time, told when it
changes. Nobody but a person removes it: it may show what the disk, or somebody, has done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries_care import SetAside, StoreLooked
from ncia.core.state import State, StateStore

LOOK_SECONDS = 900.0
NAMED_MAX = 100
BY = "calendar"

_log = structlog.get_logger()


class Storage(Protocol):
    def aside(self) -> Sequence[SetAside]:
        """What is kept aside in the store, by path below its root."""
        ...


@dataclass
class AsideLook:
    """``tick`` may be called at any time; calls must not overlap."""

    site: SiteId
    journal: Journal
    states: StateStore
    store: Storage
    _due_at: datetime | None = field(default=None, init=False)

    def tick(self, now: datetime) -> None:
        if self._due_at is not None and now < self._due_at:
            return
        self._due_at = now + timedelta(seconds=LOOK_SECONDS)
        try:
            found = sorted(self.store.aside(), key=lambda each: each.path)
        except NciaError as error:
            _log.info("store.not-looked-into", why=str(error))
            return
        told = StoreLooked(site=self.site, count=len(found), aside=tuple(found[:NAMED_MAX]))
        known = self.states.snapshot().aside.get(self.site, StoreLooked(site=self.site, count=0, aside=()))
        if told != known:
            self.journal.append(told, by=BY)
            _log.warning("store.aside", count=told.count, paths=[each.path for each in told.aside])


def aside(estate: Estate, state: State) -> list[dict[str, Any]]:
    """Of both stores, as the API tells it: whose it is, where it lies and since when."""
    return [
        {
            "dataset": each.path.rpartition("/")[0],
            "site": site,
            "host": estate.host_of(SiteId(site), "store").id,
            "path": each.path,
            "size_bytes": each.size_bytes,
            "since": each.since,
        }
        for site, looked in sorted(state.aside.items())
        for each in looked.aside
    ]
