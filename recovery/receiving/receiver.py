"""Keeps one ``pg_receivewal`` running for one system, as long as the system is active at the other site.

A receiver counts, that is, takes part in the primary's commits under the name in ``synchronous_standby_names``, only
once the standby has reached the first byte that it holds: otherwise it would vouch for commits that could never be
replayed, for want of those before them. Until then it joins under a name that nobody waits for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import structlog

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SystemId
from ncia.core.base.lsn import lsn_number
from recovery.receiving.term import Held, Place
from recovery.receiving.wal import Segment

NANOSECONDS = 1_000_000_000
TURN_SECONDS = 0.25
STANDBY_LOOK_SECONDS = 0.5
PRUNE_SECONDS = 10.0
STEADY_SECONDS = 5.0  # one that ran so long has not failed at starting
AGAIN_SECONDS, AGAIN_SECONDS_MAX = 0.25, 5.0
WORDS_CHARACTERS_MAX = 300
LOST_ITS_PLACE = ("has already been removed", "invalidated", "can no longer")
"""What the primary says of WAL that it does not have any more (``max_slot_wal_keep_size``, or a slot dropped)."""

log = structlog.get_logger("receiver")


class Child(Protocol):
    """A program under way."""

    def ended(self) -> int | None:
        """Its exit status, or ``None`` while it runs."""
        ...

    def end(self) -> None:
        """End it, and come back when it has ended; bounded in time."""
        ...

    def words(self) -> str:
        """The last that it said on stderr."""
        ...


class Tools(Protocol):
    """PostgreSQL's own programs, for one system; each call begins one and comes back at once, but for the last two."""

    def create_slot(self) -> Child: ...

    def drop_slot(self) -> Child: ...

    def stream(self, folder: Path, counted: bool) -> Child:
        """Receive into ``folder``; ``counted``: under the name for which commits wait."""
        ...

    def end_strays(self) -> int:
        """End every receiver of this system that somebody else began (a supervisor that was killed); how many."""
        ...

    def dump(self, folder: Path, timeline: int, start: int) -> Iterable[str]: ...


class Phase(StrEnum):
    IDLE = "idle"  # the system is not active at the other site
    WAITING = "waiting"  # it ended, and is begun again in a moment
    SLOT = "slot"
    DROPPING = "dropping"  # the slot lost its place and is made anew
    JOINING = "joining"
    COUNTED = "counted"
    HANDED_OVER = "handed over"


RUNNING = (Phase.SLOT, Phase.DROPPING, Phase.JOINING, Phase.COUNTED)


def may_count(held: tuple[Segment, ...], replayed: int | None) -> bool:
    """Whether what is received from now on can be replayed: the standby is at, or past, the first byte held."""
    return bool(held) and replayed is not None and replayed >= held[0].start


@dataclass(frozen=True)
class Standby:
    """``replayed`` answers how far our own site's standby has replayed; ``None`` where it does not say."""

    replayed: Callable[[], int | None]


