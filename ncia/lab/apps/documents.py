"""The document of an act: its bytes, which follow from the act alone, and the stores in which it is kept.

A document is kept before the act's rows are committed: one whose COMMIT then fails lies there with no row that speaks
of it, and harms nobody. Where the rows wait for the other site, the document does too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.work.documents import Documents, time_folder

BYTES_MIN, BYTES_SPREAD = 2048, 18 * 1024  # 2 to 20 KB


@dataclass(frozen=True)
class Document:
    """What the row remembers of a document: where it lies below the dataset's root, and what it is."""

    name: str
    size_bytes: int
    sha256: str

    def as_told(self) -> dict[str, Any]:
        return {"name": self.name, "size_bytes": self.size_bytes, "sha256": self.sha256}


def content_of(system: str, act: str, fields: Mapping[str, Any]) -> bytes:
    """The document of an act, from what the citizen sent: the same bytes whoever makes them, 2 to 20 KB."""
    told = json.dumps(dict(fields), ensure_ascii=False, sort_keys=True)
    head = f"{system} {act}\n{told}\n".encode()
    seed = hashlib.shake_256(head)
    size = BYTES_MIN + int.from_bytes(seed.digest(4)) % BYTES_SPREAD
    return head + seed.hexdigest(max(0, size - len(head)) // 2).encode()


def document_of(content: bytes, act: str, moment: datetime) -> Document:
    name = f"{time_folder(moment)}/{act}.txt"
    return Document(name, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Keeping:
    """Where a system's documents are kept: at the own site, and at the other one where acts wait for both."""

    site: SiteId
    own: Documents
    peer: SiteId
    other: Documents | None  # None: an asynchronous dataset, which the platform mirrors

    def places(self, both: bool) -> tuple[tuple[SiteId, Documents], ...]:
        """The stores that must hold a document before its act is acknowledged."""
        own = ((self.site, self.own),)
        return own if self.other is None or not both else (*own, (self.peer, self.other))

    def state(self, document: Document) -> tuple[str, bytes]:
        """``verified``, ``missing``, ``altered`` or ``unknown``, and the bytes where they are the right ones."""
        try:
            content = self.own.get(document.name)
        except NciaError:
            return "unknown", b""
        if content is None:
            return "missing", b""
        right = hashlib.sha256(content).hexdigest() == document.sha256
        return ("verified", content) if right else ("altered", b"")
