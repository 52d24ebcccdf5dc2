"""From looks to a verdict, with hysteresis: values in, values out.

A verdict falls after ``looks_to_fall`` looks in a row that are worse than it, and rises after ``looks_to_rise`` that
are better. Knowing nothing is left at the first good look. A new kind of finding under the same verdict (another
dependency named, a standby that became active) is told after ``looks_to_rise`` looks as well.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from monitors.ports import Look, Outcome
from ncia.core.base.ids import Subject

if TYPE_CHECKING:  # an agent holds no journal: it need not load one
    from ncia.core.journal.entries import Verdict

WORTH: dict[Verdict, int] = {"up": 3, "degraded": 2, "down": 1, "unknown": 0}
VERDICT_OF: dict[Outcome, Verdict] = {
    Outcome.GOOD: "up",
    Outcome.DEGRADED: "degraded",
    Outcome.BAD: "down",
    Outcome.BLIND: "unknown",
    Outcome.RETIRED: "unknown",
}


@dataclass(frozen=True)
class Change:
    """A verdict as it now stands; ``since`` is when the first look of the streak that led to it began."""

    subject: Subject
    verdict: Verdict
    previous: Verdict
    since: datetime
    evidence: str


@dataclass(frozen=True)
class Track:
    """What is remembered of one subject between looks. ``streak`` counts looks in a row that contradict the verdict;
    ``streak_side`` is which way: 1 better, -1 worse, 0 the same verdict of another kind."""

    verdict: Verdict = "unknown"
    code: str = ""
    streak: int = 0
    streak_side: int = 0
    streak_since: datetime | None = None

    @property
    def doubted(self) -> bool:
        """The last look was worse than the verdict, which has not fallen yet."""
        return self.streak > 0 and self.streak_side < 0


def judge(track: Track, look: Look, looks_to_fall: int, looks_to_rise: int) -> tuple[Track, Change | None]:
    """The next track, and the change of verdict that this look brought about, if any."""
    found = VERDICT_OF[look.outcome]
    if look.outcome is Outcome.RETIRED:
        if track.verdict != "unknown":
            return _settle(track, look, found, look.at)
        return _settled(track), None
    if found == track.verdict and look.code == track.code:
        return _settled(track), None
    side = (WORTH[found] > WORTH[track.verdict]) - (WORTH[found] < WORTH[track.verdict])
    if track.verdict == "unknown":
        side = 1 if found == "up" else -1
    same_way = track.streak > 0 and side == track.streak_side
    streak = track.streak + 1 if same_way else 1
    since = track.streak_since if same_way and track.streak_since is not None else look.at
    if streak < _needed(track.verdict, found, side, looks_to_fall, looks_to_rise):
        return replace(track, streak=streak, streak_side=side, streak_since=since), None
    return _settle(track, look, found, since)


def _settled(track: Track) -> Track:
    """The track with nothing in question: nearly always the same one."""
    return replace(track, streak=0, streak_side=0, streak_since=None) if track.streak else track


def _needed(verdict: Verdict, found: Verdict, side: int, looks_to_fall: int, looks_to_rise: int) -> int:
    if verdict == "unknown" and found == "up":
        return 1
    return looks_to_fall if side < 0 else looks_to_rise


def _settle(track: Track, look: Look, found: Verdict, since: datetime) -> tuple[Track, Change]:
    change = Change(look.subject, found, track.verdict, since, look.evidence)
    return Track(verdict=found, code=look.code), change
