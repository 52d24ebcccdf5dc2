"""The reports of a site, made from its journal and its state when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from ncia.console import reports as pages
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.journal.entry import Entry
from ncia.core.journal.window import Logs, first_at, since
from ncia.core.reports.backup import agency_of, backup_report, day_of
from ncia.core.state import State

JOB_MAX = timedelta(days=1)  # a job that ended on the day may have begun so long before


class SiteReports:
    """:class:`ncia.api.ports.Reports` of ``site``."""

    def __init__(
        self,
        site: SiteId,
        estate: Estate,
        logs: Logs,
        state: Callable[[], State],
        continuity: Callable[[], Mapping[str, Any]],
        clock: Clock,
    ) -> None:
        self._site = site
        self._estate = estate
        self._logs = logs
        self._state = state
        self._continuity = continuity
        self._clock = clock

    def continuity_page(self) -> str:
        return pages.continuity_page(self._continuity())

    def backup(self, day: str, agency: str) -> Mapping[str, Any]:
        now = self._clock.now()
        asked, owner = day_of(day, self._site, self._estate, now), agency_of(agency, self._estate)
        began = [at for at in (first_at(self._logs, centre) for centre in self._estate.centres) if at]
        entries = self._entries(asked.since - JOB_MAX)
        return backup_report(
            asked, owner, self._estate, entries, min(began, default=None), self._state(), now
        ).to_json()

    def backup_page(self, day: str, agency: str) -> str:
        return pages.backup_page(self.backup(day, agency))

    def _entries(self, moment: datetime) -> Iterator[Entry]:
        """Both sites' entries: what befell a point stands in one site's log, and what befell its second copy in one,
        so their order among each other does not matter."""
        for centre in self._estate.centres:
            yield from since(self._logs, centre, moment)
