"""Reading a folder of Sigma rules, and sorting out those that can never fire on this estate, each with the reason.

Beside Sigma's own words a rule may hold ``ncia:`` with ``sentence`` (what an incident says; ``{source.ip}``,
``{count}``, ``{seconds}`` are filled in), ``quiet`` (after so long without an event its finding is over), ``entered``
(somebody got in: it may explain what breaks on that host afterwards) and ``tell`` (it tells its own findings though
another rule builds on it). A rule that another builds on tells none of its own otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sigma.collection import SigmaCollection
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationTimespan,
    SigmaCorrelationType,
)
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule

from monitors.detect.conditions import CannotMatch, Test, compiled
from monitors.sources.event import Kind

QUIET_SECONDS = 900.0
LEVELS = ("informational", "low", "medium", "high", "critical")
SUFFIXES = ("*.yml", "*.yaml")
RULE_CHARACTERS_MAX = 256 * 1024


ParsedRule = SigmaRule | SigmaCorrelationRule


@dataclass(frozen=True)
class Told:
    """What every rule says about itself. ``id`` is the rule's UUID, or its name where it has none."""

    id: str
    title: str
    level: str
    tells: bool
    sentence: str
    quiet_seconds: float
    entered: bool


@dataclass(frozen=True)
class EventRule:
    told: Told
    kind: str  # the source whose events it looks at
    test: Test


@dataclass(frozen=True)
class CountRule:
    """``event_count``: at least ``count`` events of its rules with equal ``group`` within ``seconds``."""

    told: Told
    of: tuple[str, ...]
    group: tuple[str, ...]
    seconds: float
    count: int


@dataclass(frozen=True)
class OrderRule:
    """``temporal_ordered``: each of its rules in that order, with equal ``group``, all within ``seconds``."""

    told: Told
    of: tuple[str, ...]
    group: tuple[str, ...]
    seconds: float


Rule = EventRule | CountRule | OrderRule


@dataclass(frozen=True)
class Inactive:
    """A rule that can never fire here, and why."""

    id: str
    title: str
    level: str
    why: str


@dataclass(frozen=True)
class RuleSet:
    """``rules`` in an order in which each stands after those that it builds on; ``hash`` is that of their files."""

    rules: tuple[Rule, ...]
    inactive: tuple[Inactive, ...]
    hash: str


def load(folder: Path, kinds: Mapping[str, Kind]) -> RuleSet:
    """The rules of every file in ``folder`` for sources of these ``kinds``. A folder that is not there holds none.

    A file that is no Sigma is told as inactive like a rule that cannot fire: it must not stop the others.
    """
    parsed: list[ParsedRule] = []
    inactive: list[Inactive] = []
    digest = hashlib.sha256()
    for file in sorted({file for suffix in SUFFIXES for file in folder.glob(f"**/{suffix}")}):
        try:
            text = file.read_text(encoding="utf-8")
            if len(text) > RULE_CHARACTERS_MAX:
                raise ValueError(f"longer than {RULE_CHARACTERS_MAX} characters")
            documents = list(yaml.safe_load_all(text))
            if any(not isinstance(each, dict | None) for each in documents):
                raise ValueError("a rule is a mapping")
            parsed += SigmaCollection.from_dicts(documents, resolve_references=False).rules
        except (SigmaError, yaml.YAMLError, ValueError, OSError) as error:
            name = str(file.relative_to(folder))
            inactive.append(Inactive(name, name, "medium", f"the file is no Sigma rule: {_one_line(error)}"))
            continue
        digest.update(text.encode())
    return _sort(parsed, kinds, inactive, digest.hexdigest())


def _sort(parsed: list[ParsedRule], kinds: Mapping[str, Kind], inactive: list[Inactive], digest: str) -> RuleSet:
    unresolved = _resolve(parsed)
    built_on = {
        id(reference.rule)
        for rule in parsed
        if isinstance(rule, SigmaCorrelationRule) and id(rule) not in unresolved
        for reference in rule.rules or ()
    }
    active: dict[int, tuple[Rule, ...]] = {}  # by the parsed rule: an event rule may serve several sources
    for rule in _referenced_first(parsed, unresolved):
        told = _told(rule, id(rule) not in built_on)
        try:
            if id(rule) in unresolved:
                raise CannotMatch(unresolved[id(rule)])
            if isinstance(rule, SigmaCorrelationRule):
                active[id(rule)] = (_correlation(rule, told, active),)
            else:
                active[id(rule)] = _event_rules(rule, told, kinds)
        except CannotMatch as reason:
            inactive.append(Inactive(told.id, told.title, told.level, str(reason)))
    return RuleSet(tuple(rule for rules in active.values() for rule in rules), tuple(inactive), digest)


