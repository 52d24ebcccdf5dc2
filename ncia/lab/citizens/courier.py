"""Couriers: each carries the receipts of acts that one site served to the other site, before or soon after the citizen
is told.

An act of grade 1 waits for its receipt to arrive, briefly and only while the other site answers; every other one goes
with the next batch, which leaves within ``LINGER_SECONDS``. A site that does not answer delays nobody: receipts wait in
the spool and are sent when it answers again. Once a second each courier says up to when it vouches for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Protocol

import structlog

from ncia.core.base.clock import Clock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import Address, System
from ncia.lab.apps.http import Answer, Connection, Request
from ncia.lab.citizens.spool import Batch, Line, Spool

LINGER_SECONDS = 0.2
HEARTBEAT_SECONDS = 1.0
WAIT_SECONDS_MAX = 0.25  # an act of grade 1 for its receipt
SEND_SECONDS_MAX = 2.0
CONNECT_SECONDS_MAX = 1.0
PAUSE_SECONDS = 0.5  # after a failure
BATCH_MAX = 500
CLOSE_SECONDS_MAX = 2.0
ESSENTIAL_GRADE = 1

_log = structlog.get_logger()


class Receipts(Protocol):
    """What a front door does with the mark of an acknowledged act."""

    async def keep(self, system: System, site: SiteId, answer: Answer) -> None:
        """Before the citizen is told; what cannot be delivered is kept. An error means: tell the citizen nothing."""
        ...


class Nowhere:
    """A door without receipts: a loss behind it has no name."""

    async def keep(self, system: System, site: SiteId, answer: Answer) -> None:
        return


class Wire(Protocol):
    async def send(self, batch: Batch, *, closed: bool) -> None:
        """The other site has it when this returns; :class:`NciaError` where it is not known to."""
        ...


class HttpWire:
    """``POST /v1/receipts`` of the site that keeps them, on one connection."""

    def __init__(self, address: Address, door: SiteId, served_by: SiteId, token: str) -> None:
        self._door = door
        self._served_by = served_by
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._connection = Connection(address, connect_seconds=CONNECT_SECONDS_MAX, seconds=SEND_SECONDS_MAX)

    async def send(self, batch: Batch, *, closed: bool) -> None:
        voucher = batch.voucher
        told = {
            "door": self._door,
            "stream": voucher.stream,
            "served_by": self._served_by,
            "began_at": voucher.began_at,
            "complete_until": voucher.complete_until,
            "closed": closed,
            "drops": voucher.drops,
            "receipts": batch.lines,
        }
        body = json.dumps(told).encode()
        answer = await self._connection.ask(Request("POST", "/v1/receipts", headers=self._headers, body=body))
        if answer.status != 200:
            why = f"HTTP {answer.status}: {answer.json().get('detail', '')}"
            raise NciaError("receipts.not-taken", f"hand in {len(batch.lines)} receipts of {self._served_by}", why)


class Courier:
    """Carries what ``spool`` holds over ``wire``, one batch at a time."""

    def __init__(self, spool: Spool, wire: Wire, clock: Clock) -> None:
        self._spool = spool
        self._wire = wire
        self._clock = clock
        self._due = asyncio.Event()
        self._answers = True  # until it does not
        self._closing = False
        self._lingering: asyncio.TimerHandle | None = None
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()  # the number of a receipt, who waits for it

    async def keep(self, line: Line, *, urgent: bool) -> None:
        """In the spool when this returns; an urgent one at the other site, or the site is late or silent."""
        if self._closing:  # the other site is being told that nothing is acknowledged any more
            raise NciaError("receipts.closing", f"keep the receipt of act {line[0]}", "this door is closing", "retry")
        number = self._spool.put(line)
        if not urgent or not self._answers:
            self._linger()
            return
        arrived = asyncio.get_running_loop().create_future()
        self._waiting.append((number, arrived))
        self._due.set()
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await arrived
        except TimeoutError:
            self._answers = False  # nobody else waits for it until it answers again
            _log.warning("receipts.late", waiting=len(self._spool))

    async def carry(self) -> None:
        """Runs beside the door; ends only by being cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._due.wait()
            self._due.clear()
            if not await self._send():
                await asyncio.sleep(PAUSE_SECONDS)
            elif len(self._spool) >= BATCH_MAX:
                self._due.set()

    async def close(self) -> None:
        """Hand in what is left, and say that this door acknowledges nothing any more."""
        self._closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS_MAX):
                while len(self._spool) > BATCH_MAX and await self._send():
                    pass
                if len(self._spool) <= BATCH_MAX:
                    await self._send(closed=True)
        self._spool.close()

    async def _send(self, *, closed: bool = False) -> bool:
        batch = self._spool.batch(BATCH_MAX, self._clock.now())
        try:
            await self._wire.send(batch, closed=closed)
        except NciaError as error:
            if self._answers:
                _log.warning("receipts.not-delivered", waiting=len(self._spool), why=str(error))
            self._answers = False
            return False
        self._spool.delivered(batch)
        self._answers = True
        while self._waiting and self._waiting[0][0] <= batch.upto:
            _, arrived = self._waiting.popleft()
            if not arrived.done():
                arrived.set_result(None)
        return True

    def _linger(self) -> None:
        if self._lingering is None or self._lingering.when() <= asyncio.get_running_loop().time():
            self._lingering = asyncio.get_running_loop().call_later(LINGER_SECONDS, self._due.set)


class Couriers:
    """:class:`Receipts` of a front door at ``door``: one courier for each site that serves."""

    def __init__(self, couriers: Mapping[SiteId, Courier], clock: Clock) -> None:
        self._couriers = couriers
        self._clock = clock

    async def keep(self, system: System, site: SiteId, answer: Answer) -> None:
        told = answer.json()
        act, content_sha256 = told.get("id"), told.get("content_sha256")
        courier = self._couriers.get(site)
        if courier is None or not isinstance(act, str) or not isinstance(content_sha256, str):
            return
        epoch = answer.headers.get("x-ncia-epoch", "")
        number = int(epoch) if epoch.isascii() and epoch.isdigit() else 0
        line = (act, content_sha256, str(system.id), number, to_text(self._clock.now()))
        await courier.keep(line, urgent=system.grade == ESSENTIAL_GRADE)


@contextlib.asynccontextmanager
async def couriers(estate: Estate, door: SiteId, folder: Path, token: str, clock: Clock) -> AsyncIterator[Receipts]:
    """One courier for each centre whose other one takes receipts, at work until the context ends."""
    found: dict[SiteId, Courier] = {}
    for site in estate.centres:
        keeper = estate.peer_of(site)
        address = estate.sites[keeper].services.receipts
        if address is not None:
            wire = HttpWire(estate.seen(address, keeper, door), door, site, token)
            found[site] = Courier(Spool(folder / site, clock.now()), wire, clock)
    carrying = [asyncio.create_task(courier.carry()) for courier in found.values()]
    try:
        yield Couriers(found, clock)
    finally:
        for task in carrying:
            task.cancel()
        await asyncio.gather(*carrying, return_exceptions=True)
        await asyncio.gather(*(courier.close() for courier in found.values()))
