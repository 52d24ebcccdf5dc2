"""How the command line talks to the API: over the site's unix socket, or HTTPS."""

from __future__ import annotations

import getpass
import os
from typing import Any

import httpx

from ncia.cli import session as sessions
from ncia.cli.session import Session
from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.errors import NciaError, Refusal, Unreachable

API_VARIABLE = "NCIA_API"


class Api:
    """A client of one site's API, as nobody, as a machine (``token``) or as a person (``session``).

    ``address`` is ``unix:/path/api.sock`` or ``https://host:port`` (``http://`` only towards loopback).
    """

    def __init__(
        self, address: str, *, timeout_seconds: float = 30.0, token: str = "", session: Session | None = None
    ) -> None:
        self.address = address
        self.session = session
        secret = token or (session.secret if session else "")
        headers = {"authorization": f"Bearer {secret}"} if secret else {}
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
        """The API named by ``NCIA_API``, or the socket of the site whose ``NCIA_SETTINGS`` is given; as the machine
        whose ``NCIA_TOKEN`` is given, else as whoever signed in there."""
        address = os.environ.get(API_VARIABLE)
        settings = os.environ.get("NCIA_SETTINGS")
        if not address and settings:
            address = "unix:" + os.path.join(os.path.dirname(os.path.abspath(settings)), "run", "api.sock")
        address = address or "unix:/run/ncia/api.sock"
        token = os.environ.get("NCIA_TOKEN", "")
        now = to_text(SystemClock().now())
        session = None if token else sessions.load(address, now)
        return cls(address, timeout_seconds=timeout_seconds, token=token, session=session)

    def keep(self, session: Session | None) -> Api:
        """The same API as whoever signed in, also for the commands that follow; as nobody where None."""
        sessions.save(self.address, session)
        return Api(self.address, session=session)

    def asker(self) -> str:
        """In whose name to ask: whoever signed in, else this machine's user."""
        return self.session.person if self.session else getpass.getuser()

    def console(self) -> str:
        """Where a browser finds the site's console."""
        if not self.address.startswith("unix:"):
            return self.address.rstrip("/")
        return str(self.get("/v1/me")["console"])

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
