"""What each kind of entry means: one table, kind to function. Pure, deterministic, and never failing.

A function sets new containers on the state and leaves the old ones as they are. What is kept of the past is bounded;
the journal keeps all of it. What is watched, what protects, what recovery does and who may ask have a module
each, with its part of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ncia.core.journal.entries import ControllerStarted, EstateLoaded, JournalSworn
from ncia.core.journal.entry import Entry
from ncia.core.state import accounts, caring, protecting, recovering, repositories, watching

if TYPE_CHECKING:
    from ncia.core.state.state import State


def controller_started(state: State, entry: Entry, body: ControllerStarted) -> None:
    state.controllers = {**state.controllers, entry.site: body}
    state.started = {**state.started, entry.site: entry.at}


def estate_loaded(state: State, entry: Entry, body: EstateLoaded) -> None:
    state.estates = {**state.estates, entry.site: body}


def journal_sworn(state: State, entry: Entry, body: JournalSworn) -> None:
    state.sworn = {**state.sworn, entry.site: body}


MEANING: Mapping[str, Callable[[State, Entry, Any], None]] = {
    ControllerStarted.KIND: controller_started,
    EstateLoaded.KIND: estate_loaded,
    JournalSworn.KIND: journal_sworn,
    **watching.MEANING,
    **protecting.MEANING,
    **recovering.MEANING,
    **accounts.MEANING,
    **repositories.MEANING,
    **caring.MEANING,
}
