"""Which snapshots are kept: restic's policy in restic's words, and what an attacker with our key would play against it.

Snapshots of the same host and paths are judged together, the newest first. A rule gives places: to the newest of each
of so many hours, days, weeks. Whoever may write can write snapshots too, dated as they like; so what is in doubt takes
no place and is not removed either, the last proven copy stays whatever the rules say, and a plan that removes much at
once is not carried out before somebody has looked at it (decision 0020).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backup.repository.care.spans import Span
from backup.repository.format.snapshots import Snapshot
from ncia.core.base.errors import NciaError, Refusal

FUTURE = "dated in the future"
LAST_PROVEN = "last proven copy"
NO_RULE = "no rule keeps it"
LAST_OF_ALL = "last of its host and paths"
NONE = Span()
REMOVED_MIN = 3  # so many go without a question, however few there are
REMOVED_SHARE = 3  # else one in so many of a group


@dataclass(frozen=True)
class Policy:
    """restic's ``--keep-…`` options. Counts are of hours, days … that hold a snapshot; spans count back from the newest
    snapshot that is not in doubt, so that nothing ages out where backups have stopped. ``tags``: sets of which one has
    all."""

    last: int = 0
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0
    within: Span = NONE
    within_hourly: Span = NONE
    within_daily: Span = NONE
    within_weekly: Span = NONE
    within_monthly: Span = NONE
    within_yearly: Span = NONE
    tags: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Judged:
    """A snapshot, and why it is kept; ``otherwise``: why it is to be removed where nothing keeps it."""

    snapshot: Snapshot
    reasons: tuple[str, ...] = ()
    otherwise: str = NO_RULE

    @property
    def kept(self) -> bool:
        return bool(self.reasons)

    @property
    def why(self) -> str:
        """Of what is removed as well, for whoever writes it down."""
        return ", ".join(self.reasons) or self.otherwise


Period = Callable[[datetime, int], object]  # two snapshots of one period have the same

PERIODS: Mapping[str, Period] = {
    "last": lambda _, number: number,
    "hourly": lambda time, _: (time.date(), time.hour),
    "daily": lambda time, _: time.date(),
    "weekly": lambda time, _: time.isocalendar()[:2],
    "monthly": lambda time, _: (time.year, time.month),
    "yearly": lambda time, _: time.year,
}


@dataclass
class Rule:
    """One rule on its way through a group. ``left``: places; None of a rule that is bounded by ``after`` instead."""

    word: str
    period: Period
    left: int | None = None
    after: datetime | None = None
    before: object = None

    def keeps(self, time: datetime, number: int, oldest: bool) -> str:
        """Why, or nothing."""
        if self.left == 0 or (self.after is not None and time <= self.after):
            return ""
        period = self.period(time, number)
        if period == self.before and not oldest:
            return ""
        reason = f"oldest {self.word}" if period == self.before else self.word
        self.before = period
        if self.left is not None:
            self.left -= 1
        return reason


def judge(
    snapshots: Iterable[Snapshot],
    policy: Policy,
    now: datetime,
    proven: Collection[str] = (),
    doubtful: Mapping[str, str] | None = None,
) -> tuple[Judged, ...]:
    """All of them, group by group, the newest first. ``proven``: ids of which a restore was compared. ``doubtful``:
    ids, and why: what nobody expected, what has no tree."""
    if policy == Policy():
        why = "no rule says what to keep"
        raise NciaError("repository.no-policy", "forget snapshots", why, "such as --keep-daily 14 --keep-monthly 12")
    doubts = dict(doubtful or {})
    groups: dict[tuple[str, tuple[str, ...]], list[Snapshot]] = {}
    for each in snapshots:
        if each.time > now:
            doubts.setdefault(each.id, FUTURE)
        groups.setdefault((each.hostname, tuple(sorted(each.paths))), []).append(each)
    judged: list[Judged] = []
    for key in sorted(groups):
        ordered = sorted(groups[key], key=lambda each: (each.time, each.id), reverse=True)
        sure = [each for each in ordered if each.id not in doubts]
        reasons = _reasons(sure, policy)
        _keep_last(sure, reasons, proven)
        for each in ordered:
            doubt = doubts.get(each.id)
            judged.append(Judged(each, (f"takes no place: {doubt}",) if doubt else tuple(reasons[each.id])))
    return tuple(judged)


def demand_modest(judged: Iterable[Judged], removed_max: int | None = None) -> None:
    """Refuses a plan that removes more than a third of the snapshots of a host and paths, or where that is said more
    than ``removed_max`` in all: junk that takes all places, a clock that jumped and a mistyped rule look like that."""
    groups: dict[tuple[str, tuple[str, ...]], list[bool]] = {}
    for each in judged:
        key = (each.snapshot.hostname, tuple(sorted(each.snapshot.paths)))
        groups.setdefault(key, []).append(not each.kept)
    hint = "look at it with --dry-run, then say how many may go: --remove-max N"
    if removed_max is not None:
        count = sum(map(sum, groups.values()))
        if count > removed_max:
            why = f"{count} would go, and {removed_max} may"
            raise Refusal("repository.too-many", "forget snapshots", why, hint, "--remove-max N")
        return
    for (host, paths), removed in groups.items():
        if sum(removed) > max(REMOVED_MIN, len(removed) // REMOVED_SHARE):
            why = f"{sum(removed)} of {len(removed)} of {host} ({', '.join(paths)}) would go at once"
            raise Refusal("repository.too-many", "forget snapshots", why, hint, "--remove-max N")


def _reasons(ordered: Sequence[Snapshot], policy: Policy) -> dict[str, list[str]]:
    """Of each, by the rules alone."""
    latest = ordered[0].time if ordered else None
    rules = [Rule(f"{word} snapshot", PERIODS[word], left) for word in PERIODS if (left := getattr(policy, word))]
    if latest is not None:
        for word in tuple(PERIODS)[1:]:
            span: Span = getattr(policy, f"within_{word}")
            if span:
                rules.append(Rule(f"{word} within {span}", PERIODS[word], after=span.before(latest)))
    reasons: dict[str, list[str]] = {}
    for number, each in enumerate(ordered):
        found = [f"has tags [{', '.join(tags)}]" for tags in policy.tags if set(tags) <= set(each.tags)]
        if policy.within and latest is not None and each.time > policy.within.before(latest):
            found.append(f"within {policy.within}")
        oldest = number == len(ordered) - 1
        reasons[each.id] = found + [why for rule in rules if (why := rule.keeps(each.time, number, oldest))]
    return reasons


def _keep_last(ordered: Sequence[Snapshot], reasons: dict[str, list[str]], proven: Collection[str]) -> None:
    newest = next((each for each in ordered if each.id in proven), None)
    if newest is not None:
        reasons[newest.id].append(LAST_PROVEN)
    if ordered and not any(reasons.values()):
        reasons[ordered[0].id].append(LAST_OF_ALL)
