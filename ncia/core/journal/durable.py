"""Two of three: an entry that permits an irreversible act is known at a second place before the act.

An append is durable at one place when it returns. If that place is lost a moment later, nobody would know by which
right the act was done. So whoever is about to act asks here first: the peer is seen to hold the entry (it cosigned a
head above it), or the witness keeps the entry itself. Whichever of the two says so first is enough.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Signature
from ncia.core.journal.entry import Entry
from ncia.core.journal.kept import KeepAsk, Proven
from ncia.core.journal.log import Journal
from ncia.core.journal.vouching import Vouching, asked_with
from ncia.core.journal.witness import Ask

SECOND_PLACE_SECONDS_MAX = 10.0  # how long an act waits for a second place
LOOK_AGAIN_SECONDS = 0.1

_log = structlog.get_logger()


class KeepingWitness(Protocol):
    """The witness, as far as it keeps entries. Bounded in time; ``Unreachable`` where it does not answer."""

    @property
    def site(self) -> SiteId: ...

    def keep(self, ask: KeepAsk) -> Signature: ...


class Pace(Protocol):
    """Time, as waiting here may spend it."""

    def boottime_ns(self) -> int: ...

    def pause(self, seconds: float) -> None: ...


class RealPace(SystemClock):
    """The machine's own time."""

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)  # the port itself: whoever tests it passes another pace


@dataclass(frozen=True)
class SecondPlace:
    """Where else the entries are known now."""

    site: SiteId
    seconds: float


class TwoOfThree:
    """For one site's journal. ``peer`` vouches for what it pulled; ``witness`` is None where the estate has none."""

    def __init__(self, journal: Journal, peer: Vouching, witness: KeepingWitness | None, pace: Pace) -> None:
        self._journal = journal
        self._peer = peer
        self._witness = witness
        self._pace = pace

    def demand(self, entries: Sequence[Entry], what: str, override: str) -> SecondPlace:
        """Return once every one of the own ``entries`` is known at a second place; those of the peer's log are.

        :class:`Refusal` where that is not so within ``SECOND_PLACE_SECONDS_MAX``: it names who did not answer and
        ``override``.
        """
        began_ns = self._pace.boottime_ns()
        own = sorted((each for each in entries if each.site == self._journal.site), key=lambda each: each.number)
        if not own or self._peer.size() > own[-1].number:
            return SecondPlace(self._journal.peer, 0.0)
        deadline_ns = began_ns + int(SECOND_PLACE_SECONDS_MAX * 1e9)
        ways: dict[SiteId, Callable[[], bool]] = {self._journal.peer: partial(self._peer_holds, own[-1])}
        if self._witness is not None:
            ways[self._witness.site] = partial(self._witness_keeps, self._witness, own)
        troubles: dict[SiteId, str] = {}
        while True:
            found = first_yes(ways, troubles)
            seconds = (self._pace.boottime_ns() - began_ns) / 1e9
            if found is not None:
                _log.info("journal.two-of-three", what=what, at=found, seconds=round(seconds, 3), entries=len(own))
                return SecondPlace(found, seconds)
            if self._pace.boottime_ns() >= deadline_ns:
                raise self._alone(what, override, troubles)
            self._pace.pause(LOOK_AGAIN_SECONDS)

    def _peer_holds(self, newest: Entry) -> bool:
        return self._peer.ask() > newest.number

    def _witness_keeps(self, witness: KeepingWitness, own: Sequence[Entry]) -> bool:
        journal = self._journal

        def keep(ask: Ask) -> Signature:
            size = ask.head.size
            return witness.keep(KeepAsk(ask, tuple(Proven(e, journal.inclusion(e.site, e.number, size)) for e in own)))

        return bool(journal.add_cosignatures(asked_with(journal, witness.site, journal.checkpoint(), keep)))

    def _alone(self, what: str, override: str, troubles: dict[SiteId, str]) -> Refusal:
        told = "; ".join(f"{site}: {why}" for site, why in troubles.items())
        why = f"what permits it is known at {self._journal.site} alone after {SECOND_PLACE_SECONDS_MAX:g} s ({told})"
        hint = f"bring the peer's controller or the witness back{f'; {override}' if override else ''}"
        return Refusal("journal.one-place", what, why, hint, override)


def first_yes(ways: Mapping[SiteId, Callable[[], bool]], troubles: dict[SiteId, str]) -> SiteId | None:
    """Ask every place at the same time: the first that says yes, None when all have said no or failed; why stands in
    ``troubles``. A silent one costs its own timeout, and only where nobody else says yes."""
    pool = ThreadPoolExecutor(len(ways), thread_name_prefix="two-of-three")
    try:
        asked = {pool.submit(way): site for site, way in ways.items()}
        for done in as_completed(asked):
            try:
                if done.result():
                    return asked[done]
                troubles[asked[done]] = "it does not hold it yet"
            except NciaError as error:
                troubles[asked[done]] = error.why
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return None
