"""The loss report: which acknowledged acts the surviving rows do not hold, by agency, and what nobody can name. Pure.

A *receipt* is the mark of one acknowledged act, kept at the site that did not serve it. What a front door told of its
receipts is a *stream*: it vouches for all that it acknowledged from ``began_at`` to ``complete_until``. Time that no
stream vouches for is *unnamed*: acts may be lost there that no list holds, and the report says so in red.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from ncia.core.base.clock import to_text
from ncia.core.base.ids import AgencyId, SiteId, SystemId
from ncia.core.estate import Estate


@dataclass(frozen=True)
class Receipt:
    """An act that a citizen was told is done: served by ``site`` under ``epoch``, its content by SHA-256 (hex)."""

    act: str  # a UUID
    content_sha256: str
    system: SystemId
    agency: AgencyId
    site: SiteId
    epoch: int
    acked_at: datetime


@dataclass(frozen=True)
class Dropped:
    """Receipts that a full spool let go of: acknowledged in that time, and nobody can name them."""

    since: datetime
    until: datetime
    count: int


@dataclass(frozen=True)
class Stream:
    """What one door told of the acts that ``served_by`` served. ``closed``: it acknowledges nothing any more."""

    id: str
    door: SiteId
    served_by: SiteId
    began_at: datetime
    complete_until: datetime
    closed: bool = False
    drops: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What the active database of a system holds of the acts asked for: their content's hash by act.

    ``why``: it could not be asked; then nothing is known of any of them.
    """

    site: SiteId
    hashes: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Question:
    """Receipts of acts that ``lost_site`` served for ``systems`` in a time; ``run`` empty where none was named."""

    lost_site: SiteId
    systems: tuple[SystemId, ...]
    since: datetime
    until: datetime
    run: str = ""
    agency: AgencyId | None = None


@dataclass(frozen=True)
class LostAct:
    id: str
    system: str
    acked_at: str
    content_sha256: str


@dataclass(frozen=True)
class AlteredAct:
    """The rows give another content than was acknowledged."""

    id: str
    system: str
    acked_at: str
    content_sha256: str
    found_sha256: str


@dataclass(frozen=True)
class AgencyLoss:
    """``receipts``: how many acknowledged acts were looked for."""

    agency: str
    name: str
    receipts: int
    lost: tuple[LostAct, ...]
    altered: tuple[AlteredAct, ...]


@dataclass(frozen=True)
class Unnamed:
    """Loss may be unnamed in that time. ``dropped``: so many receipts at least; None: nobody counted."""

    since: str
    until: str
    dropped: int | None
    why: str


@dataclass(frozen=True)
class Uncompared:
    """A system whose active rows could not be asked: of so many acts nothing is known."""

    system: str
    receipts: int
    why: str


