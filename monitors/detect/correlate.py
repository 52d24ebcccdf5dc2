"""Correlations: counting within a time span, and order. State is bounded, kept as JSON, and counts what it had to drop.

Times are the events' own. A group is the values of the rule's ``group-by`` fields; an event that lacks one of them
belongs to no group. The group that was quiet the longest goes first where there are too many.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitors.detect.conditions import Fields
from monitors.detect.rules import CountRule, OrderRule

GROUPS_MAX = 10_000  # per rule
EXAMPLES_MAX = 5

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """A rule that fired. Matches with one ``run`` count on: ``count`` is how many events it was so far."""

    fields: Fields
    run: str
    first: float
    last: float
    count: int
    examples: tuple[str, ...]


def group_of(fields: Fields, names: Sequence[str]) -> Group | None:
    found = []
    for name in names:
        value = fields.get(name)
        if value is None:
            return None
        found.append(str(value))
    return tuple(found)


@dataclass
class _Window:
    """Of one group: the newest times, as many as the rule counts to, and the run that goes on, if one does."""

    times: deque[float]
    examples: list[str]
    run: str = ""
    first: float = 0.0
    count: int = 0


class Counting:
    """``event_count`` of one rule."""

    def __init__(self, rule: CountRule) -> None:
        self.rule = rule
        self.dropped = 0
        self._groups: OrderedDict[Group, _Window] = OrderedDict()

    def feed(self, source: str, match: Match) -> Match | None:
        """Take one match of a rule that this one builds on; answers its own match where the count is reached."""
        group = group_of(match.fields, self.rule.group)
        if group is None:
            return None
        window = self._groups.get(group)
        if window is None:
            window = self._groups[group] = _Window(deque(maxlen=self.rule.count), [])
            if len(self._groups) > GROUPS_MAX:
                self._groups.popitem(last=False)
                self.dropped += 1
        else:
            self._groups.move_to_end(group)
        times = window.times
        while times and match.last - times[0] > self.rule.seconds:
            times.popleft()
        if not times:
            window.run, window.examples = "", []
        times.append(match.last)
        if len(window.examples) < EXAMPLES_MAX - 1:
            window.examples.extend(match.examples[:1])
        if len(times) < self.rule.count:
            window.run = ""
            return None
        if not window.run:
            window.run, window.first, window.count = f"{times[0]:.6f}", min(times), len(times) - 1
        window.count += 1
        return Match(match.fields, window.run, window.first, match.last, window.count, tuple(window.examples))

    def to_json(self) -> list[Any]:
        return [[list(group), list(w.times), w.examples, w.run, w.first, w.count] for group, w in self._groups.items()]

    def load(self, told: Sequence[Any]) -> None:
        for group, times, examples, run, first, count in told:
            window = _Window(deque(times, maxlen=self.rule.count), list(examples), run, first, count)
            self._groups[tuple(group)] = window


class Ordering:
    """``temporal_ordered`` of one rule: per group, how far each chain has come, and when it began."""

    def __init__(self, rule: OrderRule) -> None:
        self.rule = rule
        self.dropped = 0
        self._groups: OrderedDict[Group, list[Any]] = OrderedDict()  # per stage: None or the chain's state

    def feed(self, source: str, match: Match) -> Match | None:
        group = group_of(match.fields, self.rule.group)
        if group is None:
            return None
        stages = [number for number, rule in enumerate(self.rule.of) if rule == source]
        if group not in self._groups and 0 not in stages:
            return None  # nothing began: most logins never cost a group
        chain = self._groups.setdefault(group, [None] * (len(self.rule.of) - 1))
        self._groups.move_to_end(group)
        if len(self._groups) > GROUPS_MAX:
            self._groups.popitem(last=False)
            self.dropped += 1
        fired = None
        for stage in reversed(stages):  # one event is one step at most
            before = chain[stage - 1] if stage else None
            if stage == 0:
                chain[0] = [match.last, match.run, match.first, match.count, list(match.examples)]
            elif before is not None and 0 <= match.last - before[0] <= self.rule.seconds:
                began, run, first, count, examples = before
                told = (*examples[: EXAMPLES_MAX - 1], *match.examples[:1])
                if stage == len(self.rule.of) - 1:
                    fired = Match(match.fields, run, first, match.last, count, told)
                else:
                    chain[stage] = [began, run, first, count, list(told)]
        return fired

    def to_json(self) -> list[Any]:
        return [[list(group), chain] for group, chain in self._groups.items()]

    def load(self, told: Sequence[Any]) -> None:
        for group, chain in told:
            self._groups[tuple(group)] = chain


Correlation = Counting | Ordering


def correlation_of(rule: CountRule | OrderRule) -> Correlation:
    return Counting(rule) if isinstance(rule, CountRule) else Ordering(rule)
