"""The canaries of documents at our own site: what a promotion here would lose of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from ncia.core.base.ids import SiteId
from ncia.core.estate.model import BucketCopy, Dataset, TreeCopy
from ncia.core.work.documents import MARK, Documents, Mark


class DocumentMarks:
    """A :class:`recovery.ports.Marks`; ``store_of`` opens the store of a copy."""

    def __init__(self, site: SiteId, store_of: Callable[[TreeCopy | BucketCopy], Documents]) -> None:
        self._site = site
        self._store_of = store_of

    def newest(self, dataset: Dataset) -> datetime | None:
        content = self._store_of(dataset.documents[self._site]).get(MARK)
        mark = Mark.from_bytes(content) if content else None
        return mark.written_at if mark else None
