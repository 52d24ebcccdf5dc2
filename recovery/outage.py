"""Since when citizens are without a system: our own vantage's verdict on the citizens' entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ncia.core.base.clock import from_text
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.journal.entries import VerdictChange
from recovery.ports import Outage

Verdicts = Callable[[], Mapping[str, Mapping[str, VerdictChange]]]


class EntryOutages:
    """:class:`recovery.ports.Watching` over folded verdicts (``State.verdicts``).

    Only the citizens' entry counts: a vantage that is cut off sees systems down to which citizens still write, and an
    outage that begins too early would make the loss look too small.
    """

    def __init__(self, site: SiteId, verdicts: Verdicts) -> None:
        self._site = site
        self._verdicts = verdicts

    def outage(self, system: SystemId) -> Outage:
        seen = self._verdicts().get(self._site, {}).get(f"entry:{system}")
        if seen is None or seen.verdict != "down":
            return Outage(None, "the citizens' entry is not seen down")
        return Outage(from_text(seen.since), seen.evidence)
