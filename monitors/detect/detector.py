"""From events to attacks: rules fire, correlations build on them, and what belongs together is one attack.

An attack is one rule and one group, from its first event until none came for the rule's quiet time. Its id derives from
what it is, so that telling it twice changes nothing. No clock, no file: the caller gives both.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from monitors.detect.correlate import Correlation, Match, correlation_of, group_of
from monitors.detect.examples import example, shown, user
from monitors.detect.rules import CountRule, EventRule, OrderRule, RuleSet, Told
from monitors.sources.event import MESSAGE, Event, Value
from ncia.core.base.clock import to_text

ATTACKS_MAX = 2_000
SOURCES_TOLD_MAX = 50  # attacks of one rule on one host that are told one by one; the others are counted
AGAIN_SECONDS = 30.0  # an attack that goes on is told again so often, or when it has doubled
SETTLED_SECONDS = 5.0  # and once more after so long without an event
TITLE_CHARACTERS_MAX, SENTENCE_CHARACTERS_MAX = 200, 800
NOBODY = "unknown"

_NAMED = re.compile(r"\{([a-z._]+)\}")


@dataclass(frozen=True)
class Signal:
    """An attack as it stands: told again it replaces what was told before. Times are RFC 3339."""

    id: str
    rule: str
    title: str
    level: str
    host: str
    entered: bool
    group: Mapping[str, str]
    sentence: str
    first_at: str
    last_at: str
    count: int
    examples: tuple[str, ...]
    quiet_seconds: float


@dataclass
class _Attack:
    told: Told
    group: Mapping[str, str]
    fields: Mapping[str, Value]
    first: float
    last: float
    run: str = ""
    before: int = 0  # events of earlier runs
    count: int = 0
    examples: tuple[str, ...] = ()
    said: int = 0  # the count that was told last
    said_at: float = 0.0
    untold: bool = False  # one too many of its kind


@dataclass
class Counts:
    """``matches`` of any rule; ``dropped``: groups and attacks that the bounds pushed out; ``untold``: attacks beyond
    those that are told one by one."""

    events: int = 0
    matches: int = 0
    dropped: int = 0
    untold: int = 0


@dataclass
class Detector:
    """``site`` is whose logs these are."""

    site: str
    rules: RuleSet
    counts: Counts = field(default_factory=Counts)

    def __post_init__(self) -> None:
        self._events: dict[str, list[EventRule]] = defaultdict(list)
        self._correlations: dict[str, Correlation] = {}
        self._above: dict[str, list[str]] = defaultdict(list)
        self._said: dict[str, Told] = {}
        self._attacks: OrderedDict[tuple[str, tuple[str, ...]], _Attack] = OrderedDict()
        self._news: set[tuple[str, tuple[str, ...]]] = set()
        self._needed: set[str] = {rule.told.id for rule in self.rules.rules if rule.told.tells}
        for rule in self.rules.rules:
            self._said[rule.told.id] = rule.told
            if isinstance(rule, EventRule):
                self._events[rule.kind].append(rule)
            elif isinstance(rule, CountRule | OrderRule):
                self._correlations[rule.told.id] = correlation_of(rule)
                for below in dict.fromkeys(rule.of):
                    self._above[below].append(rule.told.id)

    def take(self, kind: str, event: Event) -> None:
        """One event of a source of this kind."""
        self.counts.events += 1
        fields = event.fields
        for rule in self._events.get(kind, ()):
            if rule.test(fields):
                self.counts.matches += 1
                line = (example(str(fields.get(MESSAGE, ""))),)
                run = f"{event.at:.6f}/{self.counts.matches}"
                self._fired(rule.told.id, Match(fields, run, event.at, event.at, 1, line))

    def signals(self, now: float) -> tuple[Signal, ...]:
        """The attacks of which there is something to tell now."""
        told = []
        for key in sorted(self._news, key=lambda key: self._attacks[key].first):
            attack = self._attacks[key]
            fresh = attack.said == 0 or attack.count >= 2 * attack.said or now - attack.said_at >= AGAIN_SECONDS
            if not fresh and now - attack.last < SETTLED_SECONDS:
                continue
            self._news.discard(key)
            if attack.said == 0 and (attack.untold or self._crowded(key)):
                self.counts.untold += not attack.untold
                attack.untold = True
                continue
            attack.said, attack.said_at = attack.count, now
            told.append(self._signal(attack))
        return tuple(told)

    @property
    def dropped(self) -> int:
        return self.counts.dropped + sum(each.dropped for each in self._correlations.values())

    # --- what is kept over a restart -----------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        attacks = [
            [list(key), dict(a.group), _slim(a), a.first, a.last, a.run, a.before, a.count, list(a.examples), a.said]
            for key, a in self._attacks.items()
        ]
        correlations = {name: each.to_json() for name, each in self._correlations.items()}
        return {
            "rules": self.rules.hash,
            "correlations": correlations,
            "attacks": attacks,
            "matches": self.counts.matches,
        }

    def load(self, told: Mapping[str, Any]) -> None:
        """Go on where an earlier detector stopped. Of rules that changed since, nothing is taken over."""
        if told.get("rules") != self.rules.hash:
            return
        for name, known in told["correlations"].items():
            if name in self._correlations:
                self._correlations[name].load(known)
        for key, group, fields, first, last, run, before, count, examples, said in told["attacks"]:
            rule = self._said.get(key[0])
            if rule is not None:
                attack = _Attack(rule, group, fields, first, last, run, before, count, tuple(examples), said)
                self._attacks[key[0], tuple(key[1])] = attack
                if count > said:
                    self._news.add((key[0], tuple(key[1])))
        self.counts.matches = told["matches"]

    # --- within --------------------------------------------------------------------------------------------------

    def _fired(self, rule: str, match: Match) -> None:
        if rule in self._needed:
            self._attack(rule, match)
        for above in self._above.get(rule, ()):
            built = self._correlations[above].feed(rule, match)
            if built is not None:
                self._fired(above, built)

    def _attack(self, rule: str, match: Match) -> None:
        correlation = self._correlations.get(rule)
        names = correlation.rule.group if correlation else ("source.ip", "host.name", "service.name")
        group = group_of(match.fields, names) if correlation else tuple(str(match.fields.get(n, "")) for n in names)
        if group is None:
            return
        key = (rule, group)
        told = self._said[rule]
        attack = self._attacks.get(key)
        if attack is None or match.first > attack.last + told.quiet_seconds:
            shown_group = {name: shown(value) for name, value in zip(names, group, strict=True) if value}
            attack = self._attacks[key] = _Attack(told, shown_group, match.fields, match.first, match.last)
        if match.run != attack.run:
            attack.run, attack.before = match.run, attack.count
        attack.fields, attack.last = match.fields, max(attack.last, match.last)
        attack.count, attack.examples = attack.before + match.count, match.examples
        self._attacks.move_to_end(key)
        self._news.add(key)
        if len(self._attacks) > ATTACKS_MAX:
            oldest, _ = self._attacks.popitem(last=False)
            self._news.discard(oldest)
            self.counts.dropped += 1

    def _crowded(self, key: tuple[str, tuple[str, ...]]) -> bool:
        """Whether so many attacks of the rule on this host are told already that one more tells nobody anything."""
        host = _host(self._attacks[key])
        told = sum(1 for k, a in self._attacks.items() if k[0] == key[0] and a.said and _host(a) == host)
        return told >= SOURCES_TOLD_MAX

    def _signal(self, attack: _Attack) -> Signal:
        told = attack.told
        text = "|".join((self.site, told.id, *attack.group.values(), f"{attack.first:.6f}"))
        return Signal(
            id=f"finding-{hashlib.sha256(text.encode()).hexdigest()[:16]}",
            rule=told.id,
            title=told.title[:TITLE_CHARACTERS_MAX],
            level=told.level,
            host=_host(attack),
            entered=told.entered,
            group=attack.group,
            sentence=_sentence(attack)[:SENTENCE_CHARACTERS_MAX],
            first_at=_text(attack.first),
            last_at=_text(attack.last),
            count=attack.count,
            examples=attack.examples,
            quiet_seconds=told.quiet_seconds,
        )


def _host(attack: _Attack) -> str:
    """The host, or the service, that it is about: a word that can be part of a subject."""
    name = str(attack.fields.get("host.name") or attack.fields.get("service.name") or NOBODY)
    return re.sub(r"[^a-z0-9._-]", "-", name.lower())[:63]


def _sentence(attack: _Attack) -> str:
    """The rule's own words, filled in; its title and the group where it has none."""
    values = {
        **{name: str(value) for name, value in attack.fields.items() if name != MESSAGE},
        "count": str(attack.count),
        "seconds": f"{max(1, round(attack.last - attack.first))}",
    }
    if "user.name" in values:
        values["user.name"] = user(values["user.name"])
    if not attack.told.sentence:
        return f"{attack.told.title}: {', '.join(attack.group.values()) or _host(attack)}, {attack.count} times"
    return _NAMED.sub(lambda m: shown(values.get(m[1], NOBODY)), attack.told.sentence)


def _slim(attack: _Attack) -> dict[str, Value]:
    return {name: value for name, value in attack.fields.items() if name != MESSAGE}


def _text(at: float) -> str:
    return to_text(datetime.fromtimestamp(at, UTC))


def as_json(signals: Iterable[Signal]) -> list[dict[str, Any]]:
    return [{**vars(signal), "group": dict(signal.group), "examples": list(signal.examples)} for signal in signals]
