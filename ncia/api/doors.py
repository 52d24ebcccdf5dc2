"""By which door a request came in.

The unix socket is open to whoever the file system lets in (mode 0600: the platform's own user), TCP to people, the wire
to machines that show a certificate of the estate; citizens' front doors hand in receipts at an address of their own.
Who may do what there is :mod:`ncia.api.policy`'s to say.
"""

from __future__ import annotations

from typing import Any

DOOR = "ncia.door"
UNIX, TCP, WIRE, RECEIPTS = "unix", "tcp", "wire", "receipts"
CERTIFICATE = "ncia.certificate"
"""In the state of a request at the wire: what its connection's verified certificate says (``getpeercert``)."""


class Door:
    """An ASGI wrapper that marks each request with the socket it came in by; a peer's address would prove nothing."""

    def __init__(self, application: Any, name: str) -> None:
        self._application = application
        self._name = name

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        scope[DOOR] = self._name
        await self._application(scope, receive, send)
