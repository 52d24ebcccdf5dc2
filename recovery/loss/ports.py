"""What naming a loss needs from the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from ncia.core.base.ids import SiteId, SystemId
from ncia.core.reports.loss import Receipt, Stream


class Receipts(Protocol):
    """The receipts of acts that the other site served, kept here."""

    def keep(self, stream: Stream, receipts: Sequence[Receipt]) -> None:
        """Durable when it returns; the same batch again changes nothing."""
        ...

    def held(self, site: SiteId, systems: Sequence[SystemId], since: datetime, until: datetime) -> tuple[Receipt, ...]:
        """Those of acts that ``site`` served for ``systems``, acknowledged in that time (both ends included)."""
        ...

    def streams(self, served_by: SiteId) -> tuple[Stream, ...]: ...

    def count(self) -> int: ...

    def forget(self, before: datetime) -> int:
        """Let go of receipts older than ``before``, a bounded number at a time; how many went."""
        ...


class Contents(Protocol):
    """What the rows hold of acts."""

    def hashes(self, system: SystemId, site: SiteId, acts: Sequence[str]) -> Mapping[str, str]:
        """The SHA-256 (hex) of the content that the rows at ``site`` give, by act; an act they do not hold is absent.

        Raises :class:`~ncia.core.base.errors.NciaError` where the rows cannot be asked.
        """
        ...
