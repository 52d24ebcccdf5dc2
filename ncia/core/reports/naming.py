"""Whether a loss of a site now would have names: whether every front door's receipts of its acts arrive here. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ncia.core.base.ids import SiteId
from ncia.core.reports.loss import Stream

HEARD_SECONDS_MAX = 5.0  # a door speaks once a second


@dataclass(frozen=True)
class Naming:
    """``why``: what is missing, empty where every act acknowledged until a moment ago has its receipt here."""

    why: str

    @property
    def named(self) -> bool:
        return not self.why


def naming_of(streams: Sequence[Stream], now: datetime) -> Naming:
    """``streams``: what doors told of the acts that one site served. A door that closed acknowledges nothing."""
    if not streams:
        return Naming("no front door ever told of its receipts")
    newest: dict[SiteId, Stream] = {}
    for stream in sorted(streams, key=lambda each: (each.began_at, each.complete_until)):
        newest[stream.door] = stream
    limit = timedelta(seconds=HEARD_SECONDS_MAX)
    silent = [s for s in newest.values() if not s.closed and now - s.complete_until > limit]
    told = [f"{s.door} was not heard since {s.complete_until:%Y-%m-%d %H:%M:%S} UTC" for s in silent]
    return Naming("; ".join(told))