class Receiver:
    """``turn`` is called every ``TURN_SECONDS``; the other methods by whoever commands, from any thread."""

    def __init__(
        self, system: SystemId, place: Place, tools: Tools, standby: Standby, boottime_ns: Callable[[], int]
    ) -> None:
        self.system = system
        self._place = place
        self._tools = tools
        self._standby = standby
        self._boottime_ns = boottime_ns
        self._lock = threading.Lock()
        self._epoch: int | None = None
        self._phase = Phase.IDLE
        self._child: Child | None = None
        self._began_ns = 0
        self._again_ns = 0
        self._failures = 0
        self._restarts = 0
        self._why = ""
        self._replayed: int | None = None
        self._looked_ns = 0
        self._pruned_ns = 0

    def turn(self, epoch: int | None) -> None:
        """``epoch`` under which the system is active at the other site; ``None`` where it is not."""
        now = self._boottime_ns()
        # One that counts asks only for the pruning's sake: each look is a new connection.
        apart = PRUNE_SECONDS if self._phase is Phase.COUNTED else STANDBY_LOOK_SECONDS
        if epoch is not None and now - self._looked_ns >= apart * NANOSECONDS:
            self._looked_ns, self._replayed = now, self._standby.replayed()
        with self._lock:
            self._turn(epoch, now)

    def hand_over(self) -> Held | None:
        """Stop for this term, for good, and lay out what is held; ``None`` where nothing is. May be called again."""
        with self._lock:
            self._end()
            epoch = self._place.newest()
            if epoch is None:
                return None
            self._phase, self._epoch = Phase.HANDED_OVER, epoch
            try:
                held = self._place.hand_over(epoch, self._tools.dump)
            except OSError as error:
                what, why = f"hand over what the receiver of {self.system} holds", str(error)
                raise NciaError("receiver.no-hand-over", what, why, f"see {self._place.root}") from error
            log.info("receiver.handed-over", system=self.system, epoch=epoch, held=held.to_json() if held else None)
            return held

    def follow_again(self) -> None:
        """The hand-over is void; the next turn goes on receiving."""
        with self._lock:
            epoch = self._place.newest()
            if epoch is not None:
                self._place.take_back(epoch)
                log.info("receiver.follows-again", system=self.system, epoch=epoch)

    def status(self) -> dict[str, Any]:
        """What it does, and what it holds as far as names and times tell."""
        epoch = self._epoch if self._epoch is not None else self._place.newest()
        segments = self._place.segments(epoch) if epoch is not None else ()
        newest = self._place.newest_at(epoch) if epoch is not None else None
        return {
            "phase": self._phase.value,
            "epoch": epoch,
            "first": segments[0].start if segments else None,
            "end": segments[-1].end if segments else None,
            "newest_at": newest.timestamp() if newest else None,
            "restarts": self._restarts,
            "why": self._why,
        }

    def close(self) -> None:
        with self._lock:
            self._end()

    # --- within: all under the lock --------------------------------------------------------------------------------

    def _turn(self, epoch: int | None, now: int) -> None:
        if epoch is None or self._place.is_over(epoch):
            if self._phase in (*RUNNING, Phase.WAITING):
                self._end()
                log.info("receiver.stops", system=self.system, epoch=self._epoch)
            self._phase = Phase.IDLE if epoch is None else Phase.HANDED_OVER
            return
        if epoch != self._epoch or self._phase in (Phase.IDLE, Phase.HANDED_OVER):
            self._end()
            self._epoch, self._failures, self._why = epoch, 0, ""
            self._place.begin(epoch)
            self._begin(Phase.SLOT)
        elif self._child is None:
            if now >= self._again_ns:
                self._begin(Phase.SLOT)
        else:
            self._look(epoch, self._child, now)

    def _look(self, epoch: int, child: Child, now: int) -> None:
        status = child.ended()
        if status is not None:
            self._child = None
            self._ended(epoch, child, status, now)
            return
        if now - self._began_ns >= STEADY_SECONDS * NANOSECONDS:
            self._failures, self._why = 0, ""
        if self._phase is Phase.JOINING and may_count(self._place.segments(epoch), self._replayed):
            child.end()
            self._begin(Phase.COUNTED)
        if self._phase is Phase.COUNTED and now - self._pruned_ns >= PRUNE_SECONDS * NANOSECONDS:
            self._pruned_ns = now
            if self._replayed is not None:
                self._place.prune(epoch, self._replayed)

    def _ended(self, epoch: int, child: Child, status: int, now: int) -> None:
        if status == 0 and self._phase in (Phase.SLOT, Phase.DROPPING):
            counts = may_count(self._place.segments(epoch), self._replayed)
            follows = Phase.COUNTED if counts else Phase.JOINING
            self._begin(Phase.SLOT if self._phase is Phase.DROPPING else follows)
            return
        self._failed(child.words()[-WORDS_CHARACTERS_MAX:] or f"it ended with status {status}", now)
        if any(words in self._why for words in LOST_ITS_PLACE) and self._may_start_over(epoch):
            self._place.start_over(epoch)
            self._begin(Phase.DROPPING)

    def _failed(self, why: str, now: int) -> None:
        """It is begun again, each time a little later."""
        self._failures += 1
        self._restarts += 1
        self._why = why
        seconds = min(AGAIN_SECONDS_MAX, AGAIN_SECONDS * 2 ** min(self._failures - 1, 10))
        self._again_ns = now + int(seconds * NANOSECONDS)
        log.warning("receiver.ended", system=self.system, phase=self._phase, why=self._why, again_in_seconds=seconds)
        self._phase = Phase.WAITING

    def _may_start_over(self, epoch: int) -> bool:
        """Only where the standby has replayed all that is held: it may be the only copy of an acknowledged act."""
        try:
            held = self._place.look(epoch, self._tools.dump)
        except (NciaError, OSError) as error:
            log.error("receiver.unreadable", system=self.system, error=str(error))
            return False
        if held is None:
            return True
        whole = self._replayed is not None and self._replayed > lsn_number(held.last_record_lsn)
        if not whole:
            log.error("receiver.lost-its-place", system=self.system, held=held.to_json(), why="kept for the standby")
        return whole

    def _begin(self, phase: Phase) -> None:
        assert self._epoch is not None  # noqa: S101 - the caller has just set it
        try:
            if phase is Phase.SLOT:
                self._tools.end_strays()
                child = self._tools.create_slot()
            elif phase is Phase.DROPPING:
                child = self._tools.drop_slot()
            else:
                child = self._tools.stream(self._place.term(self._epoch), phase is Phase.COUNTED)
        except OSError as error:  # no such program, or no room for its words
            self._child = None
            self._failed(str(error), self._boottime_ns())
            return
        if phase is not self._phase:
            log.info("receiver.phase", system=self.system, phase=phase.value, epoch=self._epoch)
        self._phase, self._child, self._began_ns = phase, child, self._boottime_ns()

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()
        self._tools.end_strays()
