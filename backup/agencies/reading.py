"""Which part of which repository is read again next, and what is not well about it: values in, values out.

A place is read in parts, one in each interval, the one that waits longest first; a part in which faults stand is read
again in each interval too, for what is mended elsewhere is to be seen. So each byte is read once in a rotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from backup.agencies.ports import Share
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SiteId
from ncia.core.estate.model import Agency, Estate
from ncia.core.estate.repository import Rotation
from ncia.core.state import State
from ncia.core.state.repositories import RepositoryFact
from ncia.core.work.jobs import JobId

CHECK = "check-repository"  # verb of jobs
LATE = 2  # so many rotations may pass before a place counts as not read
RETRY_SECONDS = 3_600.0  # after a reading that could not be carried out


@dataclass(frozen=True)
class Turn:
    """A part of the place of ``site`` that is due. ``urgent``: it has waited for an interval more, and waits for no
    quiet hour any longer."""

    agency: Agency
    site: SiteId
    repository: str
    share: Share
    due_at: datetime
    urgent: bool

    def job(self, now: datetime) -> JobId:
        """Its name; another one after a while, where the first has failed."""
        where = f"{self.agency.id}@{self.site}:{self.share.number}/{self.share.of}"
        return f"check:{where}:{to_text(self.due_at)}:{int(now.timestamp() // RETRY_SECONDS)}"


def turns(estate: Estate, state: State, site: SiteId, now: datetime) -> tuple[Turn, ...]:
    """What is due at ``site``, the longest first."""
    found = []
    for agency in estate.agencies.values():
        fact = state.repositories.get((agency.id, site))
        if fact is None or agency.repository is None:
            continue
        interval = timedelta(seconds=agency.repository.check.interval_seconds)
        for share, due_at in _due(fact, agency.repository.check):
            if due_at <= now:
                urgent = due_at + interval <= now
                found.append(Turn(agency, site, fact.made.repository, share, due_at, urgent))
    return tuple(sorted(found, key=lambda each: (each.due_at, each.agency.id)))


def _due(fact: RepositoryFact, rotation: Rotation) -> list[tuple[Share, datetime]]:
    """The next part of the rotation, an interval after the one before; and each that has faults, after its own: that it
    is read anew does not hold up the rotation."""
    interval = timedelta(seconds=rotation.interval_seconds)
    known = fact.parts_read(rotation.parts)
    due = {(each.found.part, each.found.of): each.at + interval for each in fact.damaged}
    unread = set(range(1, rotation.parts + 1)) - {each.found.part for each in known}
    waiting = sorted(unread) or [each.found.part for each in known if not each.found.faults]
    newest = max(
        (each.since if each.found.faults else each.at for each in known), default=fact.mended_at or fact.made_at
    )
    if waiting:
        due[waiting[0], rotation.parts] = newest + interval
    return [(Share(*key), moment) for key, moment in due.items()]


def damaged_parts(fact: RepositoryFact) -> tuple[tuple[int, int], ...]:
    return tuple((each.found.part, each.found.of) for each in fact.damaged)


def unwell(fact: RepositoryFact, rotation: Rotation, now: datetime) -> str:
    """In one clause what a person must know of a place's readings; empty where all is well."""
    if fact.damaged:
        count = sum(each.found.faults for each in fact.damaged)
        first = fact.damaged[0].found
        named = first.named[0] if first.named else "no more is known"
        return f"{count} {'faults' if count > 1 else 'fault'} when it was read, the first: {named}"
    since, read = fact.read_whole_since(rotation.parts), len(fact.parts_read(rotation.parts))
    if since is None:
        if fact.mended_at is not None:
            mended = to_text(fact.mended_at)[:16]
            return f"not read whole since it was mended {mended}Z: {read} of {rotation.parts} parts so far"
        return f"never read whole: {read} of {rotation.parts} parts so far"
    if now - since > timedelta(seconds=LATE * rotation.seconds):
        return f"not read whole since {to_text(since)[:16]}Z: that is to be done every {_span(rotation.seconds)}"
    return ""


def _span(seconds: float) -> str:
    return f"{seconds / 86_400:g} d" if seconds >= 86_400 else f"{seconds / 3_600:g} h"
