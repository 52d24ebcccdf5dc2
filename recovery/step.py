"""What a step is: its target, its outcome, its kind; and how one waits within its time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from ncia.core.base.errors import NciaError, Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from ncia.core.journal.entries import Body
from recovery.ports import Patience, World

POLL_SECONDS = 0.02
LOOKS_APART_GROWTH = 1.3
LOOKS_APART_SECONDS_MAX = 0.5
EVIDENCE_CHARACTERS_MAX = 300
NO_SYSTEM = SystemId("")


class Halted(NciaError):
    """The run was told to stop while a step waited; the step ends here and may be done again."""


class Scope(StrEnum):
    RUN = "run"
    SYSTEM = "system"


@dataclass(frozen=True)
class Target:
    """What a step is done to. ``system`` and ``epoch`` are empty and 0 for steps of the run as a whole."""

    run: RunId
    lost_site: SiteId
    site: SiteId  # where the systems go
    lease_ttl_seconds: float
    timeout_seconds: float
    system: SystemId = NO_SYSTEM
    epoch: int = 0  # the one that the claim makes
    mod_revision: int = 0  # of the epoch's key, when the plan was made
    lost_at: str = ""  # since when citizens are without it
    loss_how: str = ""  # how the plan knows the loss that people signed
    accepted: str = ""  # why a loss was accepted; empty where none was
    synchronous: bool = False  # of a planned move: commits are to wait for the partner
    by_site: SiteId | None = None  # whose controller carries the run out, where it is not ``site``'s

    @property
    def executor(self) -> SiteId:
        return self.by_site or self.site


@dataclass(frozen=True)
class Done:
    """``entries`` are written in one transaction with the step's end."""

    evidence: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    entries: tuple[Body, ...] = ()


Check = Callable[[World, Target, Patience], "Done | None"]
Do = Callable[[World, Target, Patience], Done]
Undo = Callable[[World, Target], str]


@dataclass(frozen=True)
class StepKind:
    """``follows``: kinds that must stand before it in a runbook, for safety and not for taste. ``seconds`` is the
    estimate until one was measured. ``no_undo`` says why there is none where ``undo`` is ``None``. In ``follows``,
    ``a|b`` is satisfied by either."""

    name: str
    scope: Scope
    sentence: str
    seconds: float
    check: Check
    do: Do
    undo: Undo | None = None
    no_undo: str = ""
    follows: tuple[str, ...] = ()


def until(
    look: Callable[[], Done | None],
    last_word: Callable[[], str],
    what: str,
    target: Target,
    patience: Patience,
    poll_seconds: float = POLL_SECONDS,
) -> Done:
    """Look until it is so or the step's time is up; what cannot be reached yet is looked at again."""
    deadline = patience.boottime_ns() + int(target.timeout_seconds * 1e9)
    while True:
        try:
            done, why = look(), last_word()
        except (Refusal, Halted):
            raise
        except NciaError as error:
            done, why = None, str(error)
        if done:
            return done
        if patience.boottime_ns() >= deadline:
            raise NciaError(
                "recovery.too-late", what, f"not within {target.timeout_seconds:g} s: {why[:EVIDENCE_CHARACTERS_MAX]}"
            )
        patience.pause(min(poll_seconds, LOOKS_APART_SECONDS_MAX))
        poll_seconds *= LOOKS_APART_GROWTH  # whoever is slow is not asked ever more often
