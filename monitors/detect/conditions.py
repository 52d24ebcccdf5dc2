"""A Sigma condition as one closure over an event's fields. Pure.

pySigma has parsed the rule and applied its modifiers; here its tree becomes nested functions. What this estate's
events cannot hold is found at the same time: a condition that needs a field which no event has can never be true.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SpecialChars,
)

from monitors.sources.event import MESSAGE, Value

Fields = Mapping[str, Value]
Test = Callable[[Fields], bool]
FLAGS = {
    SigmaRegularExpressionFlag.IGNORECASE: re.IGNORECASE,
    SigmaRegularExpressionFlag.MULTILINE: re.MULTILINE,
    SigmaRegularExpressionFlag.DOTALL: re.DOTALL,
}
COMPARE: Mapping[CompareOperators, Callable[[float, float], bool]] = {
    CompareOperators.LT: lambda a, b: a < b,
    CompareOperators.LTE: lambda a, b: a <= b,
    CompareOperators.GT: lambda a, b: a > b,
    CompareOperators.GTE: lambda a, b: a >= b,
}


class CannotMatch(Exception):
    """The condition can never be true here, or cannot be decided here; the text says why."""


def compiled(tree: Any, known: frozenset[str], synonyms: Mapping[str, str]) -> Test:
    """The test of a parsed condition; raises :class:`CannotMatch`.

    ``known`` are the fields that events of this source may hold; ``synonyms`` other names for them.
    """
    test = _node(tree, known, synonyms)
    if isinstance(test, _Never):
        raise CannotMatch(test.why)
    return test


class _Never:
    """A part that cannot be true, and why."""

    def __init__(self, why: str) -> None:
        self.why = why


def _node(node: Any, known: frozenset[str], synonyms: Mapping[str, str]) -> Test | _Never:
    match node:
        case ConditionAND():
            return _all([_node(arg, known, synonyms) for arg in node.args])
        case ConditionOR():
            return _any([_node(arg, known, synonyms) for arg in node.args])
        case ConditionNOT():
            inner = _node(node.args[0], known, synonyms)
            if isinstance(inner, _Never):  # to leave it out would silently widen the rule
                raise CannotMatch(f"its exception cannot be decided here: {inner.why}")
            return _not(inner)
        case ConditionFieldEqualsValueExpression():
            field = synonyms.get(node.field, node.field)
            if field not in known:
                return _Never(f"no event here has the field {node.field}")
            return _field(field, _value(node.value))
        case ConditionValueExpression():
            return _field(MESSAGE, _value(_anywhere(node.value)))
    raise CannotMatch(f"a condition of the kind {type(node).__name__} is not supported")


def _all(parts: list[Test | _Never]) -> Test | _Never:
    never = next((part for part in parts if isinstance(part, _Never)), None)
    if never is not None:
        return never
    tests = tuple(part for part in parts if not isinstance(part, _Never))
    if len(tests) == 2:
        first, second = tests
        return lambda fields: first(fields) and second(fields)
    return lambda fields: all(test(fields) for test in tests)


def _any(parts: list[Test | _Never]) -> Test | _Never:
    tests = tuple(part for part in parts if not isinstance(part, _Never))
    if not tests:
        return next(part for part in parts if isinstance(part, _Never))
    if len(tests) == 1:
        return tests[0]
    return lambda fields: any(test(fields) for test in tests)


def _not(inner: Test) -> Test:
    return lambda fields: not inner(fields)


Check = Callable[[Value | None], bool]


def _field(field: str, check: Check) -> Test:
    return lambda fields: check(fields.get(field))


def _value(value: Any) -> Check:
    match value:
        case SigmaString():
            return _text(value)
        case SigmaNumber():
            number = float(value.number)
            return lambda found: _number(found) == number
        case SigmaBool():
            word = str(value.boolean).lower()
            return lambda found: str(found).lower() == word
        case SigmaNull():
            return lambda found: found is None
        case SigmaExists():
            wanted = bool(value.exists)
            return lambda found: (found is not None) is wanted
        case SigmaCIDRExpression():
            return _network(value.cidr)
        case SigmaCompareExpression() if isinstance(value.number, SigmaNumber) and value.op in COMPARE:
            limit, compare = float(value.number.number), COMPARE[value.op]
            return lambda found: (number := _number(found)) is not None and compare(number, limit)
        case SigmaRegularExpression():
            return _regex(value)
    raise CannotMatch(f"values of the kind {type(value).__name__} are not supported")


def _text(value: SigmaString) -> Check:
    """Equal, or by wildcards; in any case of letters unless the rule says ``cased``."""
    cased = isinstance(value, SigmaCasedString)
    parts = tuple(value.s)
    if any(isinstance(part, Placeholder) for part in parts):
        raise CannotMatch("a placeholder in it has no value here")
    texts = [part if cased else part.lower() for part in parts if isinstance(part, str)]
    shape = "".join("x" if isinstance(part, str) else "*" if _many(part) else "?" for part in parts)

    def fold(found: Value) -> str:
        return str(found) if cased else str(found).lower()

    text = texts[0] if texts else ""
    simple: dict[str, Callable[[str], bool]] = {
        "": lambda found: found == "",
        "x": lambda found: found == text,
        "*": lambda found: True,
        "*x*": lambda found: text in found,
        "x*": lambda found: found.startswith(text),
        "*x": lambda found: found.endswith(text),
    }
    test = simple.get(shape)
    if test is None:
        pattern = "".join(
            re.escape(part if cased else part.lower()) if isinstance(part, str) else ".*" if _many(part) else "."
            for part in parts
        )
        whole = re.compile(pattern, re.DOTALL)

        def test(found: str) -> bool:
            return whole.fullmatch(found) is not None

    decide = test
    return lambda found: found is not None and decide(fold(found))


def _many(part: Any) -> bool:
    return bool(part == SpecialChars.WILDCARD_MULTI)


def _anywhere(value: Any) -> Any:
    """A keyword is looked for anywhere in the record's words."""
    if not isinstance(value, SigmaString):
        return value
    found = value
    if not found.startswith(SpecialChars.WILDCARD_MULTI):
        found = SpecialChars.WILDCARD_MULTI + found
    if not found.endswith(SpecialChars.WILDCARD_MULTI):
        found = found + SpecialChars.WILDCARD_MULTI
    return found


def _regex(value: SigmaRegularExpression) -> Check:
    flags = 0
    for flag in value.flags:
        flags |= FLAGS[flag]
    try:
        pattern = re.compile(value.regexp.to_plain(), flags)
    except re.error as error:
        raise CannotMatch(f"its regular expression is not one of Python's: {error}") from error
    return lambda found: found is not None and pattern.search(str(found)) is not None


def _network(cidr: str) -> Check:
    network = ipaddress.ip_network(cidr)

    def check(found: Value | None) -> bool:
        try:
            return found is not None and ipaddress.ip_address(str(found)) in network
        except ValueError:
            return False

    return check


def _number(found: Value | None) -> float | None:
    try:
        return None if found is None else float(found)
    except ValueError:
        return None
