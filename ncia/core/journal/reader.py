"""The journal as the API offers it to the peer and to verifiers: wire forms only."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry, entry_to_wire
from ncia.core.journal.log import Journal

WAITING_MAX = 64


class WireReader:
    """What ``peer_http`` reads on the other side."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()
        journal.subscribe(self._wake)

    def entries(self, site: SiteId, start: int, limit: int) -> Sequence[Mapping[str, Any]]:
        return [entry_to_wire(entry) for entry in self._journal.entries(site, max(0, start), max(0, limit))]

    def checkpoint(self) -> Mapping[str, Any]:
        """``note`` is what counts; the rest is for people. ``vouched``: the newest head of each cosigner."""
        head = self._journal.checkpoint()
        vouched = [self._vouched(by, vouch.size) for by, vouch in sorted(self._journal.vouched().items())]
        told = {"site": head.site, "size": head.size, "root": head.root.hex(), "note": head.note()}
        return {**told, "vouched": [each for each in vouched if each["note"]]}

    def held(self, site: SiteId) -> Mapping[str, Any]:
        """How many entries of that log are held here, and its newest signed head with its cosignatures."""
        head = self._journal.held_head(site)
        return {"held": {"site": site, "entries": self._journal.size(site), "note": head.note() if head else ""}}

    def consistency(self, first: int, second: int) -> Mapping[str, Any]:
        proof = self._journal.consistency(first, second)
        return {"first": first, "second": second, "proof": [each.hex() for each in proof]}

    def _vouched(self, by: SiteId, size: int) -> Mapping[str, Any]:
        head = self._journal.held_head(self._journal.site, size)
        return {"by": by, "size": size, "note": head.note() if head else ""}

    async def grown(self, after: int, patience_seconds: float) -> None:
        """Come back when the own log is longer than ``after``, or when ``patience_seconds`` have passed."""
        if len(self._waiting) >= WAITING_MAX:
            return  # who asks is answered at once, and asks again
        waiting = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiting)
        try:
            if self.size() <= after:
                await asyncio.wait_for(waiting[1].wait(), patience_seconds)
        except TimeoutError:
            return
        finally:
            self._waiting.discard(waiting)

    def _wake(self, entry: Entry) -> None:
        if entry.site == self._journal.site:
            for loop, event in tuple(self._waiting):
                loop.call_soon_threadsafe(event.set)

    def size(self) -> int:
        return self._journal.size(self._journal.site)
