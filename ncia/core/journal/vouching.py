"""Having one's own log vouched for: the witness is asked to cosign its head, the peer's cosignatures are fetched.

The peer cosigns what it pulled (``log.accept_peer``), so its line says that it holds every entry under that head; the
witness' line says that it saw no other history. Both are kept with the head that they are for.

While the peer follows, the witness is asked for what the peer holds and for no more: it vouches for heads only, and
what it vouches for must be there to be given back to a site that lost its tail.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Signature
from ncia.core.journal.log import Journal
from ncia.core.journal.tail import Held
from ncia.core.journal.witness import Ask, Conflict

ASKS_MAX = 2  # the second begins from the size that the witness named
FOLLOW_SECONDS_MAX = 30.0  # a peer that answers and takes nothing new for so long does not follow

_log = structlog.get_logger()


class WitnessSource(Protocol):
    """The witness. Each call is bounded in time and raises ``Unreachable`` where it does not answer."""

    @property
    def site(self) -> SiteId: ...

    def add(self, ask: Ask) -> Signature:
        """Its cosignature, durable there; :class:`Conflict` where it knows another size, ``Refusal`` for a fork."""
        ...


class HeldSource(Protocol):
    """The peer, as far as it holds our log."""

    @property
    def site(self) -> SiteId: ...

    def held(self, site: SiteId) -> Held: ...


class Vouching:
    """One voucher of the own log. ``ask`` brings its newest word; a fault is logged once and stands in ``fault``."""

    def __init__(self, journal: Journal, site: SiteId, ask: Callable[[Journal], Checkpoint | None]) -> None:
        self.site = site
        self.fault: NciaError | None = None
        self.follows = True  # it answers, and vouches for all that there is or for more than a while ago
        self._behind: tuple[int, datetime] | None = None  # at which size since when
        self._journal = journal
        self._ask = ask
        self._asking = threading.Lock()

    def ask(self) -> int:
        """Ask unless it vouches for all that there is; the size that it vouches for then. Raises :class:`NciaError`."""
        journal = self._journal
        with self._asking:
            if self.size() < journal.size(journal.site):
                head = self._ask(journal)
                if head is not None and self.site not in {vouch.by for vouch in journal.add_cosignatures(head)}:
                    why = f"its line under the head of {head.size} is not signed with the key that we know of it"
                    what = f"have {journal.site}'s log cosigned by {self.site}"
                    raise NciaError("journal.bad-cosignature", what, why, "compare peer_keys.yaml at all sites")
        return self.size()

    def size(self) -> int:
        """Up to where it is known to vouch for the own log."""
        found = self._journal.vouched().get(self.site)
        return found.size if found else 0

    @property
    def behind_since(self) -> datetime | None:
        """Since when it vouches for no more than it does, while there is more; ``None`` where it has all."""
        return self._behind[1] if self._behind else None

    def tick(self, now: datetime) -> None:
        """One ask whose fault is kept in ``fault`` instead of raised."""
        before = self.fault
        try:
            size = self.ask()
        except NciaError as error:
            if before is None or before.code != error.code:
                _log.error("journal.not-vouched", voucher=self.site, **error.as_problem())
            self._is_following(self.size(), now)
            self.fault, self.follows = error, False
            return
        self.follows = self._is_following(size, now)
        if before is not None:
            _log.info("journal.vouched-again", voucher=self.site, size=size)
        self.fault = None

    def _is_following(self, size: int, now: datetime) -> bool:
        if size >= self._journal.size(self._journal.site):
            self._behind = None
        elif self._behind is None or self._behind[0] != size:
            self._behind = (size, now)
        return self._behind is None or now - self._behind[1] < timedelta(seconds=FOLLOW_SECONDS_MAX)


def by_witness(journal: Journal, witness: WitnessSource, peer: Vouching | None = None) -> Vouching:
    """``peer``: who else vouches; while it follows, the witness is asked for what it holds."""

    def ask(journal: Journal) -> Checkpoint | None:
        head = None
        if peer is not None and peer.follows:
            head = journal.held_head(journal.site, peer.size())
            known = journal.vouched().get(witness.site)
            if known and known.size >= peer.size():
                return None
        return asked_with(journal, witness.site, head or journal.checkpoint(), witness.add)

    return Vouching(journal, witness.site, ask)


def by_peer(journal: Journal, peer: HeldSource) -> Vouching:
    def ask(journal: Journal) -> Checkpoint | None:
        head = peer.held(journal.site).head
        known = journal.vouched().get(peer.site)
        return None if head is None or not head.cosignatures or (known and known.size >= head.size) else head

    return Vouching(journal, peer.site, ask)


def asked_with(journal: Journal, site: SiteId, head: Checkpoint, ask: Callable[[Ask], Signature]) -> Checkpoint:
    """``head`` with the line that ``ask`` brings. What the witness ``site`` saw of this log is known here, or it
    tells."""
    known = journal.vouched().get(site)
    old = min(known.size, head.size) if known else 0
    for _ in range(ASKS_MAX):
        try:
            line = ask(Ask(old, journal.consistency(old, head.size), head))
            return head.with_cosignatures([line])
        except Conflict as conflict:
            if conflict.size > journal.size(journal.site):
                why = f"it cosigned {conflict.size} entries, and only {head.size} are held here"
                hint = "start this site anew: it takes its own tail back"
                raise NciaError("journal.lost-tail", conflict.what, why, hint) from conflict
            if conflict.size > head.size:
                head = journal.checkpoint()  # somebody here has asked for a newer one meanwhile
            old = conflict.size
    why = f"it named {old} and took no proof from there"
    raise NciaError("journal.no-cosignature", f"have {journal.site}'s log cosigned by {site}", why, "ask again")
