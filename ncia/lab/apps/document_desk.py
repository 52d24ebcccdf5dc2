"""Keeping and finding documents for one service: bounded threads round the blocking stores, within an act's time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.lab.apps.documents import Document, Keeping, content_of, document_of
from ncia.lab.apps.store import NotRecorded

THREADS = 8
WAITING_MAX = 24
READ_SECONDS_MAX = 1.0


class DocumentDesk:
    """The documents of one system. A put that was given up may still arrive: a document that no row speaks of."""

    def __init__(self, system: str, keeping: Keeping) -> None:
        self._system = system
        self._keeping = keeping
        self._threads = ThreadPoolExecutor(THREADS, "documents")
        self._waiting = 0

    async def keep(self, values: Mapping[str, Any], both: bool, deadline: float) -> Document:
        """The act's document, durable at this site and, where ``both``, at the other one. ``values`` are the act's id
        and fields; ``deadline`` is of the monotonic clock. Raises :class:`NotRecorded` where a store did not keep it.
        """
        act = str(values["id"])
        content = content_of(self._system, act, {name: value for name, value in values.items() if name != "id"})
        moment = SystemClock().now()
        document = document_of(content, act, moment)
        places = self._keeping.places(both)
        self._demand_room(len(places))
        puts = {self._run(store.put, document.name, content, moment.timestamp()): site for site, store in places}
        done, late = await asyncio.wait(puts, timeout=max(0.0, deadline - time.monotonic()))
        for put in done:
            error = put.exception()
            if isinstance(error, NciaError):
                raise not_kept(puts[put], error.why) from error
            if error is not None:
                raise error
        for put in late:
            raise not_kept(puts[put], "the store there did not answer in time")
        return document

    async def state(self, told: Mapping[str, Any]) -> tuple[str, bytes]:
        """What :meth:`Keeping.state` says; ``unknown`` too where the store takes too long to say it."""
        if self._waiting >= WAITING_MAX:
            return "unknown", b""
        document = Document(str(told["name"]), int(told["size_bytes"]), str(told["sha256"]))
        reading = self._run(self._keeping.state, document)
        done, _ = await asyncio.wait({reading}, timeout=READ_SECONDS_MAX)
        return reading.result() if done else ("unknown", b"")

    def _run(self, work: Any, *arguments: Any) -> asyncio.Future[Any]:
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        future.add_done_callback(self._ended)
        return future

    def _ended(self, future: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not future.cancelled():
            future.exception()  # whoever waited has been told; nobody else asks

    def _demand_room(self, more: int) -> None:
        if self._waiting + more > WAITING_MAX:
            raise NotRecorded("act.documents-busy", "keep the act's document", "all writers wait for a store", "again")


def not_kept(site: SiteId, why: str) -> NotRecorded:
    told = f"its document could not be kept at {site}: {why}; the act is refused so that it is not kept half"
    return NotRecorded("act.no-document", "keep the act's document", told, "send it again")
