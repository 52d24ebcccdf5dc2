"""The witness as a controller asks it, over HTTP and TLS."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from http import HTTPStatus

import httpx

from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Signature, checkpoint_from_note, signature_from_line
from ncia.core.journal.entry import Entry, entry_from_text
from ncia.core.journal.kept import KeepAsk, keep_text
from ncia.core.journal.tail import Held
from ncia.core.journal.witness import Ask, Conflict, ask_text

TIMEOUT_SECONDS = 2.0
SHOWN_CHARACTERS_MAX = 300


class HttpWitness:
    """The witness ``site`` at ``url`` (``https://address:port``); every call ends within ``timeout_seconds`` or so.

    ``tls`` shows who we are; ``server_name`` is who must be at the far end."""

    def __init__(
        self, url: str, site: SiteId, tls: ssl.SSLContext, server_name: str, *, timeout_seconds: float = TIMEOUT_SECONDS
    ) -> None:
        self.site = site
        self._url = url
        self._extensions = {"sni_hostname": server_name}
        self._http = httpx.Client(base_url=url, timeout=timeout_seconds, verify=tls, trust_env=False)

    def add(self, ask: Ask) -> Signature:
        """The witness' cosignature of ``ask.head``; :class:`Conflict` where it knows another size of the log."""
        answer = self._send("POST", "/add-checkpoint", ask_text(ask))
        return self._cosigned(answer, ask.head.site, "/add-checkpoint")

    def _cosigned(self, answer: httpx.Response, site: SiteId, path: str) -> Signature:
        what = f"have {site}'s log cosigned by {self.site}"
        if answer.status_code == HTTPStatus.CONFLICT and answer.text.strip().isdigit():
            size = int(answer.text)
            why = f"{size} was cosigned last"
            raise Conflict(what, size, why)
        if answer.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
            hint = (
                "keep this journal, `ncia journal verify` it with the witness' note, find who wrote the other history"
            )
            raise Refusal("journal.fork", what, answer.text.strip()[:SHOWN_CHARACTERS_MAX], hint)
        return signature_from_line(self._text(answer, path).rstrip("\n"))

    def keep(self, ask: KeepAsk) -> Signature:
        """As :meth:`add`; the entries are kept there for good when it returns."""
        answer = self._send("POST", "/keep", keep_text(ask))
        return self._cosigned(answer, ask.cosign.head.site, "/keep")

    def kept(self, site: SiteId) -> tuple[Entry, ...]:
        """The entries of that log that were kept, oldest first; their hashes are those of their text."""
        path = f"/kept/{site}"
        lines = self._text(self._send("GET", path), path).splitlines()
        return tuple(entry_from_text(str(json.loads(line)["entry"])) for line in lines)

    def held(self, site: SiteId) -> Held:
        """What it vouches for of that site's log; it holds no entries of it."""
        path = f"/heads/{site}"
        answer = self._send("GET", path)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return Held(0, None)
        head = checkpoint_from_note(self._text(answer, path))
        return Held(0, head)

    def entries_of(self, site: SiteId, start: int, limit: int) -> Sequence[Entry]:
        return ()

    def close(self) -> None:
        self._http.close()

    def _send(self, method: str, path: str, body: str = "") -> httpx.Response:
        try:
            return self._http.request(method, path, content=body.encode(), extensions=self._extensions)
        except httpx.TransportError as error:
            why = str(error) or type(error).__name__
            what = f"ask the witness at {self._url}{path}"
            raise Unreachable("journal.witness-unreachable", what, why, "it goes on by itself") from error

    def _text(self, answer: httpx.Response, path: str) -> str:
        if answer.status_code == HTTPStatus.OK:
            return answer.text
        why = f"HTTP {answer.status_code}: {answer.text.strip()[:SHOWN_CHARACTERS_MAX]}"
        hint = "ncia pki show, and compare peer_keys.yaml, at all sites"
        raise NciaError("journal.witness-refused", f"ask the witness at {self._url}{path}", why, hint)
