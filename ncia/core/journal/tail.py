"""One's own tail: a site that was set back to an old copy of its journal takes its entries back before it writes.

Before the first append the peer and the witness are asked what they hold of our log. What they hold and we do not is
fetched, checked against the head that we had signed, and stored as it was. The log may grow when at least one of the
two has answered and nobody who answered vouches for more than we hold; until then it is read only. Where the other
site is gone for good, a person swears so, and the oath is the first entry that follows.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import structlog

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint
from ncia.core.journal.entries import ForswornHead, JournalSworn
from ncia.core.journal.entry import Entry
from ncia.core.journal.log import Journal

BATCH_ENTRIES_MAX = 1000
TAIL_ENTRIES_MAX = 1_000_000
AGAIN_SECONDS = 1.0
OVERRIDE = "where that site is gone for good: ncia journal swear --by PERSON --reason TEXT"

_log = structlog.get_logger()


@dataclass(frozen=True)
class Held:
    """What a place has of a log: how many ``entries`` from 0 on it can give back, and the newest ``head`` of it that
    it has seen proven and vouches for."""

    entries: int
    head: Checkpoint | None


class Place(Protocol):
    """The peer or the witness. Each call is bounded in time and raises ``Unreachable`` where it does not answer."""

    @property
    def site(self) -> SiteId: ...

    def held(self, site: SiteId) -> Held:
        """What it has of the log of ``site``. Not verified."""
        ...

    def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
        """Up to ``limit`` entries of that log from ``start`` on; none where it keeps none."""
        ...


@dataclass(frozen=True)
class Word:
    """What a place said, or why it said nothing."""

    place: Place
    held: Held | None
    why: str = ""


class OwnTail:
    """Holds ``journal`` until it is known to be whole. Safe to use from several threads."""

    def __init__(self, journal: Journal, places: Sequence[Place]) -> None:
        self._journal = journal
        self._places = places
        self._lock = threading.Lock()
        self._words: tuple[Word, ...] = ()
        journal.hold(_unheard(journal.site, "nobody was asked yet"))

    @property
    def fault(self) -> NciaError | None:
        """Why the journal is read only; None where it is not."""
        return self._journal.held

    def restore(self) -> int:
        """Take back what is lost and let the journal grow; returns how many entries came back.

        Raises :class:`NciaError` where the log cannot be known to be whole: it then stays as it is, read only.
        """
        with self._lock:
            if self._journal.held is None:
                return 0
            try:
                taken = self._restored()
            except NciaError as error:
                self._journal.hold(error)
                raise
            self._journal.release()
        return taken

    def swear(self, by: str, reason: str) -> JournalSworn:
        """Let the journal grow on ``by``'s word; the oath is its next entry. :class:`Refusal` where it may anyway."""
        with self._lock:
            held = self._journal.held
            if held is None:
                raise Refusal("journal.not-held", "swear the journal's tail off", "it is not read only", "ncia status")
            oath = self._oath(by, reason)
            self._journal.release()
            try:
                self._journal.append(oath, by=by)
            except NciaError:
                self._journal.hold(held)
                raise
        _log.error("journal.sworn", **oath.model_dump())
        return oath

    def wait(self, stop: threading.Event, again_seconds: float = AGAIN_SECONDS) -> bool:
        """Try until the journal may grow (true) or ``stop`` is set (false); a trouble is logged once when it comes."""
        told = ""
        while not stop.is_set():
            try:
                taken = self.restore()
            except NciaError as error:
                if told != error.code:
                    _log.error("journal.read-only", override=OVERRIDE, **error.as_problem())
                told = error.code
                stop.wait(again_seconds)
                continue
            _log.info("journal.whole", taken_back=taken, size=self._journal.size(self._journal.site))
            return True
        return False

    # --- within ------------------------------------------------------------------------------------------------------

    def _restored(self) -> int:
        self._words = self._ask()
        heard = [word for word in self._words if word.held is not None]
        if not heard:
            told = "; ".join(f"{word.place.site}: {word.why}" for word in self._words) or "the estate names nobody"
            raise _unheard(self._journal.site, told)
        counted = self._counted([(word.place.site, word.held.head) for word in heard if word.held and word.held.head])
        self._demand_agreement(counted)
        taken = self._take(heard, [head for _, head in counted])
        self._demand_agreement(counted)
        self._demand_whole(heard, counted)
        return taken

    def _ask(self) -> tuple[Word, ...]:
        """Everybody at the same time: a dead site costs its timeout once."""
        if not self._places:
            return ()
        with ThreadPoolExecutor(len(self._places), thread_name_prefix="tail") as pool:
            return tuple(pool.map(self._word, self._places))

    def _word(self, place: Place) -> Word:
        try:
            return Word(place, place.held(self._journal.site))
        except Unreachable as error:
            return Word(place, None, error.why)
        except NciaError as error:  # it answers, and not what it should: no better than silence, and told
            _log.warning("journal.place-refused", place=place.site, **error.as_problem())
            return Word(place, None, error.why)

    def _counted(self, heads: Sequence[tuple[SiteId, Checkpoint]]) -> Sequence[tuple[SiteId, Checkpoint]]:
        """Without those that an oath gave up. Oaths are looked for only where a head is not of this log."""
        if all(self._is_ours(head) for _, head in heads):
            return heads
        forsworn = {(head.by, head.size, head.root) for oath in self._journal.sworn() for head in oath.forsworn}
        return [(by, head) for by, head in heads if (by, head.size, head.root.hex()) not in forsworn]

    def _demand_agreement(self, counted: Sequence[tuple[SiteId, Checkpoint]]) -> None:
        """Every head that we hold enough entries for is of this very log."""
        own = self._journal.size(self._journal.site)
        for by, head in counted:
            if head.size <= own and self._journal.root(self._journal.site, head.size) != head.root:
                root = f"{head.root.hex()[:16]}…"
                why = f"FORK: {by} vouches for a head of size {head.size}, root {root}, and other entries are held here"
                hint = "put this journal aside and start from the newest copy; `ncia journal verify` both"
                raise NciaError("journal.fork", f"go on with {self._journal.site}'s log", why, hint)

    def _take(self, heard: Sequence[Word], heads: Sequence[Checkpoint]) -> int:
        """Fetch from whoever has most, up to the greatest head that it can fill."""
        own = self._journal.size(self._journal.site)
        for word in sorted(heard, key=lambda each: each.held.entries if each.held else 0, reverse=True):
            entries = word.held.entries if word.held else 0
            target = max((head for head in heads if own < head.size <= entries), key=lambda h: h.size, default=None)
            if target is not None:
                return self._journal.take_back(self._fetch(word.place, own, target.size), target)
        return 0

    def _fetch(self, place: Place, start: int, end: int) -> list[Entry]:
        if end - start > TAIL_ENTRIES_MAX:
            why = f"{end - start} entries are lost, more than {TAIL_ENTRIES_MAX}"
            raise NciaError(
                "journal.tail-too-long", f"take back {self._journal.site}'s own entries", why, "a newer copy"
            )
        found: list[Entry] = []
        while len(found) < end - start:
            at = start + len(found)
            batch = place.entries_of(self._journal.site, at, min(BATCH_ENTRIES_MAX, end - at))
            if not batch:
                why = f"it vouches for {end} entries and sent none from {at} on"
                raise NciaError("journal.withheld", f"take back entries from {place.site}", why, "ask again")
            found += batch
        return found

    def _demand_whole(self, heard: Sequence[Word], counted: Sequence[tuple[SiteId, Checkpoint]]) -> None:
        own = self._journal.size(self._journal.site)
        most = max([word.held.entries for word in heard if word.held] + [head.size for _, head in counted], default=0)
        if most <= own or most <= max((oath.lost_to for oath in self._journal.sworn()), default=0):
            return
        who = [by for by, head in counted if head.size > own]
        who += [w.place.site for w in heard if w.held and w.held.entries > own and w.place.site not in who]
        silent = [word.place.site for word in self._words if word.held is None]
        why = (
            f"it holds {own} entries, {' and '.join(who)} vouches for {most}, and nobody who answers can give them back"
        )
        hint = f"bring {' or '.join(silent)} back" if silent else "start from a newer copy of the journal"
        raise NciaError("journal.lost-tail", f"go on with {self._journal.site}'s log", why, f"{hint}; {OVERRIDE}")

    def _oath(self, by: str, reason: str) -> JournalSworn:
        own = self._journal.size(self._journal.site)
        heard = [word for word in self._words if word.held is not None]
        forsworn = [
            ForswornHead(by=word.place.site, size=word.held.head.size, root=word.held.head.root.hex())
            for word in heard
            if word.held and word.held.head and not self._is_ours(word.held.head)
        ]
        most = max([head.size for head in forsworn] + [word.held.entries for word in heard if word.held], default=0)
        return JournalSworn(
            by=by,
            reason=reason,
            size=own,
            lost_to=max(own, most, self._journal.peer_saw),
            forsworn=tuple(forsworn),
            unheard=tuple(word.place.site for word in self._words if word.held is None),
        )

    def _is_ours(self, head: Checkpoint) -> bool:
        site = self._journal.site
        return head.size <= self._journal.size(site) and self._journal.root(site, head.size) == head.root


def _unheard(site: SiteId, told: str) -> NciaError:
    why = f"neither the peer nor the witness could be asked whether it is whole ({told})"
    return NciaError("journal.unheard", f"go on with {site}'s log", why, f"it is tried again each second; {OVERRIDE}")
