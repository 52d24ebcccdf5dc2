"""Server-sent events: one producer, any number of listeners, each told the newest and never a backlog."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

BETWEEN_FRAMES_SECONDS = 0.25
WITHOUT_CHANGE_SECONDS = 5.0


class Broadcast:
    """Wakes listeners when something changed; the view is computed once per frame, and only while somebody looks."""

    def __init__(self, view: Callable[[], Mapping[str, Any]]) -> None:
        self._view = view
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: set[asyncio.Event] = set()

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def changed(self) -> None:
        """Say that the view may differ now; callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for event in self._changed:
            event.set()

    async def frames(self) -> AsyncIterator[str]:
        """The view as JSON text: now, on each change (at most 4 a second), and every 5 s."""
        event = asyncio.Event()
        self._changed.add(event)
        try:
            while True:
                event.clear()
                view = await asyncio.to_thread(self._view)
                yield json.dumps(view, separators=(",", ":"))
                await asyncio.sleep(BETWEEN_FRAMES_SECONDS)
                try:
                    await asyncio.wait_for(event.wait(), WITHOUT_CHANGE_SECONDS)
                except TimeoutError:
                    continue
        finally:
            self._changed.discard(event)
