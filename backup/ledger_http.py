"""The controller's journal as a worker writes it: over the site's API, patient while the controller restarts."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx
import structlog

from backup.ledger import KINDS
from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.journal.entries import BackupFinished, Body, PointCopied
from ncia.core.work.jobs import Fenced, JobId

ANSWER_SECONDS_MAX = 30.0
PATIENCE_SECONDS = 600.0
PAUSE_SECONDS = 1.0

_log = structlog.get_logger()


class HttpLedger:
    """A :class:`backup.ports.Ledger` at the API under ``address``: ``unix:/path/api.sock``, or ``https://`` at the
    wire, where ``tls`` shows who we are and ``server_name`` is who must be at the far end."""

    def __init__(
        self,
        address: str,
        patience_seconds: float = PATIENCE_SECONDS,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self._address = address
        self._patience_seconds = patience_seconds
        self._extensions = {"sni_hostname": server_name} if server_name else {}
        if address.startswith("unix:"):
            transport = httpx.HTTPTransport(uds=address.removeprefix("unix:"))
            self._http = httpx.Client(base_url="http://ncia", transport=transport, timeout=ANSWER_SECONDS_MAX)
        else:
            verify = True if tls is None else tls
            self._http = httpx.Client(base_url=address, verify=verify, timeout=ANSWER_SECONDS_MAX, trust_env=False)

    def append(self, job: JobId, fence: int, body: Body, by: str) -> None:
        if not isinstance(body, KINDS):
            raise NciaError("jobs.not-theirs", f"write {body.KIND} for a job", "jobs write of backups and proofs only")
        told = {"job": job, "fence": fence, "by": by, "kind": body.KIND, "version": body.VERSION}
        asked = {**told, "body": body.model_dump(mode="json")}
        self._patiently(lambda: self._http.post("/v1/jobs/entries", json=asked, extensions=self._extensions))

    def retired(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        return self._points("points", dataset, store_site)

    def let_go(self, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        return self._points("let_go", dataset, store_site)

    def needless_copies(self, dataset: str, store_site: str) -> tuple[PointCopied, ...]:
        return tuple(PointCopied.model_validate(each) for each in self._needless(dataset, store_site)["copies"])

    def _points(self, name: str, dataset: str, store_site: str) -> tuple[BackupFinished, ...]:
        return tuple(BackupFinished.model_validate(each) for each in self._needless(dataset, store_site)[name])

    def _needless(self, dataset: str, store_site: str) -> Any:
        asked = {"dataset": dataset, "store_site": store_site}
        return self._patiently(lambda: self._http.get("/v1/jobs/retired", params=asked, extensions=self._extensions))

    def close(self) -> None:
        self._http.close()

    def _patiently(self, ask: Callable[[], httpx.Response]) -> Any:
        """Asking again is well: the controller writes nothing twice."""
        until = time.monotonic() + self._patience_seconds
        while True:
            try:
                return self._judged(ask())
            except httpx.TransportError as error:
                if time.monotonic() > until:
                    what = f"reach the controller at {self._address}"
                    why = str(error) or type(error).__name__
                    raise Unreachable("jobs.no-controller", what, why, "is `ncia serve` running?") from error
                _log.warning("jobs.controller-silent", why=str(error) or type(error).__name__)
                time.sleep(PAUSE_SECONDS)  # a worker has nothing else to do while its controller restarts

    def _judged(self, answer: httpx.Response) -> Any:
        if answer.is_success:
            return answer.json()
        what = f"write to the journal at {self._address}"
        if not answer.headers.get("content-type", "").startswith("application/problem+json"):
            raise NciaError("jobs.bad-answer", what, f"HTTP {answer.status_code}: {answer.text[:200]}")
        problem = answer.json()
        kind = Fenced if problem["code"] == "jobs.fenced" else NciaError
        raise kind(problem["code"], problem["title"], problem["detail"], problem.get("hint", ""))
