"""`ncia repo forget`: snapshots judged by a policy and removed, as whoever keeps the repository asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from backup.repository.forgetting import Judged, Policy, demand_modest, judge
from backup.repository.removal import alone, forget, hollow
from backup.repository.repository import Repository
from backup.repository.snapshots import Snapshot, chosen
from backup.repository.spans import span_of
from ncia.app.repository import CLOCK, Access, Answer, holder, snapshot_told
from ncia.core.base.errors import Refusal


def policy_of(counts: Mapping[str, int], spans: Mapping[str, str], tags: Sequence[str]) -> Policy:
    """``counts`` by rule, ``spans`` as restic writes them, ``tags``: each a list with commas."""
    told: dict[str, Any] = {**counts, **{word: span_of(text) for word, text in spans.items() if text}}
    return Policy(**told, tags=tuple(tuple(each.split(",")) for each in tags))


def forget_by(
    access: Access, policy: Policy, words: Sequence[str], proven: Sequence[str], removed_max: int | None, dry: bool
) -> Answer:
    """By ``policy``; or those that ``words`` name. ``proven``: beginnings of ids."""
    with access.opened() as repository:
        repository.load_index()
        if dry:
            return _told(_judged(repository, policy, words, proven), repository, ())
        with alone(repository, holder(), CLOCK) as lock:
            judged = _judged(repository, policy, words, proven)
            if not words:
                demand_modest(judged, removed_max)
            return _told(judged, repository, forget(repository, lock, judged))


def _judged(repository: Repository, policy: Policy, words: Sequence[str], proven: Sequence[str]) -> tuple[Judged, ...]:
    found = repository.snapshots()
    sure = frozenset(chosen(found, word).id for word in proven)
    if not words:
        return judge(found, policy, CLOCK.now(), sure, hollow(repository, found))
    over = {chosen(found, word).id for word in words}
    if over & sure:
        named = ", ".join(sorted(each[:8] for each in over & sure))
        raise Refusal("repository.last-proven", "forget snapshots", f"{named} is told to be a proven copy")
    return tuple(Judged(each, () if each.id in over else ("not asked for",)) for each in found)


def _told(judged: Sequence[Judged], repository: Repository, removed: Sequence[Snapshot]) -> Answer:
    return {
        "snapshots": [{**snapshot_told(each.snapshot), "kept": each.kept, "reasons": each.reasons} for each in judged],
        "removed": [each.id for each in removed],
        "damaged": repository.damaged,
    }
