"""`ncia repo forget` and `prune`: snapshots judged by a policy and removed, and then what they alone needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from backup.repository.care.forgetting import Judged, Policy, demand_modest, judge
from backup.repository.care.removal import alone, forget, hollow
from backup.repository.care.spans import span_of
from backup.repository.format.snapshots import ANY, Narrowing, Snapshot, chosen, demand_read, narrowed, tags_in
from backup.repository.repository import Repository
from ncia.app.repository import CLOCK, Access, Answer, holder, snapshot_told
from ncia.core.base.errors import NciaError, Refusal

SAID_MAX = 500
SAID_LINES = 12


def policy_of(counts: Mapping[str, int], spans: Mapping[str, str], tags: Sequence[str]) -> Policy:
    """``counts`` by rule, ``spans`` as restic writes them, ``tags``: each a list with commas."""
    told: dict[str, Any] = {**counts, **{word: span_of(text) for word, text in spans.items() if text}}
    return Policy(**told, tags=tuple(map(tags_in, tags)))


def forget_by(
    access: Access,
    policy: Policy,
    words: Sequence[str],
    proven: Sequence[str],
    removed_max: int | None,
    dry: bool,
    narrowing: Narrowing = ANY,
) -> Answer:
    """By ``policy``; or those that ``words`` name. ``proven``: beginnings of ids. Of those alone that ``narrowing``
    leaves; no other one is told of."""
    with access.opened() as repository:
        repository.load_index()
        if dry:
            judged = _judged(repository, policy, words, proven, narrowing)
            return _told(judged, repository, ()) | {"refusal": "" if words else _refusal(judged, removed_max)}
        with alone(repository, holder(), CLOCK, access.patience) as lock:
            judged = _judged(repository, policy, words, proven, narrowing)
            if not words:
                demand_modest(judged, removed_max)
            return _told(judged, repository, forget(repository, lock, judged))


def prune_by_restic(access: Access, grace: str, unused_percent: float) -> Answer:
    """restic's own, under the exclusive lock that it takes itself: it and we keep each other's."""
    what = f"prune {access.url} by restic"
    if span_of(grace):
        why = "restic removes at once what nobody needs, and what is marked with it"
        raise Refusal("repository.no-grace", what, why, "--engine ncia has a time of grace", "--grace 0h")
    program = shutil.which("restic")
    if program is None:
        raise NciaError("repository.no-restic", what, "restic is not on PATH", "--engine ncia needs none")
    words = ["--no-cache", "prune", "--max-unused", f"{unused_percent}%"]
    if access.retry_lock:
        words += ["--retry-lock", access.retry_lock]
    command = [program, "-r", access.url, "--password-file", str(access.password_file), *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode:
        why = f"restic ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-SAID_MAX:]}"
        raise NciaError("repository.restic-failed", what, why, "ncia repo check tells what is there")
    return {"engine": "restic", "said": done.stdout.strip().splitlines()[-SAID_LINES:]}


def prune(
    access: Access, grace: str, unused_percent: float, dry: bool, empty: bool, tell: Callable[[str, int, int], None]
) -> Answer:
    """``grace``: how long what nobody needs is marked before it is removed. In an exclusive lock, but to look. ``tell``
    hears what is done just now, how much of it, and of how much."""
    from backup.repository.care.pruning import Wish, rehearse
    from backup.repository.care.pruning import prune as pruned

    now = CLOCK.now()
    wish = Wish(now - span_of(grace).before(now), unused_percent / 100, empty)
    with access.opened() as repository:
        if dry:
            return {"engine": "ncia"} | asdict(rehearse(repository, now, wish, tell))
        with alone(repository, holder(), CLOCK, access.patience) as lock:
            return {"engine": "ncia"} | asdict(pruned(repository, lock, CLOCK.now(), wish, tell))


def _refusal(judged: Sequence[Judged], removed_max: int | None) -> str:
    try:
        demand_modest(judged, removed_max)
    except Refusal as refusal:
        return f"{refusal.why} (try: {refusal.hint})"
    return ""


def _judged(
    repository: Repository, policy: Policy, words: Sequence[str], proven: Sequence[str], narrowing: Narrowing
) -> tuple[Judged, ...]:
    known = repository.snapshots()
    for word in (*words, *proven):
        demand_read(repository.unread, word)
    sure = frozenset(chosen(known, word).id for word in proven)
    found = narrowed(known, narrowing)
    if not words:
        return judge(found, policy, CLOCK.now(), sure, hollow(repository, found))
    over = {chosen(known, word, narrowing).id for word in words}
    if over & sure:
        named = ", ".join(sorted(each[:8] for each in over & sure))
        raise Refusal("repository.last-proven", "forget snapshots", f"{named} is told to be a proven copy")
    return tuple(Judged(each, () if each.id in over else ("not asked for",), "asked for by its id") for each in found)


def _told(judged: Sequence[Judged], repository: Repository, removed: Sequence[Snapshot]) -> Answer:
    return {
        "snapshots": [
            {**snapshot_told(each.snapshot), "kept": each.kept, "reasons": each.reasons, "why": each.why}
            for each in judged
        ],
        "removed": [each.id for each in removed],
        "damaged": repository.damaged,
    }
