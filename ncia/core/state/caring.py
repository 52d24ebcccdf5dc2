"""What the care of agencies' repositories found and did: a part of their facts (``repositories.py``).

The rules of these functions stand in ``meaning.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ncia.core.journal.entries_care import ForgetAllowed, ForgetHeld
from ncia.core.journal.entry import Entry
from ncia.core.state.repositories import Held, RepositoryFact

if TYPE_CHECKING:
    from ncia.core.state.state import State


def forget_held(state: State, entry: Entry, body: ForgetHeld) -> None:
    def held(fact: RepositoryFact) -> RepositoryFact:
        since = fact.held.since if fact.held is not None else entry.at
        return replace(fact, held=Held(since, entry.at, body) if body.would_go else None)

    changed(state, body.agency, body.site, held)


def forget_allowed(state: State, entry: Entry, body: ForgetAllowed) -> None:
    changed(state, body.agency, body.site, lambda fact: replace(fact, held=None))


def changed(state: State, agency: str, site: str, change: Callable[[RepositoryFact], RepositoryFact]) -> None:
    fact = state.repositories.get((agency, site))
    if fact is None:
        state.strays += 1
        return
    state.repositories = {**state.repositories, (agency, site): change(fact)}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    ForgetHeld.KIND: forget_held,
    ForgetAllowed.KIND: forget_allowed,
}
