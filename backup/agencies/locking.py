"""What a job does that meets a lock of somebody else's: it comes again soon, and quietly, until whoever may have died
with the lock has been passed over; then it is told. Values in, values out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.state import State
from ncia.core.state.repositories import LockFact
from ncia.core.work.jobs import JobId

LOCKED = "repository.locked"  # code of every engine's fault
PAUSES_SECONDS = (60.0, 120.0, 240.0, 480.0, 600.0, 600.0)  # 35 minutes: a lock whose holder died is stale after 30


class LockHeld(str):
    """A sentence, of a lock that somebody holds."""

    __slots__ = ()


def locked_at(failed: Mapping[SiteId, str]) -> list[SiteId]:
    """The places at which it was a lock and no fault: a step's record keeps words, and not what kind they are of."""
    return [site for site, why in failed.items() if isinstance(why, LockHeld)]


def unless_locked(act: Callable[[], Any]) -> Any:
    """What ``act`` answers; of a lock that somebody holds ``{"locked": why}``, which is no failure."""
    try:
        return act()
    except NciaError as error:
        if error.code != LOCKED:
            raise
        return {"locked": error.why}


def met(state: State, verb: str, subject: str, site: str, after: datetime | None) -> LockFact | None:
    """The lock that jobs of a kind have met last at a place, if nothing of that kind ended well since."""
    fact = state.locks_met.get((verb, subject, site))
    return fact if fact is not None and (after is None or fact.at > after) else None


def is_quiet(count: int) -> bool:
    """Whether so many meetings in a row are nobody's business yet."""
    return count < len(PAUSES_SECONDS)


def again_at(fact: LockFact) -> datetime | None:
    """When it comes again; None once it is told, and comes as ever."""
    if fact.count > len(PAUSES_SECONDS):
        return None
    return fact.at + timedelta(seconds=PAUSES_SECONDS[fact.count - 1])


def held_up(facts: Iterable[LockFact], now: datetime) -> bool:
    """Whether it is not time yet to come again."""
    moments = (again_at(fact) for fact in facts)
    return any(each is not None and now < each for each in moments)


def again(job: JobId, *facts: LockFact) -> JobId:
    """The name of the next attempt, after these meetings."""
    return job + "".join(f":again{fact.count}" for fact in facts)


def told(fact: LockFact, what: str) -> str:
    """In one clause what a person must know; empty while it is nobody's business."""
    if is_quiet(fact.count):
        return ""
    return f"its {what} meets a lock since {to_text(fact.since)[:16]}Z: {fact.last.why}"
