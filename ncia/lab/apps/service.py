"""One hosted system at one site: what it answers to citizens, to other systems and to probes."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
import structlog

from ncia.core.base.ids import SiteId
from ncia.lab.apps.breaker import Breaker
from ncia.lab.apps.definition import DOCUMENT, Definition, RuleRefused
from ncia.lab.apps.document_desk import DocumentDesk
from ncia.lab.apps.documents import Keeping
from ncia.lab.apps.http import Answer, Request
from ncia.lab.apps.neighbours import (
    ACT_CALLS_SECONDS_MAX,
    DEADLINE_HEADER,
    EPOCH_HEADER,
    FAILED_HEADER,
    READ_CALLS_SECONDS_MAX,
    FailedDependency,
    Neighbours,
)
from ncia.lab.apps.placement import Place, Placement
from ncia.lab.apps.store import (
    AlreadyRecorded,
    Attempt,
    NotRecorded,
    OutcomeUnknown,
    Recorded,
    Seen,
    Store,
    as_told,
    brief,
)

WRITERS = 10  # a commit that crosses a busy WAN takes its time; the cluster gives 40 connections
READERS = 4
WRITES_WAITING_MAX = 12
READS_WAITING_MAX = 64
ACT_SECONDS_MAX = 2.5  # then the caller is told what is known: not done, or unknown
READ_SECONDS_MAX = 1.2
COMMIT_SECONDS_MIN = 0.5  # of an act's time are left for the rows when its document is kept
VERIFY_SAMPLES = 3

T = TypeVar("T")


class NotServed(Exception):
    """This site does not serve the system now; carries the answer that says so."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


@dataclass(frozen=True)
class Parts:
    """What a service is made of."""

    definition: Definition
    site: SiteId
    placement: Placement
    neighbours: Neighbours
    store: Store
    keeping: Keeping | None = None  # the system's documents; None where it has none


