"""Pulling the peer's log: fetch, verify, store; a fork is told loudly and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.journal.checkpoint import Checkpoint
from ncia.core.journal.entry import Entry
from ncia.core.journal.log import Journal

BATCH_ENTRIES_MAX = 1000
BATCHES_PER_PULL_MAX = 1000
PATIENCE_SECONDS = 1.0  # a controller that ends waits for it
PAUSE_SECONDS = 0.25

_log = structlog.get_logger()


class PeerSource(Protocol):
    """The peer's own log as it offers it. Each call raises ``Unreachable`` where the peer does not answer."""

    def checkpoint(self, after: int = -1, patience_seconds: float = 0.0) -> Checkpoint:
        """The newest signed head, once it is longer than ``after`` or ``patience_seconds`` have passed. Not
        verified."""
        ...

    def entries(self, start: int, limit: int) -> Sequence[Entry]:
        """Up to ``limit`` entries from ``start`` on, in order. Leaf hashes are those of the fields; no more is sure."""
        ...

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        """The RFC 6962 proof between two sizes. Not verified."""
        ...


@dataclass(frozen=True)
class LinkStatus:
    """How the pulling goes. ``fault`` is None after a pull that went well."""

    pulled_at: datetime | None = None  # the last pull that went well
    fault: NciaError | None = None


class PeerLink:
    """Keeps the journal's copy of the peer's log current."""

    def __init__(self, journal: Journal, source: PeerSource, clock: Clock, *, batch: int = BATCH_ENTRIES_MAX) -> None:
        self.status = LinkStatus()
        self._journal = journal
        self._source = source
        self._clock = clock
        self._batch = batch

    def pull(self, patience_seconds: float = 0.0) -> int:
        """Fetch what the peer has and we do not; returns how many entries were new. Repeating it changes nothing.
        Where it has nothing, it may wait ``patience_seconds`` for something: an entry then comes at once, and rest
        costs few requests.

        Raises :class:`NciaError`: ``journal.fork`` where the peer's log is not the one that we know, others where an
        answer does not hold; what was stored before stays, and is proven.
        """
        peer = self._journal.peer
        held = self._journal.size(peer)
        head = self._source.checkpoint(held, patience_seconds)
        proof = self._source.consistency(held, head.size) if 0 < held < head.size else ()
        self._journal.check_peer(head, proof)
        taken = 0
        for _ in range(BATCHES_PER_PULL_MAX):
            start = self._journal.size(peer)
            if start >= head.size:
                break
            entries = self._source.entries(start, min(self._batch, head.size - start))
            if not entries:
                why = f"it sent no entry from {start} on, and signed a head of {head.size}"
                raise NciaError("journal.withheld", f"take over {peer}'s log", why, "look at the peer's journal")
            end = start + len(entries)
            rest = self._source.consistency(end, head.size) if end < head.size else ()
            taken += self._journal.accept_peer(entries, head, rest)
        return taken

    def keep_pulling(self, stop: threading.Event, pause_seconds: float = PAUSE_SECONDS) -> None:
        """Pull until ``stop`` is set. A fault is logged once when it comes and stands in ``status`` while it lasts."""
        while not stop.is_set():
            try:
                self.pull_once(PATIENCE_SECONDS)
            except Exception:  # the one driver of pulling: an answer that nobody foresaw must not end it
                _log.exception("journal.pull-broke", peer=self._journal.peer)
            stop.wait(pause_seconds)

    def pull_once(self, patience_seconds: float = 0.0) -> None:
        """One pull whose fault is kept in ``status`` instead of raised."""
        before = self.status.fault
        try:
            taken = self.pull(patience_seconds)
        except NciaError as error:
            if before is None or before.code != error.code:
                _log.error("journal.pull-failed", peer=self._journal.peer, **error.as_problem())
            self.status = LinkStatus(self.status.pulled_at, error)
            return
        if before is not None:
            _log.info("journal.pull-recovered", peer=self._journal.peer, entries=taken)
        self.status = LinkStatus(self._clock.now(), None)
