"""How the command line talks to the API: over the site's unix socket, or HTTPS."""

from __future__ import annotations

import os
from typing import Any

import httpx

from ncia.core.base.errors import NciaError, Refusal, Unreachable

API_VARIABLE = "NCIA_API"


class Api:
    """A client of one site's API.

    ``address`` is ``unix:/path/api.sock`` or ``https://host:port`` (``http://`` only towards loopback).
    """

    def __init__(self, address: str, *, timeout_seconds: float = 30.0, token: str = "") -> None:
        self.address = address
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if address.startswith("unix:"):
            # No TLS on a unix socket: its context would cost each command 33 ms.
            transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"), verify=False)
            self._http = httpx.Client(
                base_url="http://ncia", transport=transport, timeout=timeout_seconds, headers=headers
            )
        elif address.startswith(("https://", "http://127.", "http://[::1]")):
            self._http = httpx.Client(base_url=address, timeout=timeout_seconds, headers=headers)
        else:
            raise NciaError(
                "cli.bad-address",
                f"talk to the API at {address!r}",
                "it is neither a unix socket nor HTTPS",
                f"{API_VARIABLE}=unix:/run/ncia/api.sock or {API_VARIABLE}=https://host:8080",
            )

    @classmethod
    def from_environment(cls, *, timeout_seconds: float = 30.0) -> Api:
        """The API named by ``NCIA_API``, or the socket of the site whose ``NCIA_SETTINGS`` is given."""
        address = os.environ.get(API_VARIABLE)
        settings = os.environ.get("NCIA_SETTINGS")
        if not address and settings:
            address = "unix:" + os.path.join(os.path.dirname(os.path.abspath(settings)), "run", "api.sock")
        token = os.environ.get("NCIA_TOKEN", "")
        return cls(address or "unix:/run/ncia/api.sock", timeout_seconds=timeout_seconds, token=token)

    def get(self, path: str, **params: str | int) -> Any:
        return self._ask("GET", path, params=params)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        return self._ask("POST", path, json=body or {})

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        what = f"{method} {path} at {self.address}"
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise Unreachable(
                "cli.unreachable",
                what,
                str(error) or type(error).__name__,
                "is `ncia serve` running at this site?",
            ) from error
        if answer.is_success:
            return answer.json()
        raise _error_of(answer, what)


def _error_of(answer: httpx.Response, what: str) -> NciaError:
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        problem = answer.json()
        kind = Refusal if answer.status_code in (403, 409) else NciaError
        return kind(problem["code"], problem["title"], problem["detail"], problem.get("hint", ""))
    return NciaError("cli.bad-answer", what, f"HTTP {answer.status_code}: {answer.text[:200]}")
