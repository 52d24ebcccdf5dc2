"""Who stands at which door.

The unix socket is open to whoever the file system lets in (mode 0600: the platform's own user). Over TCP anybody may
read; an agent or the peer shows its token; a person's approval proves itself by signature. Everything else that
changes something is refused there until accounts exist.
"""

from __future__ import annotations

import hmac
from typing import Any

from fastapi import Request

from ncia.api.ports import Tokens
from ncia.core.base.errors import Refusal

DOOR = "ncia.door"
UNIX, TCP = "unix", "tcp"


class Door:
    """An ASGI wrapper that marks each request with the socket it came in by; a peer's address would prove nothing."""

    def __init__(self, application: Any, name: str) -> None:
        self._application = application
        self._name = name

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope[DOOR] = self._name
        await self._application(scope, receive, send)


def demand_local(request: Request) -> None:
    """Let pass only what came through the unix socket."""
    if request.scope.get(DOOR) != UNIX:
        raise Refusal(
            "api.local-only",
            f"{request.method} {request.url.path}",
            "changes are taken over the site's unix socket only",
            "run the command on the controller's host, or set NCIA_API=unix:…/api.sock",
        )


def demand_token(request: Request, tokens: Tokens, which: str) -> None:
    """Let pass the unix socket, or a bearer of the named token (``peer``, ``agent``, ``worker`` or ``receipts``)."""
    if request.scope.get(DOOR) == UNIX:
        return
    given = request.headers.get("authorization", "").removeprefix("Bearer ").encode()
    known = {"peer": tokens.peer, "agent": tokens.agent, "worker": tokens.worker, "receipts": tokens.receipts}
    wanted = known[which].encode()
    if not wanted or not hmac.compare_digest(given, wanted):
        raise Refusal(
            "api.bad-token",
            f"{request.method} {request.url.path}",
            f"no valid {which} token was shown",
            f"both sides must hold the same secrets/{which}_token",
        )
