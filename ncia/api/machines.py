"""What machines ask every second, and a short way to it: past the router, which is most of such an answer's time.

Each is a route as well, with the same function, so that the document tells of it. Who may ask is the guard's, which
stands before both.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from ncia.api import problems
from ncia.api.asking import demand_vantage, object_of
from ncia.api.guard import Receive, Scope, Send
from ncia.api.policy import form_of
from ncia.api.ports import Platform
from ncia.core.base.errors import NciaError

HEALTH, REPORT, RECEIPTS = "GET /v1/health", "POST /v1/agents/{vantage}/report", "POST /v1/receipts"
RECEIPTS_BYTES_MAX = 1024 * 1024

Endpoint = Callable[..., Awaitable[Response]]


def of_machines(platform: Platform) -> Mapping[str, Endpoint]:
    """By method and path, as the table of who may call what names them."""

    async def health(request: Request) -> Response:
        told = {"site": platform.site, "release": platform.release, "journal_size": platform.journal.size()}
        return JSONResponse(told)

    async def report(request: Request, vantage: str) -> Response:
        demand_vantage(request, vantage)
        await run_in_threadpool(platform.report, vantage, await object_of(request))
        return JSONResponse({"taken": True})

    async def receipts(request: Request) -> Response:
        told = await object_of(request, RECEIPTS_BYTES_MAX)
        return JSONResponse(await run_in_threadpool(platform.loss.take, told))

    return {HEALTH: health, REPORT: report, RECEIPTS: receipts}


def add(router: APIRouter, platform: Platform, key: str) -> None:
    """The same as a route, for the document and for whoever asks in another way than machines do."""
    method, path = key.split(" ")
    router.add_api_route(path, of_machines(platform)[key], methods=[method], response_class=JSONResponse)


class Lane:
    """An ASGI middleware between guard and router."""

    def __init__(self, app: Any, ways: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._ways = [(*form_of(key), endpoint) for key, endpoint in ways.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = self._asked(scope, receive) if scope["type"] == "http" else None
        if asked is None:
            await self._app(scope, receive, send)
            return
        try:
            response = await asked
        except NciaError as error:
            response = problems.answer(error)
        await response(scope, receive, send)

    def _asked(self, scope: Scope, receive: Receive) -> Awaitable[Response] | None:
        """What is asked for, begun; None where it is the router's."""
        for method, form, endpoint in self._ways:
            found = form.fullmatch(scope["path"]) if scope["method"] == method else None
            if found is not None:
                return endpoint(Request(scope, receive), *found.groups())
        return None
