"""Documents that only a returned site holds: the port to their list, and when they can have come to be. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from ncia.core.base.clock import from_text
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.journal.entries_recovery import StepEnded
from ncia.core.state.facts import Run
from ncia.core.work.documents import Seen, time_folder

MARGIN = timedelta(seconds=60)  # the sites' clocks differ, and a document may reach its folder late
SAME_SECONDS = 1.0  # SFTP tells whole seconds
CLAIM = "claim"

Likeness = Literal["absent", "same", "other", "unknown"]


@dataclass(frozen=True)
class Span:
    """When a document that can matter was taken; ``None``: not known, so without that bound."""

    since: datetime | None = None
    until: datetime | None = None

    def meets(self, folder: str) -> bool:
        """Whether a folder of time, or one above such, can hold a document of this time."""
        low = time_folder(self.since)[: len(folder)] if self.since else ""
        return low <= folder and (self.until is None or folder <= time_folder(self.until)[: len(folder)])

    def takes(self, seen: Seen, by_time: bool) -> bool:
        """Whether a document of a folder that was looked at can matter: by its folder, or else by its own time."""
        folder = seen.name.rpartition("/")[0]
        if by_time and folder:
            return True
        return self.since is None or seen.modified_at >= self.since.timestamp()


@dataclass(frozen=True)
class StrandedDocuments:
    """What a list came to. ``evidence``: the file with the list itself."""

    span: Span
    documents: int = 0
    size_bytes: int = 0
    evidence: str = ""
    sha256: str = ""


class DocumentLists(Protocol):
    """Lists of the documents that the active site lacks, or has with other bytes. Both methods may be called again."""

    def list_stranded(
        self, system: SystemId, site: SiteId, active: SiteId, run: RunId, taken_by: str
    ) -> StrandedDocuments:
        """Compare both copies of each of its datasets and keep the list, also an empty one. ``taken_by``: the run by
        which ``active`` has the system. Raises :class:`NciaError` where a store did not answer or is not what it was:
        what was not looked at is never told as empty."""
        ...

    def stranded_listed(self, system: SystemId, run: RunId) -> StrandedDocuments | None:
        """What :meth:`list_stranded` found in this run, if it came to its end."""
        ...


def span_of(run: Run | None, system: SystemId) -> Span:
    """From the mark that the new site held when it took over until its claim, with a margin.

    A mirror's mark follows last: whatever is older than it is at both sites. Where nobody knows the run, or the run did
    not know the loss, everything is looked at."""
    move = _move(run, system)
    if run is None or move is None or move["loss"]["how"] == "unknown":
        return Span()
    told = [text for text in (move["loss"]["measured_at"], move["lost_at"]) if text]
    since = min([from_text(text) for text in told], default=run.planned_at)
    claims = [
        entry.at
        for entry in run.log
        if isinstance(entry.body, StepEnded)
        and entry.body.step.startswith(f"{system}/{CLAIM}")
        and entry.body.outcome in ("done", "already")
    ]
    return Span(since - MARGIN, max(claims) + MARGIN if claims else None)


def likeness(here: Seen, there: Seen | None) -> Likeness:
    """What two listings tell of one name, as the mirror judges it; ``unknown``: both must be read."""
    if there is None:
        return "absent"
    if here.size_bytes != there.size_bytes:
        return "other"
    if here.tag and there.tag:
        return "same" if here.tag == there.tag else "other"
    return "same" if abs(here.modified_at - there.modified_at) < SAME_SECONDS else "unknown"


def _move(run: Run | None, system: SystemId) -> Mapping[str, Any] | None:
    moves = run.plan.plan["moves"] if run else ()
    return next((move for move in moves if move["system"] == system), None)
