"""What ``ncia repo`` asks of two repositories: backups into both, copies and mending from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from backup.repository.format.snapshots import ANY, Narrowing, chosen, demand_read, narrowed
from backup.repository.locks import Lock, Patience
from backup.repository.ports import Kind, Store
from backup.repository.repository import Repository
from backup.repository.retaining import Retaining
from ncia.app.interrupts import hurried
from ncia.app.repository import CLOCK, Access, Answer, Tell, extended, holder, retained_as
from ncia.app.repository_backup import Wanted, exclusions_asked, request_of, saved_told, told_of
from ncia.app.repository_store import store_of
from ncia.core.base.errors import Refusal

if TYPE_CHECKING:
    from backup.repository.save.saving import Request
    from backup.repository.stores.both import Both


def copy(access: Access, to: Access, words: Sequence[str], tell: Tell, narrowing: Narrowing = ANY) -> Answer:
    """``words``: the beginnings of snapshots' ids; without any, and where nothing narrows it, everything."""
    from backup.repository.care.copying import Copied, Copying, twins
    from backup.repository.care.copying_blobs import CopyingBlobs

    def heard(copied: Copied) -> None:
        tell(copied.packs, copied.bytes, copied.bytes_all)

    with access.opened(locked=True) as one, to.opened() as other:
        alike = twins(one, other)
        known = one.snapshots() if words or narrowing != ANY or not alike else []
        for word in words:
            demand_read(one.unread, word)
        wanted = [chosen(known, word, narrowing) for word in dict.fromkeys(words)] if words else None
        if wanted is None and narrowing != ANY:
            wanted = narrowed(known, narrowing)
        with Lock(other, holder(), CLOCK, patience=to.patience) as lock:
            if alike:
                copied = Copying(one, other, lock.demand, heard).run(wanted)
            else:
                one.load_index()
                other.load_index()
                copied = CopyingBlobs(one, other, lock.demand, heard).run(known if wanted is None else wanted)
        damaged = dict.fromkeys([*one.damaged, *other.damaged])
    return {**asdict(copied), "twin": alike, "partial": copied.partial or bool(damaged), "damaged": [*damaged]}


@dataclass(frozen=True)
class Mending:
    """What a repair is asked for. ``share``: which part of how many of the packs are read; None: those alone that have
    another length. ``snapshots``: make new ones without what is lost; ``forget``: the old ones go."""

    share: tuple[int, int] | None = (1, 1)
    dry_run: bool = False
    snapshots: bool = False
    forget: bool = False


def repair(access: Access, source: Access | None, mending: Mending, tell: Tell) -> Answer:
    """``source``: the twin, where there is one."""
    from backup.repository.care.rehearsing import Rehearsing
    from backup.repository.care.repairing_access import Opening

    password, store = access.password(), store_of(access.url)
    try:
        with hurried(store), source.opened(locked=True) if source else nullcontext() as twin:
            if mending.dry_run:
                store = Rehearsing(store, twin.store if twin else None)
            opening = Opening(store, password, twin)
            repository = opening.run(holder(), CLOCK.now())
            told = _repair(repository, twin, mending, access.patience, tell)
            told["mended"] = [*opening.mended, *told["mended"]]
            told["lost"] = [*opening.lost, *told["lost"]]
            told["lost_count"] += len(opening.lost)
            return {**told, "dry_run": mending.dry_run, "partial": bool(told["lost"])}
    finally:
        store.close()


def _repair(
    repository: Repository, twin: Repository | None, mending: Mending, patience: Patience, tell: Tell
) -> Answer:
    from backup.repository.care.checking import STRUCTURE_ONLY, Share
    from backup.repository.care.copying import twins
    from backup.repository.care.repairing import Repaired, Repairing
    from backup.repository.care.repairing_snapshots import Rewriting

    if twin is not None and not twins(repository, twin):
        why = "the other one has another key: its files are none of this one's"
        raise Refusal("repository.no-twin", "mend a repository from the other place", why, "name its twin")

    def heard(repaired: Repaired) -> None:
        done, whole = repaired.bytes_read + repaired.bytes_brought, repaired.bytes + repaired.bytes_to_bring
        tell(repaired.packs, done, whole)

    share = Share(*mending.share) if mending.share else STRUCTURE_ONLY
    with Lock(repository, holder(), CLOCK, exclusive=True, patience=patience) as lock:
        told: Answer = asdict(Repairing(repository, twin, lock.demand, share, heard).run())
        if mending.snapshots:
            fresh = Repository(repository.store, repository.key, repository.config)
            fresh.load_index()
            told["rewritten"] = asdict(Rewriting(fresh, lock.demand).run(mending.forget))
    return told


def backup(access: Access, also: Access, wanted: Wanted, tell: Tell, watched: bool = False) -> Answer:
    """Into two places at once. ``places`` tells at which of them it is whole; where one was given up, be it the first
    and from the beginning, it is partial."""
    from backup.repository.stores.both import WAIT_SECONDS, Both, Side

    request = request_of(access, wanted, exclusions_asked(wanted.leave_out))
    passwords = {access.url: access.password, also.url: also.password}
    sides = (Side(store_of(access.url), access.url), Side(store_of(also.url), also.url))
    both = Both(sides, wanted.wait_seconds or WAIT_SECONDS)
    try:
        with hurried(*(side.store for side in sides)):
            return _saved_at(both, both.opened(passwords), request, tell, watched)
    finally:
        both.close()


def _saved_at(both: Both, repository: Repository, request: Request, tell: Tell, watched: bool) -> Answer:
    from backup.repository.save.saving import save

    apart = both.apart(Kind.INDEX)
    with told_of(request, tell, watched) as hear_figures:
        saved = save(repository, request, CLOCK, hear_figures)
    places = [
        {
            "url": each.where,
            "whole": both.has(each, Kind.SNAPSHOTS, saved.snapshot.id),
            "why": each.fault,
            "retained": None if each.fault else retained_as(each.store),
            "extended": 0 if each.fault else _extended(each.store, repository),
        }
        for each in both.sides
    ]
    told = saved_told(repository, saved, request.verify)
    whole = all(place["whole"] for place in places)
    return {**told, "partial": saved.partial or not whole, "places": places, "apart": apart}


def _extended(store: Store, opened: Repository) -> int:
    """At one of the places: what its own indexes name is kept from losing its retention."""
    if not isinstance(store, Retaining):
        return 0
    there = Repository(store, opened.key, opened.config)
    there.load_index()
    return extended(there)
