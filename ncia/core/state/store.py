"""The current state of a running site: follows its journal, entry by entry.

An own entry always comes last in the merged order, for its writer had seen all that is held. A pulled entry may have
been written before own entries that its writer had not seen: it belongs before some of them. Then the fold goes back
to a state from before that moment and on again from there, so that the state is always the fold of ``merged()``.
"""

from __future__ import annotations

from collections.abc import Mapping

from ncia.core.base.ids import SiteId
from ncia.core.journal.entry import Entry
from ncia.core.journal.log import Journal
from ncia.core.state.state import State

REMEMBER_EVERY = 256  # entries between two states that a late entry can go back to
REMEMBERED_MAX = 64

Cursor = Mapping[SiteId, int]


class StateStore:
    """The fold of ``journal``, kept current. Make it first: who subscribes later finds it current when called."""

    def __init__(self, journal: Journal, *, remember_every: int = REMEMBER_EVERY) -> None:
        self._journal = journal
        self._remember_every = remember_every
        self._current = State()
        self._remembered: list[State] = [State()]
        self._stale = False
        with journal.delivery:
            self._refold()
            journal.subscribe(self._follow)

    def snapshot(self) -> State:
        """The state now. It is yours to read for as long as you like: nothing changes it."""
        if self._stale:
            with self._journal.delivery:
                if self._stale:
                    self._refold()
        return self._current

    def _follow(self, entry: Entry) -> None:
        """Called under the journal's delivery lock, in the order of writing."""
        folded = self._current.heads.get(entry.site, 0)
        if entry.number < folded:
            return  # an earlier refold read it already
        seen_all = entry.peer_seen >= self._current.heads.get(self._other(entry.site), 0)
        if self._stale or entry.number > folded or not seen_all:
            self._stale = True  # the refold waits until somebody looks: a pulled batch costs one
            return
        self._apply(entry)

    def _refold(self) -> None:
        state = self._last_before_late_entries()
        for entry in self._journal.merged(state.heads):
            state = self._next(state, entry)
        self._current, self._stale = state, False

    def _apply(self, entry: Entry) -> None:
        self._current = self._next(self._current, entry)

    def _next(self, state: State, entry: Entry) -> State:
        state = state.copy()
        state.apply(entry)
        if sum(state.heads.values()) % self._remember_every == 0:
            self._remember(state)
        return state

    def _last_before_late_entries(self) -> State:
        """The newest remembered state that no entry still unfolded can belong before; forgets the later ones.

        The first unfolded entry of the peer had seen ``peer_seen`` own entries: it comes after those.
        """
        own, peer = self._journal.site, self._journal.peer
        late = self._journal.entries(peer, self._current.heads.get(peer, 0), 1)
        if late:
            while len(self._remembered) > 1 and self._remembered[-1].heads.get(own, 0) > late[0].peer_seen:
                self._remembered.pop()
        return self._remembered[-1]

    def _remember(self, state: State) -> None:
        self._remembered.append(state)
        if len(self._remembered) > REMEMBERED_MAX:
            del self._remembered[1:-1:2]  # thinner into the past, where nobody looks; the beginning stays

    def _other(self, site: SiteId) -> SiteId:
        return self._journal.peer if site == self._journal.site else self._journal.site
