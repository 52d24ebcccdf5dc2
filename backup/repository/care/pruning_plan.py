"""Which packs go, which are written anew without what nobody needs, which come back: values in, values out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True)
class Held:
    """A pack that an index names: how many blobs it has and how many bytes they take, sealed; how much is needed."""

    blobs: int
    bytes: int
    used_blobs: int = 0
    used_bytes: int = 0


@dataclass(frozen=True)
class Spare:
    """A pack that is not counted on: ``marked`` says since when, or it is in no index at all. ``used``: it alone holds
    something that is needed."""

    used: bool
    marked: datetime | None


@dataclass(frozen=True)
class Plan:
    """``unused``: to be marked. ``repack``: what is needed of them is copied, then they are marked too. Of the spare
    ones ``back`` are needed after all, ``over`` are removed, ``again`` are marked from now on; the others wait."""

    unused: frozenset[bytes]
    repack: frozenset[bytes]
    back: frozenset[bytes]
    over: frozenset[bytes]
    again: frozenset[bytes]

    @property
    def leaving(self) -> frozenset[bytes]:
        """No longer counted on."""
        return self.unused | self.repack

    @property
    def changing(self) -> frozenset[bytes]:
        """Of which an index has to say something else."""
        return self.leaving | self.back | self.over | self.again


def plan_of(
    held: Mapping[bytes, Held],
    spare: Mapping[bytes, Spare],
    now: datetime,
    grace: timedelta,
    unused_share: float,
) -> Plan:
    """``unused_share``: how much of what is left may be needed by nobody, in packs that are needed in part. A mark that
    is dated ahead tells of a clock that went wrong: its time begins anew."""
    unused = {pack for pack, each in held.items() if not each.used_blobs}
    back = {pack for pack, each in spare.items() if each.used}
    again, over = set(), set()
    for pack, each in spare.items():
        if each.used:
            continue
        since = each.marked if each.marked is not None and each.marked <= now else None
        if grace <= timedelta(0) or (since is not None and since + grace <= now):
            over.add(pack)
        elif since is None:
            again.add(pack)
    repack = _repacked(held, unused_share)
    return Plan(frozenset(unused), frozenset(repack), frozenset(back), frozenset(over), frozenset(again))


def _repacked(held: Mapping[bytes, Held], unused_share: float) -> Iterable[bytes]:
    """Those with the most of what nobody needs, until the rest is little enough."""
    partly = {pack: each for pack, each in held.items() if 0 < each.used_blobs < each.blobs}
    left = sum(each.bytes - each.used_bytes for each in partly.values())
    used = sum(each.used_bytes for each in held.values())
    allowed = used * unused_share / (1 - unused_share) if unused_share < 1 else float("inf")
    for pack, each in sorted(partly.items(), key=lambda pair: (pair[1].used_bytes / pair[1].bytes, pair[0])):
        if left <= allowed:
            return
        left -= each.bytes - each.used_bytes
        yield pack
