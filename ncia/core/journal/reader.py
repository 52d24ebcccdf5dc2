"""The journal as the API offers it to the peer and to verifiers: wire forms only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import entry_to_wire
from ncia.core.journal.log import Journal


class WireReader:
    """What ``peer_http`` reads on the other side."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def entries(self, site: SiteId, start: int, limit: int) -> Sequence[Mapping[str, Any]]:
        return [entry_to_wire(entry) for entry in self._journal.entries(site, max(0, start), max(0, limit))]

    def checkpoint(self) -> Mapping[str, Any]:
        """``note`` is what counts; the rest is for people."""
        head = self._journal.checkpoint()
        return {"site": head.site, "size": head.size, "root": head.root.hex(), "note": head.note()}

    def consistency(self, first: int, second: int) -> Mapping[str, Any]:
        proof = self._journal.consistency(first, second)
        return {"first": first, "second": second, "proof": [each.hex() for each in proof]}

    def size(self) -> int:
        return self._journal.size(self._journal.site)
