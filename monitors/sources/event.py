"""A normalised log record, and what a kind of source can tell: ECS fields (https://www.elastic.co/guide/en/ecs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Value = str | int

MESSAGE = "message"  # the record's own words: what rules with keywords are matched against


@dataclass(frozen=True, slots=True)
class Event:
    """``at`` is the record's own time, seconds since 1970; ``fields`` are ECS names, dotted."""

    at: float
    fields: Mapping[str, Value]


Parser = Callable[[str, str, float], Event | None]
"""(one line without its end, the name of its file without its suffix, the time now) → its event; None where the line is
not of this source's form. Never raises for anything that a line may hold."""


@dataclass(frozen=True)
class Kind:
    """One kind of log. ``logsources`` are the Sigma log sources (product, category, service) that it serves;
    ``synonyms`` are the names that published rules use for its fields."""

    name: str
    parse: Parser
    fields: frozenset[str]
    logsources: tuple[tuple[str, str, str], ...]
    synonyms: Mapping[str, str]

    def serves(self, product: str | None, category: str | None, service: str | None) -> bool:
        """Whether its events are what a rule with this log source asks for: what a rule leaves out is not asked."""
        asked = (product, category, service)
        return any(
            all(wanted is None or wanted == had for wanted, had in zip(asked, known, strict=True))
            for known in self.logsources
        )
