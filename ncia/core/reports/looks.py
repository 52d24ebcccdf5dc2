"""What is known now and in no journal, and one verdict out of several vantages' looks.

Who has not spoken lately has no say, and nobody's say is "unknown".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ncia.core.base.clock import from_text
from ncia.core.base.ids import SiteId
from ncia.core.journal.entries import Verdict, VerdictChange
from ncia.core.reports.naming import Naming

SILENT_AFTER = timedelta(seconds=5)
WORST_FIRST: tuple[Verdict, ...] = ("down", "unknown", "degraded", "up")


@dataclass(frozen=True)
class Live:
    """What is known now and in no journal.

    ``vantages``: when each site's agent was last heard, directly or through the peer; ``measures``: the newest value
    of (subject, name) and when it was taken; ``naming``: by the site that served them, whether acts have their receipts
    here, where it is here that they are kept.
    """

    vantages: Mapping[SiteId, datetime] = field(default_factory=dict)
    measures: Mapping[tuple[str, str], tuple[float, datetime]] = field(default_factory=dict)
    naming: Mapping[SiteId, Naming] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What the vantages that speak say together; ``by`` is each one's own word."""

    verdict: Verdict
    evidence: str
    since: str | None
    by: Mapping[str, Verdict]


NOBODY = Judged("unknown", "no vantage that speaks looks at it", None, {})


@dataclass(frozen=True)
class Looks:
    """``verdicts``: by vantage, then subject."""

    verdicts: Mapping[str, Mapping[str, VerdictChange]]
    live: Live
    now: datetime

    def heard(self, vantage: str) -> datetime | None:
        return next((at for site, at in self.live.vantages.items() if site == vantage), None)

    def speaks(self, vantage: str) -> bool:
        at = self.heard(vantage)
        return at is not None and self.now - at <= SILENT_AFTER

    def at(self, subject: str, *, but: str = "") -> Judged:
        """``subject`` as all see it who speak; up for one and not for another is degraded."""
        seen = self._seen(subject, but)
        if not seen:
            return NOBODY
        worst = min(seen.values(), key=lambda look: (WORST_FIRST.index(look.verdict), look.since))
        said = {look.verdict for look in seen.values()}
        by = {vantage: look.verdict for vantage, look in seen.items()}
        verdict: Verdict = "degraded" if "up" in said and len(said) > 1 else worst.verdict
        evidence = worst.evidence if len(said) == 1 else f"{self._names(seen, worst)}: {worst.evidence}"
        return Judged(verdict, evidence, worst.since, by)

    def newest(self, subject: str) -> Judged:
        """``subject`` by the newest look that knows: for what a majority answers the same to all, such as a lease."""
        seen = self._seen(subject, "")
        known = [look for look in seen.values() if look.verdict != "unknown"] or list(seen.values())
        if not known:
            return NOBODY
        newest = max(known, key=lambda look: from_text(look.since))
        return Judged(newest.verdict, newest.evidence, newest.since, {v: look.verdict for v, look in seen.items()})

    def measure(self, subject: str, name: str) -> tuple[float | None, bool]:
        """The newest value, and whether it was taken too long ago."""
        found = self.live.measures.get((subject, name))
        return (None, False) if found is None else (found[0], self.now - found[1] > SILENT_AFTER)

    def grown(self, subject: str, name: str) -> tuple[float | None, bool]:
        """:meth:`measure` of what grows with time while nothing new is seen: the age of the look is added."""
        found = self.live.measures.get((subject, name))
        if found is None:
            return None, False
        age = max(0.0, (self.now - found[1]).total_seconds())
        return round(found[0] + age, 3), self.measure(subject, name)[1]

    def _seen(self, subject: str, but: str) -> dict[str, VerdictChange]:
        return {
            vantage: by_subject[subject]
            for vantage, by_subject in sorted(self.verdicts.items())
            if subject in by_subject and vantage != but and self.speaks(vantage)
        }

    def _names(self, seen: Mapping[str, VerdictChange], worst: VerdictChange) -> str:
        return "from " + ", ".join(vantage for vantage, look in seen.items() if look.verdict == worst.verdict)