@dataclass(frozen=True)
class LossReport:
    """``list_sha256``: see :func:`list_hash`. ``entry``: the journal entry that holds it, as ``site#number``."""

    site: str  # who held the receipts and compared
    lost_site: str
    run: str
    agency: str  # empty: all
    since: str
    until: str
    as_of: str
    systems: tuple[str, ...]
    receipts: int
    lost: int
    altered: int
    agencies: tuple[AgencyLoss, ...]
    uncompared: tuple[Uncompared, ...]
    unnamed: tuple[Unnamed, ...]
    list_sha256: str
    entry: str = ""

    @property
    def proven(self) -> bool:
        """Everything that was acknowledged could be named and looked for."""
        return not self.unnamed and not self.uncompared

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def loss_report(
    site: SiteId,
    estate: Estate,
    question: Question,
    receipts: Iterable[Receipt],
    compared: Mapping[SystemId, Compared],
    unnamed: Sequence[Unnamed],
    now: datetime,
) -> LossReport:
    """Every receipt of the question against what the active rows hold, by agency."""
    counted: dict[str, int] = {}
    lost: dict[str, list[LostAct]] = defaultdict(list)
    altered: dict[str, list[AlteredAct]] = defaultdict(list)
    unasked: dict[str, int] = defaultdict(int)
    for receipt in sorted(receipts, key=lambda r: (r.system, r.acked_at, r.act)):
        rows = compared[receipt.system]
        if rows.why:
            unasked[receipt.system] += 1
            continue
        counted[receipt.agency] = counted.get(receipt.agency, 0) + 1
        found = rows.hashes.get(receipt.act)
        told = (receipt.act, str(receipt.system), to_text(receipt.acked_at), receipt.content_sha256)
        if found is None:
            lost[receipt.agency].append(LostAct(*told))
        elif found != receipt.content_sha256:
            altered[receipt.agency].append(AlteredAct(*told, found))
    agencies = tuple(
        AgencyLoss(agency, _name(estate, agency), count, tuple(lost[agency]), tuple(altered[agency]))
        for agency, count in sorted(counted.items(), key=lambda each: (-len(lost[each[0]]), each[0]))
    )
    asked = [(system, rows.why) for system, rows in sorted(compared.items()) if rows.why]
    return LossReport(
        site=site,
        lost_site=question.lost_site,
        run=question.run,
        agency=question.agency or "",
        since=to_text(question.since),
        until=to_text(question.until),
        as_of=to_text(now),
        systems=tuple(sorted(question.systems)),
        receipts=sum(counted.values()) + sum(unasked.values()),
        lost=sum(len(each.lost) for each in agencies),
        altered=sum(len(each.altered) for each in agencies),
        agencies=agencies,
        uncompared=tuple(Uncompared(system, unasked[system], why) for system, why in asked),
        unnamed=tuple(unnamed),
        list_sha256=list_hash(agencies),
    )


def list_hash(agencies: Iterable[AgencyLoss]) -> str:
    """SHA-256 (hex) of the list: one line ``lost|altered <system> <act> <acked_at> <content_sha256>`` each, sorted.

    Whoever holds the report can make it anew with ``sort`` and ``sha256sum``.
    """
    lines = [
        f"{kind} {act.system} {act.id} {act.acked_at} {act.content_sha256}\n"
        for agency in agencies
        for kind, acts in (("lost", agency.lost), ("altered", agency.altered))
        for act in acts
    ]
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def unnamed_of(streams: Sequence[Stream], since: datetime, until: datetime) -> tuple[Unnamed, ...]:
    """The time between ``since`` and ``until`` for which a door does not vouch, and what spools let go of.

    A door that closed vouches on until its next stream begins: it acknowledged nothing meanwhile.
    """
    if until <= since:
        return ()
    if not streams:
        return (_unnamed(since, until, None, "no front door ever told of its receipts"),)
    found = []
    for door in sorted({stream.door for stream in streams}):
        own = sorted((s for s in streams if s.door == door), key=lambda s: s.began_at)
        reach = since
        for stream, following in zip(own, [*own[1:], None], strict=True):
            if stream.began_at > reach:
                found.append(_unnamed(reach, min(stream.began_at, until), None, f"{door} vouches for nothing there"))
            end = stream.complete_until
            if stream.closed:
                end = until if following is None else following.began_at
            reach = max(reach, end)
            if reach >= until:
                break
        if reach < until:
            found.append(_unnamed(reach, until, None, f"{door} was not heard since"))
        found += [
            _unnamed(drop.since, drop.until, drop.count, f"{door} could keep no more receipts")
            for stream in own
            for drop in stream.drops
            if drop.since < until and drop.until >= since
        ]
    return tuple(each for each in found if each.since <= each.until)


def vouched_since(streams: Sequence[Stream]) -> datetime | None:
    """Since when every door that is known tells of its receipts."""
    first: dict[SiteId, datetime] = {}
    for stream in streams:
        first[stream.door] = min(first.get(stream.door, stream.began_at), stream.began_at)
    return max(first.values(), default=None)


def _unnamed(since: datetime, until: datetime, dropped: int | None, why: str) -> Unnamed:
    return Unnamed(to_text(since), to_text(until), dropped, why)


def _name(estate: Estate, agency: str) -> str:
    found = estate.agencies.get(AgencyId(agency))
    return found.name if found else agency
