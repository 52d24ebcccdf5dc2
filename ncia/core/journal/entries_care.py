"""The vocabulary of the care of agencies' own repositories: what is held back, allowed, begun, brought back, proven."""

from __future__ import annotations

from ncia.core.journal.body import Body


class ForgetHeld(Body):
    """A forgetting would remove so much at ``site`` at once that somebody is to look at it first: nothing goes. Written
    when it is first so, and when the figures have changed, a day later at the soonest; ``would_go`` 0: no more."""

    KIND = "forget.held"
    agency: str
    site: str
    would_go: int  # snapshots
    of: int  # that are expected there
    named: tuple[str, ...]  # the first of them, a clause each
    why: str


class ForgetAllowed(Body):
    """A person has looked: these ``going`` snapshots may go, once; written together with their ``snapshot.forgotten``.
    ``remove_max``: how many they said."""

    KIND = "forget.allowed"
    agency: str
    site: str
    remove_max: int
    going: int
    reason: str


BODIES: tuple[type[Body], ...] = (
    ForgetHeld,
    ForgetAllowed,
)
