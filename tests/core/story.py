"""A journal told in a few lines: entries of two sites in order, folded into the state that views and reports read."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.config import load_estate
from ncia.core.estate import Estate
from ncia.core.journal.entries import Body, Verdict, VerdictChange, VerdictsChanged
from ncia.core.journal.entry import Entry, make_entry
from ncia.core.state import State, fold

START = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
NORTH, SOUTH, THIRD = SiteId("north"), SiteId("south"), SiteId("third")


def sample_estate() -> Estate:
    return load_estate(Path(__file__).parent / "config" / "samples" / "base")


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def text(seconds: float) -> str:
    return to_text(at(seconds))


@dataclass
class Story:
    """``say`` what a site wrote, at so many seconds after the start."""

    entries: list[Entry] = field(default_factory=list)

    def say(self, seconds: float, site: SiteId, *bodies: Body) -> "Story":
        for body in bodies:
            number = sum(1 for entry in self.entries if entry.site == site)
            peer_seen = len(self.entries) - number
            self.entries.append(make_entry(site, number, at(seconds), "test", peer_seen, body))
        return self

    def look(self, seconds: float, vantage: SiteId, verdict: Verdict, *subjects: str, why: str = "") -> "Story":
        changes = tuple(
            VerdictChange(subject=s, verdict=verdict, previous="unknown", since=text(seconds), evidence=why)
            for s in subjects
        )
        return self.say(
            seconds, vantage if vantage != THIRD else SOUTH, VerdictsChanged(vantage=vantage, changes=changes)
        )

    def state(self) -> State:
        return fold(self.entries)
