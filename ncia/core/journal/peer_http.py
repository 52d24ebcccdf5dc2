"""The peer's log over its API (HTTP), with a bearer token."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from typing import Any

import httpx

from ncia.core.base.errors import NciaError, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, checkpoint_from_note
from ncia.core.journal.entry import Entry, entry_from_wire
from ncia.core.journal.tail import Held

TIMEOUT_SECONDS = 5.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024


class HttpPeerSource:
    """The API of ``site`` at ``url`` (``https://address:port``): a :class:`~ncia.core.journal.peers.PeerSource`, and a
    :class:`~ncia.core.journal.tail.Place`.

    Between two controllers ``tls`` shows who we are, and ``server_name`` is who must be at the far end; ``token`` is
    for whoever reads a journal as an auditor.
    """

    def __init__(
        self,
        url: str,
        site: SiteId,
        token: str = "",
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        local_address: str = "",
        tls: ssl.SSLContext | None = None,
        server_name: str = "",
    ) -> None:
        self.site = site
        self._url = url
        self._extensions = {"sni_hostname": server_name} if server_name else {}
        transport = httpx.HTTPTransport(verify=True if tls is None else tls, local_address=local_address or None)
        self._http = httpx.Client(
            base_url=url,
            transport=transport,
            timeout=timeout_seconds,
            headers={"authorization": f"Bearer {token}"} if token else {},
            trust_env=False,  # a proxy of the environment has no place between two controllers
        )

    def checkpoint(self, after: int = -1, patience_seconds: float = 0.0) -> Checkpoint:
        patience = {"after": after, "patience_seconds": patience_seconds} if patience_seconds else {}
        return checkpoint_from_note(str(self._get("/v1/journal/checkpoint", "note", **patience)))

    def entries(self, start: int, limit: int) -> Sequence[Entry]:
        return self.entries_of(self.site, start, limit)

    def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
        """Entries of any log that is held there."""
        found = self._get(f"/v1/journal/{site}/entries", "entries", start=start, limit=limit)
        return tuple(entry_from_wire(wire) for wire in found[:limit])

    def held(self, site: SiteId) -> Held:
        """What is held there of that site's log, and the newest head of it with its cosignatures."""
        told = self._get(f"/v1/journal/{site}/held", "held")
        note = told.get("note")
        return Held(int(told["entries"]), checkpoint_from_note(str(note)) if note else None)

    def consistency(self, first: int, second: int) -> tuple[bytes, ...]:
        found = self._get("/v1/journal/consistency", "proof", first=first, second=second)
        return tuple(bytes.fromhex(each) for each in found)

    def close(self) -> None:
        self._http.close()

    def _get(self, path: str, field: str, **parameters: float) -> Any:
        what = f"read {self.site}'s journal at {self._url}{path}"
        try:
            with self._http.stream("GET", path, params=parameters, extensions=self._extensions) as answer:
                status, body = answer.status_code, _bounded(answer, what)
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            raise Unreachable("journal.peer-unreachable", what, why, "it goes on by itself") from error
        try:
            told = json.loads(body)
            if status == httpx.codes.OK:
                return told[field]
        except (ValueError, KeyError, TypeError) as error:
            raise NciaError("journal.bad-answer", what, f"HTTP {status} without {field!r}") from error
        why = f"HTTP {status}: {told.get('detail', told) if isinstance(told, dict) else told}"
        raise NciaError("journal.peer-refused", what, why[:300], "ncia pki show, at both sites")


def _bounded(answer: httpx.Response, what: str) -> bytes:
    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise NciaError("journal.bad-answer", what, f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    return bytes(body)
