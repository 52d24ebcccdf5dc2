"""The breaker before BEGIN: a write that would wait for a synchronous copy that does not answer is refused at once.

A COMMIT that has begun to wait may not be cancelled, so the place to refuse is before it. The copy's state is looked
up when somebody wants to write and the last look is older than ``LOOK_SECONDS``; an idle system looks never.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ncia.core.base.ids import SiteId

LOOK_SECONDS = 0.5
SILENT_SECONDS_MAX = 2.0

Look = Callable[[], Awaitable[Mapping[str, Any] | None]]


def refusal(row: Mapping[str, Any] | None, peer: SiteId) -> str | None:
    """Why writes are refused now, or ``None``. ``row`` is :meth:`Store.sync_partner`'s; ``None`` when it failed."""
    sentence = f"synchronous copy at {peer} is not answering"
    consequence = "; writes are refused so that nothing acknowledged can be lost"
    if row is None:
        return f"whether the synchronous copy at {peer} answers is unknown{consequence}"
    if not row["required"]:
        return None
    if row["state"] is None:
        return f"{sentence}{consequence}"
    if row["age_seconds"] is None or row["age_seconds"] > SILENT_SECONDS_MAX:
        return f"{sentence} (last word {row['age_seconds'] or 0:.1f} s ago){consequence}"
    return None


class Breaker:
    """Asks ``look`` at most once in ``LOOK_SECONDS``, whoever asks meanwhile waits for the same look."""

    def __init__(self, look: Look, peer: SiteId, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._look = look
        self._peer = peer
        self._monotonic = monotonic
        self._looking: asyncio.Task[str | None] | None = None
        self._looked_at = float("-inf")
        self._refusal: str | None = None
        self.waits = True  # whether acts wait for the copy, as of the last look; until there was one, they do

    async def refusal(self) -> str | None:
        """Why a write must be refused now; ``None`` where it may begin."""
        if self._looking is not None:
            return await asyncio.shield(self._looking)
        if self._monotonic() - self._looked_at < LOOK_SECONDS:
            return self._refusal
        self._looking = asyncio.create_task(self._ask())
        try:
            return await asyncio.shield(self._looking)
        finally:
            self._looking = None

    async def _ask(self) -> str | None:
        row = await self._look()
        self._refusal = refusal(row, self._peer)
        self.waits = row is None or bool(row["required"])
        self._looked_at = self._monotonic()
        return self._refusal