class Service:
    """Answers every request with the epoch and the site; holds two bounded thread pools."""

    def __init__(self, parts: Parts, synchronous_peer: SiteId | None) -> None:
        """``synchronous_peer``: where the copy stands for which a COMMIT waits; ``None`` for an asynchronous system."""
        self._definition = parts.definition
        self._site = parts.site
        self._placement = parts.placement
        self._neighbours = parts.neighbours
        self._store = parts.store
        self._writers = ThreadPoolExecutor(WRITERS, "writer")
        self._readers = ThreadPoolExecutor(READERS, "reader")
        self._documents = DocumentDesk(parts.definition.system, parts.keeping) if parts.keeping else None
        self._writing = 0
        self._reading = 0
        self._log = structlog.get_logger("service").bind(system=parts.definition.system)
        self._breaker = Breaker(self._sync_partner, synchronous_peer) if synchronous_peer else None

    async def answer(self, request: Request) -> Answer:
        """Route one request; every refusal that has a name becomes the answer that the contract gives it."""
        epoch = 0
        try:
            if request.path == "/healthz":
                return self._tell(200, {"system": self._definition.system}, 0)
            place = self._place()
            epoch = place.epoch
            return await self._route(request, place)
        except NotServed as refused:
            return refused.answer
        except RuleRefused as refused:
            return self._tell(refused.status, {"error": refused.why}, epoch)
        except AlreadyRecorded as refused:
            return self._tell(409, {"error": refused.why}, epoch)
        except FailedDependency as failed:
            told = {"error": f"{failed.dependency}: {failed.why}", "failed_dependency": failed.dependency}
            return self._tell(503, told, epoch, {FAILED_HEADER: failed.dependency})
        except NotRecorded as refused:
            return self._tell(503, {"error": refused.why}, epoch)
        except OutcomeUnknown as unknown:
            return self._tell(504, {"outcome": "unknown", "error": unknown.why}, epoch)

    async def _route(self, request: Request, place: Place) -> Answer:
        parts = request.path.strip("/").split("/")
        match request.method, parts:
            case "POST", ["acts"]:
                return await self._act(request, place)
            case "POST", ["verify"]:
                return await self._verify(request, place)
            case "GET", ["acts", "latest"]:
                return await self._latest(request, place)
            case "GET", ["acts", act]:
                return await self._one(act, place)
            case "GET", ["acts", act, "document"] if self._documents:
                return await self._document(self._documents, act, place)
            case "GET", ["queries", name] if name in self._definition.queries:
                return await self._query(name, request.query.get("key", ""), place)
            case _:
                return self._tell(404, {"error": f"there is no {request.method} {request.path}"}, place.epoch)

    def _place(self) -> Place:
        system = self._definition.system
        place = self._placement.place_of(system)
        if place is None:
            told = {"error": f"where {system} is active is not known at {self._site}: no word from its warden"}
            raise NotServed(self._tell(503, told, 0))
        if place.site != self._site:
            told = {"error": f"{system} is active at {place.site}, not here"}
            raise NotServed(self._tell(503, told, place.epoch, {"X-NCIA-Standby": "1"}))
        return place

    # --- writing -------------------------------------------------------------------------------------------------

    async def _act(self, request: Request, place: Place) -> Answer:
        try:
            body = request.json()
            act = str(uuid.UUID(str(body.get("id"))))
        except ValueError as error:
            raise RuleRefused(422, f"an act is a JSON object with an id (UUID): {error}") from error
        values = {"id": act, **self._definition.accept(body)}
        return self._recorded(await self._record(values, request, place, marked=False))

    async def _verify(self, request: Request, place: Place) -> Answer:
        """A real act, marked as a trial. A sample may meet a rule by chance (already filed): then another is tried."""
        rng = random.Random()
        for left in reversed(range(VERIFY_SAMPLES)):
            values = {"id": str(uuid.uuid4()), **self._definition.sample(rng)}
            try:
                return self._recorded(await self._record(values, request, place, marked=True))
            except RuleRefused:
                if not left:
                    raise
        raise AssertionError("the last sample either returns or raises")

    async def _record(self, values: Mapping[str, Any], request: Request, place: Place, *, marked: bool) -> Recorded:
        """Refuse early, call the others, then write; what is not committed by the deadline never will be, or is told
        as unknown."""
        now = time.monotonic()
        deadline = now + told_seconds(request, ACT_SECONDS_MAX)
        await self._refuse_without_copy()
        known = dict(values)
        for call in self._definition.calls:
            known.update(await self._neighbours.call(call, known, min(deadline, now + ACT_CALLS_SECONDS_MAX)))
        await self._refuse_without_copy()  # the calls took their time; costs nothing where the last look is fresh
        if self._documents:
            both = self._breaker is not None and self._breaker.waits
            known[DOCUMENT] = await self._documents.keep(values, both, deadline - COMMIT_SECONDS_MIN)
        if self._writing >= WRITERS + WRITES_WAITING_MAX:
            raise NotRecorded("act.busy", "record the act", "all writers wait for the database", "send it again")
        attempt = Attempt()

        def record() -> Recorded:
            return self._store.record(known, marked=marked, epoch_min=place.epoch, attempt=attempt)

        self._writing += 1
        future = asyncio.get_running_loop().run_in_executor(self._writers, record)
        future.add_done_callback(self._written)
        done, _ = await asyncio.wait({future}, timeout=max(0.0, deadline - time.monotonic()))
        if done:
            return future.result()
        future.add_done_callback(lambda late: self._tell_late(str(values["id"]), late))
        if attempt.give_up():
            raise NotRecorded("act.late", "record the act", "the database did not take it in time", "send it again")
        raise OutcomeUnknown("act.unknown", "commit the act", "COMMIT still waits", "read it back by its id")

    async def _refuse_without_copy(self) -> None:
        why = await self._breaker.refusal() if self._breaker else None
        if why:
            raise NotRecorded("act.no-copy", "record the act", why, "when the copy answers again")

    async def _sync_partner(self) -> Mapping[str, Any] | None:
        try:
            return (await self._read(lambda: self._store.sync_partner(0))).row
        except NotRecorded as error:
            self._log.warning("cannot look at the synchronous copy", why=error.why)
            return None

    def _written(self, future: asyncio.Future[Recorded]) -> None:
        self._writing -= 1
        if not future.cancelled():
            future.exception()  # whoever waited has been told; nobody else asks

    def _tell_late(self, act: str, future: asyncio.Future[Recorded]) -> None:
        error = None if future.cancelled() else future.exception()
        self._log.info("an act told as not known ended", act=act, recorded=error is None, why=str(error or ""))

    def _recorded(self, recorded: Recorded) -> Answer:
        told = {"id": recorded.id, "epoch": recorded.epoch, "content_sha256": recorded.content_sha256}
        return self._tell(201, told, recorded.epoch)

    # --- reading -------------------------------------------------------------------------------------------------

    async def _latest(self, request: Request, place: Place) -> Answer:
        """The characteristic read: what one sees of the latest act, and only if those we depend on answer too."""
        deadline = time.monotonic() + told_seconds(request, READ_CALLS_SECONDS_MAX)
        seen = await self._read(lambda: self._store.latest(place.epoch))
        await self._neighbours.watch(deadline)
        return self._seen(seen, "there is no act yet")

    async def _one(self, act: str, place: Place) -> Answer:
        """One act, and whether its document is held here as its row says."""
        seen = await self._act_seen(act, place)
        if seen.row is None:
            return self._seen(seen, f"there is no act {act[:64]!r}")
        told = as_told(seen.row)
        if self._documents and DOCUMENT in told["content"]:
            state, _ = await self._documents.state(told["content"][DOCUMENT])
            told["document_state"] = state
        return self._tell(200, told, seen.epoch)

    async def _document(self, desk: DocumentDesk, act: str, place: Place) -> Answer:
        """The document itself, only if it is the one that was acknowledged."""
        seen = await self._act_seen(act, place)
        document = as_told(seen.row)["content"].get(DOCUMENT) if seen.row else None
        if document is None:
            return self._tell(404, {"error": f"there is no document of an act {act[:64]!r}"}, seen.epoch)
        state, content = await desk.state(document)
        if state != "verified":
            why = f"the document of act {act} is {state} at {self._site}"
            return self._tell(503, {"error": why}, seen.epoch)
        headers = {EPOCH_HEADER: str(seen.epoch), "X-NCIA-Site": self._site, "Content-Type": "text/plain"}
        return Answer(200, {**headers, "X-NCIA-SHA256": document["sha256"]}, content)

    async def _act_seen(self, act: str, place: Place) -> Seen:
        try:
            wanted = str(uuid.UUID(act))
        except ValueError:
            return Seen(place.epoch, None)
        return await self._read(lambda: self._store.act(wanted, place.epoch))

    async def _query(self, name: str, key: str, place: Place) -> Answer:
        seen = await self._read(lambda: self._store.query(name, key, place.epoch))
        if seen.row is None:
            return self._tell(404, {"error": f"there is no {name} {key[:64]}"}, seen.epoch)
        return self._tell(200, seen.row, seen.epoch)

    async def _read(self, read: Callable[[], Seen]) -> Seen:
        """Run ``read`` in a reader's thread; raises :class:`NotRecorded` where the database does not answer in time."""
        if self._reading >= READERS + READS_WAITING_MAX:
            raise NotRecorded("read.busy", "read", "all readers are busy", "read again")
        self._reading += 1
        future = asyncio.get_running_loop().run_in_executor(self._readers, read)
        future.add_done_callback(self._was_read)
        return await self._in_time(future)

    async def _in_time(self, future: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(asyncio.shield(future), READ_SECONDS_MAX)
        except TimeoutError as error:
            raise NotRecorded("read.late", "read", "the database did not answer in time", "read again") from error
        except psycopg.Error as error:
            raise NotRecorded("read.failed", "read", brief(error), "read again") from error

    def _was_read(self, future: asyncio.Future[Seen]) -> None:
        self._reading -= 1
        if not future.cancelled():
            future.exception()

    def _seen(self, seen: Seen, otherwise: str) -> Answer:
        if seen.row is None:
            return self._tell(404, {"error": otherwise}, seen.epoch)
        return self._tell(200, as_told(seen.row), seen.epoch)

    def _tell(self, status: int, told: Mapping[str, Any], epoch: int, more: Mapping[str, str] | None = None) -> Answer:
        return Answer.of(status, told, {EPOCH_HEADER: str(epoch), "X-NCIA-Site": self._site, **(more or {})})


def told_seconds(request: Request, most: float) -> float:
    """How long the caller still waits, and never longer than ``most``."""
    told = request.headers.get(DEADLINE_HEADER.lower(), "")
    return min(most, int(told) / 1000) if told.isascii() and told.isdigit() else most
