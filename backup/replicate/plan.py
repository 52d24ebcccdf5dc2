"""What to copy: from two listings to copies, and from two marks to the folders worth a look. Pure.

The source is the active site and wins; what the target holds that is newer and different is set aside first, never
written over, and nothing at the target is ever deleted: a mirror that follows a deletion is how deletions spread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ncia.core.work.documents import FOLDER_SECONDS, OWN, Seen, time_folder

GRACE = timedelta(seconds=10)  # a document may reach its folder so late
CATCH_UP_MAX = timedelta(minutes=30)  # of folders looked at one by one; a longer gap is a sweep
CLOCK_GRAIN_SECONDS = 1.0  # SFTP tells whole seconds

Why = Literal["missing", "newer", "ahead"]


@dataclass(frozen=True)
class Copy:
    """One document to be copied. ``ahead``: the target holds another one under that name, younger than the source's."""

    seen: Seen
    why: Why


def copies(source: Iterable[Seen], target: Mapping[str, Seen]) -> tuple[Copy, ...]:
    """What the target lacks, the oldest first: what was acknowledged first is safe first."""
    found = [Copy(seen, why) for seen in source if (why := needed(seen, target.get(seen.name)))]
    return tuple(sorted(found, key=lambda copy: (copy.seen.modified_at, copy.seen.name)))


def needed(source: Seen, target: Seen | None) -> Why | None:
    """Why a document must be copied; None where the target has it.

    Where both stores tell a digest, that decides. Where they do not, size and time do: a copy bears its source's time.
    """
    if target is None:
        return "missing"
    digests = bool(source.tag and target.tag)
    if source.size_bytes == target.size_bytes and (source.tag == target.tag if digests else not _later(source, target)):
        return None
    return "newer" if _later(source, target) else "ahead"


def _later(source: Seen, target: Seen) -> bool:
    return source.modified_at >= target.modified_at + CLOCK_GRAIN_SECONDS


def hot_folders(since: datetime, until: datetime) -> tuple[str, ...] | None:
    """The folders in which something may be new between two marks; None where there are too many of them."""
    if until - since > CATCH_UP_MAX:
        return None
    begin, step = since - GRACE, timedelta(seconds=FOLDER_SECONDS)
    moments = [begin + number * step for number in range(int((until - begin) / step) + 1)]
    return tuple(dict.fromkeys(time_folder(moment) for moment in (*moments, until)))


def aside(name: str, moment: datetime) -> str:
    """Where the target's own version goes before the source's takes its name."""
    return f"{OWN}/aside/{moment.strftime('%Y%m%dT%H%M%S')}/{name}"
