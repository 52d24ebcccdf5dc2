"""Planned moves: a run holds a system at its active site, that site gives its word, and only then it is claimed.

Both sites live, so no lease runs out. A hold in etcd makes the old side's warden shut its gate for that system alone;
once the gate says that it is shut, the warden says so in etcd. The claim compares hold, word and epoch in one
transaction. A hold has a lease of its own: where whoever laid it dies, it lapses, and the system is served where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from ncia.core.base.clock import to_text
from ncia.core.base.errors import Refusal
from ncia.core.base.ids import RunId, SiteId, SystemId
from recovery.fencing.etcd import Absent, Delete, EtcdClient, Get, KeyValue, Put, Unchanged
from recovery.fencing.files import Standing
from recovery.fencing.keys import (
    Epoch,
    HeldWord,
    Hold,
    epoch_key,
    epoch_of,
    hold_key,
    hold_of,
    word_key,
    word_of,
)

HOLD_SECONDS = 120
"""The longest that a system is held: by then it is claimed, or it is served again where it was."""


class Holds:
    """What a planned run does in etcd; :class:`NoQuorum` from every method where etcd cannot commit. Every method may
    be called again with the same arguments."""

    def __init__(self, etcd: EtcdClient) -> None:
        self._etcd = etcd

    def hold_of(self, system: SystemId) -> Hold | None:
        found = self._etcd.get(hold_key(system))
        return None if found is None else hold_of(found)

    def word_of(self, system: SystemId) -> HeldWord | None:
        """The old side's word for the hold that is laid now; ``None`` where it has not given it."""
        outcome = self._etcd.read(Get(hold_key(system)), Get(word_key(system)))
        holds, words = outcome.reads
        if not holds or not words:
            return None
        word = word_of(words[0])
        return word if word.hold_revision == hold_of(holds[0]).mod_revision else None

    def lay(self, system: SystemId, run: RunId, to_site: SiteId, expected_mod_revision: int) -> Hold:
        """Hold ``system`` for ``run``; :class:`Refusal` where another run holds it or it moved since the plan."""
        what = f"hold {system} for {to_site}"
        before = self._etcd.get(hold_key(system))
        if before is not None:
            there = hold_of(before)
            if there.run != run:
                why, hint = f"run {there.run} holds it", f"end run {there.run} first, or wait until its hold lapses"
                raise Refusal("fencing.held", what, why, hint)
            return there
        now = self._etcd.get(epoch_key(system))
        if now is None or now.mod_revision != expected_mod_revision:
            raise _moved(what, now)
        lease = self._etcd.grant(HOLD_SECONDS)
        hold = Hold(system, epoch_of(now).epoch, run, to_site, 0)
        outcome = self._etcd.txn(
            (Absent(hold_key(system)), Unchanged(epoch_key(system), expected_mod_revision)),
            (Put(hold_key(system), hold.value(), lease.id), Get(hold_key(system))),
            (Get(epoch_key(system)),),
        )
        if not outcome.succeeded:
            self._etcd.revoke(lease.id)
            raise _moved(what, outcome.reads[0][0] if outcome.reads[0] else None)
        return hold_of(outcome.reads[0][0])

    def release(self, system: SystemId, run: RunId) -> None:
        """The old side may serve it again. A hold that is gone is no error; another run's is not touched."""
        found = self._etcd.get(hold_key(system))
        if found is None or hold_of(found).run != run:
            return
        self._etcd.txn(
            (Unchanged(found.key, found.mod_revision),), (Delete(hold_key(system)), Delete(word_key(system)))
        )

    def claim(self, system: SystemId, to_site: SiteId, expected_mod_revision: int, run: RunId) -> Epoch:
        """Make ``to_site`` the active site under the next epoch: only while this run's hold stands and the old side has
        given its word for it, and if nobody else moved the system; :class:`Refusal` otherwise."""
        key, what = epoch_key(system), f"claim {system} for {to_site}"
        outcome = self._etcd.read(Get(key), Get(hold_key(system)), Get(word_key(system)))
        epochs, holds, words = outcome.reads
        if not epochs:
            raise _moved(what, None)
        now = epoch_of(epochs[0])
        if (now.site, now.run) == (to_site, run):
            return now
        if now.mod_revision != expected_mod_revision:
            raise _moved(what, epochs[0])
        if not holds or hold_of(holds[0]).run != run:
            why = f"it is not held by run {run} (any more), so {now.site} may be serving it"
            raise Refusal("fencing.not-held", what, why, f"ncia recover resume {run}")
        if not words or word_of(words[0]).hold_revision != holds[0].mod_revision:
            why = f"{now.site} has not given its word that its gate is shut for it"
            raise Refusal("fencing.no-word", what, why, f"see that warden and gate run at {now.site}, then resume")
        claimed = Epoch(system, now.epoch + 1, to_site, run, 0)
        outcome = self._etcd.txn(
            (
                Unchanged(key, expected_mod_revision),
                Unchanged(hold_key(system), holds[0].mod_revision),
                Unchanged(word_key(system), words[0].mod_revision),
            ),
            (Put(key, claimed.value()), Delete(hold_key(system)), Delete(word_key(system)), Get(key)),
            (Get(key),),
        )
        if outcome.succeeded:
            return epoch_of(outcome.reads[0][0])
        raise _moved(what, outcome.reads[0][0] if outcome.reads[0] else None)


def held(epochs: Mapping[SystemId, Standing], holds: Iterable[KeyValue]) -> dict[SystemId, Standing]:
    """Standings with the holds that are laid on them; a hold of an earlier epoch is none."""
    found = dict(epochs)
    for hold in map(hold_of, holds):
        standing = found.get(hold.system)
        if standing is not None and standing.epoch == hold.epoch:
            found[hold.system] = replace(standing, held_by=hold.run)
    return found


def unanswered(
    site: SiteId, epochs: Mapping[SystemId, Standing], holds: Iterable[KeyValue], words: Iterable[KeyValue]
) -> tuple[Hold, ...]:
    """Holds on systems active at ``site`` for which it has not given its word yet."""
    given = {word.system: word.hold_revision for word in map(word_of, words)}
    return tuple(
        hold
        for hold in map(hold_of, holds)
        if (standing := epochs.get(hold.system)) is not None
        and (standing.site, standing.held_by) == (site, hold.run)
        and given.get(hold.system) != hold.mod_revision
    )


def give_word(etcd: EtcdClient, site: SiteId, hold: Hold, now: datetime) -> None:
    """Our gate is shut for the held system. Nothing is said where the hold is gone meanwhile."""
    word = HeldWord(hold.system, site, hold.mod_revision, to_text(now), 0)
    etcd.txn((Unchanged(hold_key(hold.system), hold.mod_revision),), (Put(word_key(hold.system), word.value()),))


def _moved(what: str, pair: KeyValue | None) -> Refusal:
    if pair is None:
        why, hint = "the system has no epoch", "see that the estate was brought up"
        return Refusal("fencing.no-epoch", what, why, hint)
    now = epoch_of(pair)
    why = f"epoch {now.epoch} is already at {now.site} by {now.run or 'its birth'}, since the plan was made"
    return Refusal("fencing.epoch-moved", what, why, "make a new plan")
