"""What a mirror needs from the world besides the two stores of a dataset (``ncia.core.work.documents.Documents``)."""

from __future__ import annotations

from typing import Protocol

from ncia.core.estate.model import BucketCopy, TreeCopy
from ncia.core.work.documents import Documents


class Stores(Protocol):
    """The stores of the estate as this site reaches them."""

    def of(self, copy: TreeCopy | BucketCopy) -> Documents:
        """The store of one copy; opening it dials nobody yet."""
        ...

    def close(self) -> None:
        """Drop every connection; what waits for an answer ends with an error."""
        ...
