"""Patterns of paths by restic's rules: Go's ``filepath.Match`` for each name, and ``**`` for any names between.

A pattern without a leading slash may begin at any name of a path, one with it only at the root; either matches what is
below as well. One that begins with ``!`` takes back what those before it matched. A byte of a name that is no UTF-8 is
one character (PEP 383).
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ncia.core.base.errors import NciaError

ANY = "**"
NAMES = r"(?:/[^/]+)*"
END = r"(?=/|\Z)"
FIRST_ESCAPED, LAST_ESCAPED = "\udc80", "\udcff"  # bytes that are no UTF-8
FIRST_HALF, LAST_HALF = "\ud800", "\udfff"
REPLACEMENT = "\ufffd"  # what Go takes such a byte for


class Patterns:
    """Several of them, in their order. Raises ``repository.bad-pattern``."""

    def __init__(self, texts: Iterable[str], insensitive: bool = False) -> None:
        self._lowered = insensitive
        self._patterns = [_pattern(lowered(text) if insensitive else text, text) for text in texts if text]
        plain = all(each.expression is not None and not each.negated for each in self._patterns)
        together = "|".join(each.expression or "" for each in self._patterns)
        self._all = re.compile(together).search if plain and self._patterns else None

    def match(self, path: str) -> bool:
        """Of an absolute path."""
        if self._lowered:
            path = lowered(path)
        if self._all is not None:
            return self._all(path) is not None
        matched = False
        for each in self._patterns:
            if matched == each.negated:
                matched = each.match(path) is not each.negated
        return matched


@dataclass(frozen=True)
class _Pattern:
    """``expression`` is None where there are several ``**``, which are tried one by one."""

    parts: tuple[str, ...]  # each as a regular expression, ANY, or "/" at the beginning
    negated: bool
    expression: str | None
    found: re.Pattern[str] | None

    def match(self, path: str) -> bool:
        if self.found is not None:
            return self.found.search(path) is not None
        return _matches(self.parts, path, len(path.split("/")))


def lowered(text: str) -> str:
    """Letter by letter, as Go does it: without rules that look at what stands beside a letter."""
    if text.isascii():
        return text.lower()
    return "".join(REPLACEMENT if FIRST_ESCAPED <= each <= LAST_ESCAPED else each.lower()[0] for each in text)


def _pattern(text: str, told: str) -> _Pattern:
    negated = text.startswith("!")
    clean = posixpath.normpath(text[negated:] or ".")
    names = [name for name in clean.split("/") if name]
    parts = (["/"] if clean.startswith("/") else []) + [
        name if name == ANY else _name_expression(name, told) for name in names
    ]
    expression = _expression(parts) if parts.count(ANY) < 2 else None
    return _Pattern(tuple(parts), negated, expression, re.compile(expression) if expression else None)


def _expression(parts: Sequence[str]) -> str:
    rooted = parts[:1] == ["/"]
    names = parts[1:] if rooted else parts
    if rooted and list(names) in ([], [ANY]):
        return r"\A/"
    if list(names) == [ANY]:
        return "/[^/]"
    body = "".join(NAMES if name == ANY else f"/(?=[^/]){name}" for name in names)
    return rf"\A{body}{END}" if rooted else f"{body}{END}"


def _matches(parts: Sequence[str], path: str, count: int) -> bool:
    """As restic: the first ``**`` becomes ever more names, as many as there may be room for by its reckoning, in which
    each ``**`` that is left counts as one."""
    if ANY not in parts:
        return bool(parts) and re.search(_expression(list(parts)), path) is not None
    at = parts.index(ANY)
    for number in range(count - len(parts) + 2):
        if _matches((*parts[:at], *["[^/]*"] * number, *parts[at + 1 :]), path, count):
            return True
    return False


def _name_expression(name: str, told: str) -> str:
    """Of one name: ``*``, ``?``, ``[a-z]``, ``[^a-z]``, and a backslash before what is meant as it is."""
    between = [""]  # the stars
    at = 0
    while at < len(name):
        letter = name[at]
        at += 1
        if letter == "*":
            if between[-1] or len(between) == 1:
                between.append("")
        elif letter == "?":
            between[-1] += "[^/]"
        elif letter == "[":
            text, at = _class(name, at, told)
            between[-1] += text
        elif letter == "\\":
            if at == len(name):
                raise _bad(told, "nothing follows its last backslash")
            between[-1] += re.escape(name[at])
            at += 1
        else:
            between[-1] += re.escape(letter)
    first, *others = between
    if not others:
        return first
    # What follows a star is taken where it comes first: no other choice helps what follows the next one, and to try
    # them all takes hours of a name that somebody made for it.
    return first + "".join(f"(?>[^/]*?{each})" for each in others[:-1]) + f"[^/]*{others[-1]}"


def _class(name: str, at: int, told: str) -> tuple[str, int]:
    """What follows a bracket, to the one that closes it, and where that is."""
    negated = name[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while not (ranges and name[at : at + 1] == "]"):
        first, at = _member(name, at, told)
        last = first
        if name[at] == "-":
            last, at = _member(name, at + 1, told)
        ranges.append(_range(first, last))
    inner = "".join(ranges)
    if negated:
        return f"[^/{inner}]", at + 1
    return f"[{inner}]" if inner else "(?!)", at + 1


def _member(name: str, at: int, told: str) -> tuple[str, int]:
    letter = name[at : at + 1]
    if letter in ("", "-", "]"):
        raise _bad(told, "a bracket in it is not closed, or holds nothing where a letter should be")
    if letter == "\\":
        at += 1
        letter = name[at : at + 1]
    if at + 1 >= len(name) or FIRST_ESCAPED <= letter <= LAST_ESCAPED:
        raise _bad(told, "a bracket in it is not closed, or holds what is no letter")
    return letter, at + 1


def _range(first: str, last: str) -> str:
    """As a part of a class. A byte that is no UTF-8 counts as the letter that Go puts in its place."""
    parts = [(first, min(last, chr(ord(FIRST_HALF) - 1))), (max(first, chr(ord(LAST_HALF) + 1)), last)]
    if first <= REPLACEMENT <= last:
        parts.append((FIRST_ESCAPED, LAST_ESCAPED))
    return "".join(f"{re.escape(one)}-{re.escape(other)}" for one, other in parts if one <= other)


def _bad(told: str, why: str) -> NciaError:
    hint = "as the shell's: *, ?, [a-z], ** for any folders between, a backslash before what is meant as it is"
    return NciaError("repository.bad-pattern", f"leave out {told!r}", f"it is no pattern: {why}", hint)