def _resolve(parsed: list[ParsedRule]) -> dict[int, str]:
    """Make the correlations know the rules that they name; answers those of which that is not possible, and why."""
    collection = SigmaCollection(list(parsed), resolve_references=False)
    unresolved = {}
    for rule in parsed:
        if isinstance(rule, SigmaCorrelationRule):
            try:
                rule.resolve_rule_references(collection)
            except SigmaError as error:
                unresolved[id(rule)] = _one_line(error)
    return unresolved


def _referenced_first(rules: list[ParsedRule], unresolved: Mapping[int, str]) -> list[ParsedRule]:
    found: list[ParsedRule] = []

    def place(rule: ParsedRule, above: tuple[int, ...] = ()) -> None:
        if any(rule is each for each in found) or id(rule) in above:
            return
        if isinstance(rule, SigmaCorrelationRule) and id(rule) not in unresolved:
            for reference in rule.rules or ():
                place(reference.rule, (*above, id(rule)))
        found.append(rule)

    for rule in rules:
        place(rule)
    return found


def _told(rule: SigmaRule | SigmaCorrelationRule, stands_alone: bool) -> Told:
    own = (rule.custom_attributes or {}).get("ncia") or {}
    level = str(rule.level) if rule.level else "medium"
    return Told(
        id=str(rule.id or rule.name or rule.title),
        title=rule.title,
        level=level if level in LEVELS else "medium",
        tells=bool(own.get("tell", stands_alone)),
        sentence=str(own.get("sentence", "")),
        quiet_seconds=float(SigmaCorrelationTimespan(own["quiet"]).seconds) if "quiet" in own else QUIET_SECONDS,
        entered=own.get("entered") is True,
    )


def _event_rules(rule: SigmaRule, told: Told, kinds: Mapping[str, Kind]) -> tuple[EventRule, ...]:
    source = rule.logsource
    asked = ", ".join(
        f"{name} {value}" for name in ("product", "category", "service") if (value := getattr(source, name))
    )
    serving = [kind for kind in kinds.values() if kind.serves(source.product, source.category, source.service)]
    if not serving:
        raise CannotMatch(f"no log source here is {asked}")
    if rule.errors:
        raise CannotMatch(_one_line(rule.errors[0]))
    try:
        trees = [condition.parsed for condition in rule.detection.parsed_condition]
    except SigmaError as error:
        raise CannotMatch(_one_line(error)) from error
    found, reasons = [], []
    for kind in serving:
        for tree in trees:
            try:
                found.append(EventRule(told, kind.name, compiled(tree, kind.fields, kind.synonyms)))
            except CannotMatch as reason:
                reasons.append(str(reason))
    if not found:
        raise CannotMatch(reasons[0])
    return tuple(found)


def _correlation(
    rule: SigmaCorrelationRule, told: Told, active: Mapping[int, tuple[Rule, ...]]
) -> CountRule | OrderRule:
    if rule.errors:
        raise CannotMatch(_one_line(rule.errors[0]))
    referenced = [reference.rule for reference in rule.rules or ()]
    lacking = [each.title for each in referenced if id(each) not in active]
    if lacking:
        raise CannotMatch(f"it builds on {lacking[0]!r}, which can never fire here")
    if len(rule.aliases):
        raise CannotMatch("field aliases are not supported")
    of = tuple(active[id(each)][0].told.id for each in referenced)
    group, seconds = tuple(rule.group_by or ()), float(rule.timespan.seconds)
    for each in referenced:
        grouped = next((r.group for r in active[id(each)] if isinstance(r, CountRule | OrderRule)), None)
        missing = [] if grouped is None else [field for field in group if field not in grouped]
        if missing:
            raise CannotMatch(f"it groups by {missing[0]}, by which {each.title!r} does not")
    if rule.type is SigmaCorrelationType.TEMPORAL_ORDERED and len(of) > 1:
        return OrderRule(told, of, group, seconds)
    if rule.type is not SigmaCorrelationType.EVENT_COUNT or not of:
        raise CannotMatch(f"correlations of the type {rule.type.name.lower()} are not supported")
    return CountRule(told, of, group, seconds, _threshold(rule.condition))


def _threshold(condition: Any) -> int:
    if isinstance(condition, SigmaCorrelationCondition):
        if condition.op is SigmaCorrelationConditionOperator.GTE:
            return max(1, int(condition.count))
        if condition.op is SigmaCorrelationConditionOperator.GT:
            return int(condition.count) + 1
    raise CannotMatch("of its conditions only gte and gt are supported")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
