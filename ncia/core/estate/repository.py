"""An agency's own repository: where it lies at both centres, which program keeps it, when, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ncia.core.base.ids import PersonId, SiteId

if TYPE_CHECKING:
    from ncia.core.estate.model import BucketCopy, TreeCopy


PRUNE_INTERVAL_SECONDS = 7 * 86_400.0
PROVE_INTERVAL_SECONDS = 7 * 86_400.0
POINTS_INTERVAL_SECONDS = 86_400.0


class EngineName(StrEnum):
    """The program that keeps the files; both write the same format."""

    NCIA = "ncia"
    RESTIC = "restic"


@dataclass(frozen=True)
class Keep:
    """How many snapshots stay: the newest ``last``, and the newest of each of so many days, weeks, months and years."""

    last: int
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0


@dataclass(frozen=True)
class Rotation:
    """What is kept is read again in ``parts``, which together are all of it: one of them each ``interval_seconds``."""

    interval_seconds: float = 86_400.0
    parts: int = 7

    @property
    def seconds(self) -> float:
        """In which all of it is read once."""
        return self.interval_seconds * self.parts


@dataclass(frozen=True)
class AgencyRepository:
    """``places``: one at each centre. ``escrow``: whose keys recover it, any one alone. ``check``: how each place is
    read again; ``prune_interval_seconds``: how often what no snapshot needs is removed from it. ``retain_days``: for
    how long a bucket keeps each file from our own key (Object Lock); 0: as its own rule says, if it has one.
    ``prove_interval_seconds``: how often a snapshot of each dataset is restored from each place and compared.
    ``points_interval_seconds``: how often each dataset's newest proven recovery point is kept in it, too."""

    engine: EngineName
    interval_seconds: float
    keep: Keep
    places: Mapping[SiteId, TreeCopy | BucketCopy]
    escrow: tuple[PersonId, ...]
    check: Rotation = Rotation()
    prune_interval_seconds: float = PRUNE_INTERVAL_SECONDS
    retain_days: int = 0
    prove_interval_seconds: float = PROVE_INTERVAL_SECONDS
    points_interval_seconds: float = POINTS_INTERVAL_SECONDS
