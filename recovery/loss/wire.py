"""What a front door tells a site of the acts that the other one served: read strictly, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.estate import Estate
from ncia.core.estate.model import SiteKind
from ncia.core.reports.loss import Dropped, Receipt, Stream

RECEIPTS_PER_BATCH_MAX = 1000
DROPS_PER_BATCH_MAX = 1000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=80)]
Told = tuple[UUID, Sha256, Name, Annotated[int, Field(ge=0)], AwareDatetime]  # act, hash, system, epoch, acked_at


class _Drop(BaseModel):
    model_config = ConfigDict(extra="forbid")
    since: AwareDatetime
    until: AwareDatetime
    count: Annotated[int, Field(ge=1)]


class _Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    door: Name
    stream: Name
    served_by: Name
    began_at: AwareDatetime
    complete_until: AwareDatetime
    closed: bool = False
    drops: Annotated[list[_Drop], Field(max_length=DROPS_PER_BATCH_MAX)] = []
    receipts: Annotated[list[Told], Field(max_length=RECEIPTS_PER_BATCH_MAX)] = []


@dataclass(frozen=True)
class Batch:
    stream: Stream
    receipts: tuple[Receipt, ...]


def batch_of(told: Mapping[str, Any], estate: Estate, site: SiteId) -> Batch:
    """The batch as ``site`` may keep it; raises :class:`NciaError` that names what is wrong with it."""
    try:
        read = _Batch.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the batch"
        raise _bad(f"{where}: {first['msg']}") from error
    door = estate.sites.get(SiteId(read.door))
    if door is None or door.kind is not SiteKind.PUBLIC:
        raise _bad(f"door: {read.door!r} is no public site of the estate")
    served_by = SiteId(read.served_by)
    if served_by not in estate.centres or served_by == site:
        raise _bad(f"served_by: {site} keeps the receipts of {estate.peer_of(site)}, not of {read.served_by!r}")
    unknown = sorted({system for _, _, system, _, _ in read.receipts if SystemId(system) not in estate.systems})
    if unknown:
        raise _bad(f"receipts: no system {', '.join(unknown)} in the estate")
    drops = tuple(Dropped(each.since, each.until, each.count) for each in read.drops)
    stream = Stream(read.stream, door.id, served_by, read.began_at, read.complete_until, read.closed, drops)
    receipts = tuple(
        Receipt(str(act), sha, SystemId(system), estate.systems[SystemId(system)].agency, served_by, epoch, acked_at)
        for act, sha, system, epoch, acked_at in read.receipts
    )
    return Batch(stream, receipts)


def _bad(why: str) -> NciaError:
    return NciaError("receipts.bad-batch", "take receipts", why, "see the receipts in docs/architecture.md")
