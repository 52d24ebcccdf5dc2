"""The one place that lets a request in: who is asking, whether the table lets them, and, for what changes something,
the entry that says so before it is done.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool

from ncia.api import problems
from ncia.api.doors import CERTIFICATE, DOOR, RECEIPTS, UNIX, WIRE
from ncia.api.policy import Rule, methods_of, rule_of
from ncia.api.ports import Admission
from ncia.core.base.errors import NciaError, Refusal
from ncia.core.journal.entries_people import (
    RequestMade,
)
from ncia.core.requests.caller import ANONYMOUS, FRONT_DOOR, LOCAL, NOBODY, OWNER, Caller
from ncia.core.requests.certificates import shown_by

CALLER = "ncia.caller"
COOKIE = "ncia_session"
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
BODY_BYTES_MAX = 256 * 1024  # of a request that changes something; an agent's report has a bound of its own
WHY_CHARACTERS_MAX = 500

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def caller_of(request: Request) -> Caller:
    """Who is asking, as the guard found out."""
    found = request.scope[CALLER]
    assert isinstance(found, Caller)  # noqa: S101 - the guard stands before every route
    return found


class Guard:
    """An ASGI middleware, before any route and any parsing of a body."""

    def __init__(self, app: Any, platform: Admission) -> None:
        self._app = app
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        send = _hardened(send, scope["path"])
        try:
            rule = rule_of(request.method, scope["path"])
            caller = await self._who(request)
            demand(request, rule, caller)
            if rule is not None and rule.written:
                receive = await self._write(request, caller)
        except NciaError as error:
            await _answer(request, error)(scope, receive, send)
            return
        scope[CALLER] = caller
        await self._app(scope, receive, send)

    async def _who(self, request: Request) -> Caller:
        """By what the request shows; :class:`Refusal` where it shows something that does not count."""
        if request.scope.get(DOOR) == WIRE:
            shown = shown_by(request.scope.get("state", {}).get(CERTIFICATE))
            return self._platform.accounts.machine(*shown) if shown else NOBODY
        secret = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if request.scope.get(DOOR) == RECEIPTS:
            wanted = self._platform.receipts_token
            known = bool(wanted) and hmac.compare_digest(secret.encode(), wanted.encode())
            return Caller(FRONT_DOOR, FRONT_DOOR) if known else NOBODY
        if secret:
            return await run_in_threadpool(self._platform.accounts.caller, secret)
        cookie = request.cookies.get(COOKIE, "")
        if cookie and request.scope.get(DOOR) != UNIX:
            try:
                found = await run_in_threadpool(self._platform.accounts.caller, cookie)
            except Refusal:
                return NOBODY  # a browser that was left open: it is shown the way in
            _demand_same_site(request)
            return found
        return OWNER if request.scope.get(DOOR) == UNIX else NOBODY

    async def _write(self, request: Request, caller: Caller) -> Receive:
        """Journal the request, and hand its body on."""
        body = await _body(request)
        told = _told(body)
        named = str(told.get("by") or LOCAL) if caller.standing == LOCAL else caller.name
        why = str(told.get("reason") or told.get("comment") or "")[:WHY_CHARACTERS_MAX]
        door = "unix" if request.scope.get(DOOR) == UNIX else "tcp"
        made = RequestMade(
            request=problems.what_of(request)[:WHY_CHARACTERS_MAX],
            by=named[:WHY_CHARACTERS_MAX],
            role=caller.standing,
            door=door,
            credential=caller.credential,
            why=why,
        )
        await run_in_threadpool(self._platform.made, made)
        return _again(body, request.receive)


def demand(request: Request, rule: Rule | None, caller: Caller) -> None:
    """Let the caller pass, or raise what the table says. What the table does not know is there for nobody but the
    unix socket, where the router itself answers."""
    if rule is None:
        if caller.standing == LOCAL:
            return
        known = methods_of(request.url.path)
        raise problems.no_such_method(request, ", ".join(known)) if known else problems.no_such_path(request)
    if caller.standing not in rule.may:
        what = problems.what_of(request)
        if caller.standing == ANONYMOUS:
            raise Refusal("api.no-credential", what, "nobody is signed in", "ncia login, or a token (NCIA_TOKEN)")
        allowed = ", ".join(sorted(rule.may - {LOCAL, ANONYMOUS}))
        raise Refusal("api.role", what, f"{caller.name} is {caller.standing}; this is for {allowed}", "ask one of them")
    if caller.agencies and rule.scope == "whole":
        why = f"{caller.name} may see {', '.join(caller.agencies)}, and this is about the whole estate"
        what = problems.what_of(request)
        raise Refusal("api.agency", what, why, "ask somebody whose account is for the whole estate")


def _demand_same_site(request: Request) -> None:
    """A cookie is sent by the browser, whoever made it ask: what changes something must come from our own page."""
    if request.method in SAFE_METHODS:
        return
    origin = urlsplit(request.headers.get("origin", "")).netloc
    if not origin or origin != request.headers.get("host", ""):
        why = f"a browser's session was shown, and the request comes from {origin or 'no page that says so'}"
        raise Refusal("api.cross-site", problems.what_of(request), why, "ask from the console's own page")


async def _body(request: Request) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > BODY_BYTES_MAX:
            why = f"its body is longer than {BODY_BYTES_MAX} bytes"
            raise Refusal("api.too-long", problems.what_of(request), why)
    return bytes(found)


def _again(body: bytes, rest: Receive) -> Receive:
    given = False

    async def receive() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await rest()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _told(body: bytes) -> dict[str, Any]:
    """The body as far as it can be read here; whether it is right is the route's to judge."""
    try:
        found = json.loads(body or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _answer(request: Request, error: NciaError) -> Response:
    """A person at a browser who is not signed in is shown how to."""
    answered = problems.answer(error)
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    return RedirectResponse("/sign-in", 303) if answered.status_code == 401 and wants_page else answered


def _hardened(send: Send, path: str) -> Send:
    """What every answer tells a browser: no guessing of types, no frames, no traces elsewhere, nothing kept."""

    async def sender(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            headers += [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
            headers.append((b"referrer-policy", b"no-referrer"))
            if not path.startswith("/static/") and all(name.lower() != b"cache-control" for name, _ in headers):
                headers.append((b"cache-control", b"no-store"))
            message = {**message, "headers": headers}
        await send(message)

    return sender
