"""What a controller answers before its journal is known to be whole: the journal itself, and why it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Container
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from ncia.api import problems
from ncia.api.asking import Ask
from ncia.api.guard import Guard
from ncia.api.ports import AccountDesk, JournalPlatform
from ncia.api.routes import journal as journal_routes
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal import Journal
from ncia.core.journal.reader import WireReader
from ncia.core.journal.tail import OVERRIDE, OwnTail

OPEN_AT_ONCE = ("/v1/health", "/v1/journal/")
PATIENCE_SECONDS = 5.0  # how long a request waits for the controller rather than being sent away


class Front:
    """The ASGI application at both doors: the waiting room, until it becomes the controller's API."""

    def __init__(self, waiting: Any) -> None:
        self._waiting = waiting
        self._whole: Any = None
        self._changed = asyncio.Event()

    def become(self, application: Any) -> None:
        self._whole = application
        self._changed.set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if self._whole is None and not str(scope.get("path", "")).startswith(OPEN_AT_ONCE):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), PATIENCE_SECONDS)
        await (self._whole or self._waiting)(scope, receive, send)


class OathAsk(Ask):
    by: str = Field(min_length=1)
    reason: str = Field(min_length=1)


def waiting_room(
    site: SiteId, release: str, accounts: AccountDesk, journal: Journal, tail: OwnTail, people: Container[Any]
) -> FastAPI:
    """The journal for peers and verifiers; the oath; and for all else why nothing else is answered yet."""
    application = FastAPI(title="ncia, waiting", version=release, openapi_url=None, docs_url=None, redoc_url=None)
    reader = WireReader(journal)
    platform = JournalPlatform(reader, accounts, made=lambda made: None)  # nothing is done, so nothing is written
    application.include_router(journal_routes(platform))
    application.add_middleware(Guard, platform=platform)
    problems.register(application)

    @application.get("/v1/health")
    def health() -> Any:
        return {"site": site, "release": release, "journal_size": reader.size(), "read_only": told(tail)}

    @application.post("/v1/journal/swear")
    def swear(ask: OathAsk) -> Any:
        if ask.by not in people:
            what = f"swear the tail of {site}'s journal off"
            raise NciaError("journal.unknown-person", what, f"{ask.by!r} is not in the estate")
        return tail.swear(ask.by, ask.reason).model_dump()

    put_off(application, site, tail)
    return application


def closed_door(site: SiteId, release: str, tail: OwnTail) -> FastAPI:
    """A door behind which nothing is answered yet."""
    application = FastAPI(title="ncia, waiting", version=release, openapi_url=None, docs_url=None, redoc_url=None)
    problems.register(application)
    put_off(application, site, tail)
    return application


def put_off(application: FastAPI, site: SiteId, tail: OwnTail) -> None:
    """Whatever has no route of its own is told why it must wait."""

    @application.api_route("/{path:path}", methods=["GET", "POST", "PUT", "DELETE"])
    def waits(path: str, request: Request) -> JSONResponse:
        what = f"{request.method} /{path}"
        if tail.fault is None:
            raise Unreachable("serve.starting", what, f"{site}'s controller is starting", "ask again in a moment")
        raise Unreachable("serve.read-only", what, f"{site}'s journal is read only: {told(tail)}", OVERRIDE)


def told(tail: OwnTail) -> str:
    return tail.fault.why if tail.fault else ""
