"""The systems that a system depends on, called at the site where each is active, within one deadline.

When a dependency fails because its own dependency did, the deepest one is named: that is where to look.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.estate import Estate
from ncia.core.estate.model import System
from ncia.lab.apps.definition import Ask, Delegate, RuleRefused
from ncia.lab.apps.http import Answer, NoAnswer, NotSent, Reads, Request, send
from ncia.lab.apps.placement import Placement

READ_CALLS_SECONDS_MAX = 1.0  # a probe waits 1.5 s: it must hear the name of what failed
ACT_CALLS_SECONDS_MAX = 1.5  # a citizen hears it within 2 s
CONNECT_SECONDS_MAX = 0.5
HOP_SECONDS = 0.12  # kept back at each hop, so that the deepest failure arrives before its callers give up
WATCH_SECONDS = 1.0
WATCH_FAILED_SECONDS = 0.25  # whoever recovers is seen to be back sooner than whoever is well is looked at again
DEADLINE_HEADER = "X-NCIA-Deadline-Ms"
FAILED_HEADER = "X-NCIA-Failed-Dependency"
EPOCH_HEADER = "X-NCIA-Epoch"


class FailedDependency(NciaError):
    """``dependency`` is the deepest one that failed."""

    def __init__(self, dependency: str, why: str) -> None:
        self.dependency = dependency
        super().__init__("act.dependency", f"call {dependency}", why, f"see {dependency}")


class Neighbours:
    """One system's view of those it depends on."""

    def __init__(
        self,
        estate: Estate,
        system: System,
        site: SiteId,
        placement: Placement,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._estate = estate
        self._system = system
        self._site = site
        self._placement = placement
        self._monotonic = monotonic
        self._reads = Reads()
        self._watching: asyncio.Task[None] | None = None
        self._watched_at = float("-inf")
        self._failure: FailedDependency | None = None

    async def call(self, call: Ask | Delegate, values: Mapping[str, Any], deadline: float) -> Mapping[str, Any]:
        """Make one call; answers the values it gives. Raises :class:`FailedDependency`, :class:`RuleRefused`."""
        if isinstance(call, Ask):
            target = f"/queries/{call.query}?key={quote(str(values[call.key]))}"
            answer = await self._send(call.system, Request("GET", target), deadline)
            if answer.status == 200:
                return answer.json()
            raise RuleRefused(422, f"{call.system} knows no {call.query} of {call.key} {values[call.key]}")
        act = str(uuid.uuid4())
        body = json.dumps({"id": act, **call.body(values)}, ensure_ascii=False).encode()
        answer = await self._send(call.system, Request("POST", "/acts", body=body), deadline)
        if answer.status == 201:
            return {call.into: act}
        raise RuleRefused(409, f"{call.system} refuses: {answer.json().get('error', answer.status)}")

    async def watch(self, deadline: float) -> None:
        """See that every dependency's own characteristic read works; raises :class:`FailedDependency`.

        One look serves all who ask within ``WATCH_SECONDS``: readers and probes together cost one call a second.
        """
        if not self._system.depends_on:
            return
        fresh = WATCH_FAILED_SECONDS if self._failure else WATCH_SECONDS
        if self._watching is None and self._monotonic() - self._watched_at >= fresh:
            self._watching = asyncio.create_task(self._watch(deadline))
        if self._watching is not None:
            await asyncio.shield(self._watching)
        if self._failure is not None:
            raise self._failure

    async def _watch(self, deadline: float) -> None:
        try:
            for dependency in self._system.depends_on:
                path = self._estate.systems[dependency].read_path
                answer = await self._send(str(dependency), Request("GET", path), deadline)
                if answer.status != 200:
                    raise FailedDependency(str(dependency), f"its read answers {answer.status}")
            self._failure = None
        except FailedDependency as failure:
            self._failure = failure
        finally:
            self._watched_at, self._watching = self._monotonic(), None

    async def _send(self, dependency: str, request: Request, deadline: float) -> Answer:
        place = self._placement.place_of(dependency)
        if place is None:
            raise FailedDependency(dependency, "where it is active is not known at this site")
        application = self._estate.system(dependency).applications[place.site]
        address = self._estate.seen(application.address, place.site, self._site)
        seconds = deadline - self._monotonic()
        if seconds <= 0:
            raise FailedDependency(dependency, "no time was left to call it")
        headers = {
            DEADLINE_HEADER: str(int(max(0.0, seconds - HOP_SECONDS) * 1000)),
            "content-type": "application/json",
        }
        sent = Request(request.method, request.path, headers=headers, body=request.body)
        ask = self._reads.send if request.method == "GET" else send  # an act is never sent twice
        try:
            answer = await ask(address, sent, connect_seconds=min(CONNECT_SECONDS_MAX, seconds), seconds=seconds)
        except (NotSent, NoAnswer) as error:
            raise FailedDependency(dependency, error.why) from error
        if answer.status >= 500:
            told = answer.json()
            deepest = answer.headers.get(FAILED_HEADER.lower(), dependency)
            raise FailedDependency(deepest, str(told.get("error") or f"it answers {answer.status}"))
        if int(answer.headers.get(EPOCH_HEADER.lower()) or 0) < place.epoch:
            raise FailedDependency(dependency, f"it answers under an epoch before {place.epoch}")
        return answer
