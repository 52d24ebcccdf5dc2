"""What need not be kept any more is forgotten in this site's own place: written down, known elsewhere, then removed.

What would remove much at once waits for a person: junk that takes all places, a clock that jumped and a mistyped rule
look like that. It is written down once, and the retention officer says how many may go.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import structlog

from backup.agencies import plan
from ncia.core.base.clock import to_text
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SHORT, SiteId
from ncia.core.estate.model import Agency
from ncia.core.estate.repository import AgencyRepository
from ncia.core.journal import Entry
from ncia.core.journal.entries_care import ForgetAllowed, ForgetHeld
from ncia.core.journal.entries_repositories import SnapshotForgotten
from ncia.core.state.repositories import ExpectedSnapshot, RepositoryFact

if TYPE_CHECKING:
    from backup.agencies.task import Parts

BY = "calendar"
NAMED_MAX = 20
TOLD_AGAIN = timedelta(days=1)  # of a forgetting that is held back, with other figures

Over = Sequence[tuple[ExpectedSnapshot, str]]

log = structlog.get_logger("backup.agencies")


class Forgetting:
    """``parts`` are those of the task."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._one = threading.Lock()  # the calendar and a person do not forget at the same time

    def retain(self, agency: Agency, strangers: Collection[str], now: datetime) -> None:
        """Forget what the rules have no place for. What was forgotten and is still there (a lock, a crash, a mending)
        is removed as well."""
        with self._one:
            fact = self._fact(agency)
            if fact is None or agency.repository is None:
                return
            try:
                self._parts.engine_of(agency.repository).capabilities().demand("forgets", _what(agency))
                over = self._modest(agency, agency.repository, fact, now)
                self._parts.journal.append_all([_forgotten(each, why) for each, why in over], by=BY)
                self._remove(agency, agency.repository, {each.kept.snapshot for each, _ in over} | {*strangers})
            except NciaError as error:
                log.warning("repository.not-forgotten", agency=agency.id, why=str(error))

    def allow(self, agency: Agency, remove_max: int | None, reason: str, by: str, now: datetime) -> dict[str, Any]:
        """What would go; with ``remove_max`` it goes, once, if it is not more than that. ``why`` tells in one clause
        why its files are there still: they are removed at a later look."""
        with self._one:
            fact = self._fact(agency)
            what = f"{_what(agency)} at {self._parts.site}"
            if fact is None or agency.repository is None:
                raise Refusal("agency.not-made", what, "its repository is not made at this site", "ncia backup list")
            self._parts.engine_of(agency.repository).capabilities().demand("forgets", what)
            over = plan.over(
                fact.expected, agency.repository.keep, now, len(fact.expected), _proven(fact, agency.repository)
            )
            told = {"agency": agency.id, "site": self._parts.site, "of": len(fact.expected), "would_go": len(over)}
            told |= {"named": _named(over), "forgotten": [], "why": ""}
            if remove_max is None:
                return told
            if len(over) > remove_max:
                why = f"{len(over)} would go, and {remove_max} may"
                hint = "ncia backup forget without --remove-max shows them"
                raise Refusal("repository.too-many", what, why, hint, f"--remove-max {len(over)}")
            allowed = ForgetAllowed(
                agency=agency.id, site=self._parts.site, remove_max=remove_max, going=len(over), reason=reason
            )
            gone = [_forgotten(each, f"{by} let it go ({reason}): {why}") for each, why in over]
            self._parts.journal.append_all([allowed, *gone], by=by)
            names = {each.kept.snapshot for each, _ in over}
            try:
                self._remove(agency, agency.repository, names)
            except NciaError as error:
                told["why"] = error.why
            return {**told, "forgotten": sorted(names)}

    def write_off(self, agency: Agency, gone: Collection[str], reason: str, by: str) -> dict[str, Any]:
        """Forget those of ``gone`` that the other place does not have either, as far as the journal knows; ``left``:
        how many others are missing here and not told to be missing there, for a look names no more than so many."""
        with self._one:
            fact = self._fact(agency)
            if fact is None or agency.repository is None:
                what, why = f"{_what(agency)} at {self._parts.site}", "its repository is not made at this site"
                raise Refusal("agency.not-made", what, why, "ncia backup list")
            missing = [each for each in fact.expected if each.kept.snapshot in gone]
            there = {each.kept.snapshot for each in missing if self._is_at_the_peer(agency, each)}
            lost = [each for each in missing if each.kept.snapshot not in there]
            if there and not lost:
                raise self._not_lost(agency, min(there))
            why = f"{by} wrote it off ({reason}): it is lost"
            told = {"agency": agency.id, "site": self._parts.site, "of": len(fact.expected), "would_go": len(lost)}
            told |= {"named": _named([(each, why) for each in lost]), "forgotten": [], "why": "", "left": len(there)}
            if not lost:
                return told
            self._parts.journal.append_all([_forgotten(each, why) for each in lost], by=by)
            try:
                names = {each.kept.snapshot for each in lost}
                self._remove(agency, agency.repository, names)  # a file that cannot be read would hold up each prune
            except NciaError as error:
                told["why"] = error.why
            return {**told, "forgotten": sorted(each.kept.snapshot for each in lost)}

    @property
    def _peer(self) -> SiteId:
        return self._parts.estate.peer_of(self._parts.site)

    def _not_lost(self, agency: Agency, snapshot: str) -> Refusal:
        """Of what nobody has told yet to be missing at the other place, too."""
        twin = self._parts.states.snapshot().repositories[agency.id, self._peer]
        looked, peer = twin.looked, self._peer
        why = f"snapshot {snapshot[:SHORT]} is expected at {peer}, and not missing there"
        hint = f"ncia backup mend SYSTEM/DATASET (at {self._parts.site})"
        if looked is not None and looked.why:
            why = f"snapshot {snapshot[:SHORT]} is expected at {peer}, and what is there nobody knows: {looked.why}"
            hint = f"ncia backup mend SYSTEM/DATASET (at {peer}); a look there names what that does not bring"
        elif looked is not None and len(looked.missing) > plan.NAMED_MAX:
            why = f"snapshot {snapshot[:SHORT]} is expected at {peer}, which names the first that it misses alone"
            hint = f"ncia backup write-off {agency.id} (at {peer}), and then here again"
        return Refusal("agency.not-lost", f"write off what is missing of {agency.id}", why, hint)

    def _is_at_the_peer(self, agency: Agency, each: ExpectedSnapshot) -> bool:
        twin = self._parts.states.snapshot().repositories.get((agency.id, self._peer))
        if twin is None or all(other.kept.snapshot != each.kept.snapshot for other in twin.expected):
            return False
        told = twin.looked.missing if twin.looked is not None else ()
        return not any(f"snapshot {each.kept.snapshot[:SHORT]} " in sentence for sentence in told)

    def _modest(self, agency: Agency, repository: AgencyRepository, fact: RepositoryFact, now: datetime) -> Over:
        """What goes without a question: nothing where it would be much at once."""
        keep, proven = repository.keep, _proven(fact, repository)
        try:
            over = plan.over(fact.expected, keep, now, proven=proven)
        except Refusal as refusal:
            all_of_it = plan.over(fact.expected, keep, now, len(fact.expected), proven)
            self._hold(agency, fact, all_of_it, refusal.why, now)
            return ()
        if fact.held is not None:
            self._hold(agency, fact, (), "no more than is modest would go", now)
        return over

    def _hold(self, agency: Agency, fact: RepositoryFact, over: Over, why: str, now: datetime) -> None:
        body = ForgetHeld(
            agency=agency.id,
            site=self._parts.site,
            would_go=len(over),
            of=len(fact.expected),
            named=tuple(_named(over)),
            why=why,
        )
        known = fact.held
        if known is not None and over and (known.found.would_go == len(over) or now - known.at < TOLD_AGAIN):
            return
        self._parts.journal.append(body, by=BY)
        log.warning("repository.forget-held", agency=agency.id, would_go=len(over), why=why)

    def _remove(self, agency: Agency, repository: AgencyRepository, names: Collection[str]) -> None:
        """Those of them that the journal has forgotten here, once a second place knows that, too."""
        parts, entries = self._parts, []
        for entry in parts.journal.of_kind(SnapshotForgotten.KIND) if names else ():
            body = entry.body
            if isinstance(body, SnapshotForgotten) and body.site == parts.site and body.snapshot in names:
                entries.append(entry)
        if entries:
            parts.permit(entries)
            gone = sorted({_snapshot_of(each) for each in entries})
            parts.engine_of(repository).forget(parts.place_of(agency, parts.site), gone)
            log.info("repository.forgot", agency=agency.id, snapshots=gone)

    def _fact(self, agency: Agency) -> RepositoryFact | None:
        return self._parts.states.snapshot().repositories.get((agency.id, self._parts.site))


def _what(agency: Agency) -> str:
    return f"forget snapshots of {agency.id}"


def _proven(fact: RepositoryFact, repository: AgencyRepository) -> set[str]:
    """Snapshots of this place that were restored and compared, or read to the last byte."""
    datasets = {each.kept.dataset for each in fact.expected}
    found = (each for dataset in datasets for each in fact.proven_of(dataset, repository.check.parts))
    return {each.kept.snapshot for each in found}


def _named(over: Over) -> list[str]:
    """The first of them, a clause each."""
    return [
        f"{each.kept.snapshot[:SHORT]} of {each.kept.dataset}, kept {to_text(each.at)[:16]}Z: {why}"
        for each, why in over[:NAMED_MAX]
    ]


def _forgotten(each: ExpectedSnapshot, reason: str) -> SnapshotForgotten:
    kept = each.kept
    return SnapshotForgotten(
        agency=kept.agency, dataset=kept.dataset, site=kept.site, snapshot=kept.snapshot, reason=reason
    )


def _snapshot_of(entry: Entry) -> str:
    return entry.body.snapshot if isinstance(entry.body, SnapshotForgotten) else ""
