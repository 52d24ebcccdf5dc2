"""The journal of a site: its own log, which it alone writes, and the log of its peer, which it only copies."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import structlog

from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.core.journal.checkpoint import Checkpoint, Keyring, Signer, signed_by
from ncia.core.journal.cosign import Cosigner, Vouch, cosigner_of, newest, sound, vouches
from ncia.core.journal.entries import Body, JournalSworn
from ncia.core.journal.entry import Entry, entry_from_text, make_entry
from ncia.core.journal.merge import merge
from ncia.core.journal.store import Store
from ncia.core.journal.tree import Node, Tree, consistency_proof, inclusion_proof, tree_of, verify_consistency

READ_AT_ONCE = 1000

_log = structlog.get_logger()


class Journal:
    """One per site, one writer process. Safe to use from many threads.

    ``peer`` is the other data centre; ``keys`` hold the public keys of the logs' signers.
    """

    def __init__(self, store: Store, *, peer: SiteId, signer: Signer, keys: Keyring, clock: Clock) -> None:
        self.site = signer.site
        self.peer = peer
        self.delivery = threading.RLock()  # held while subscribers are called
        self._store = store
        self._signer = signer
        self._cosigner = Cosigner.of(signer)
        self._keys = keys
        self._clock = clock
        self._writing = threading.RLock()
        self._subscribers: list[Callable[[Entry], None]] = []
        self._undelivered: deque[Entry] = deque()
        self._delivering = False
        self._unsure = False  # whether a write has failed since the trees were read
        self._held: NciaError | None = None  # why nothing may be appended
        self._sworn_to = 0  # up to here the own log's lost tail was sworn off
        self._lock = store.claim(self.site, peer)
        try:
            self._trees = self._read_trees()
            self._peer_saw, self._own_saw = self._read_seen(peer), self._read_seen(self.site)
            self._vouched = newest(self._read_vouches())
        except BaseException:
            self._lock.release()
            raise

    def append(self, body: Body, *, by: str) -> Entry:
        """Write one entry to the own log; durable when it returns, and subscribers have been told."""
        return self.append_all((body,), by=by)[0]

    def append_all(self, bodies: Sequence[Body], *, by: str) -> tuple[Entry, ...]:
        """Write all or none, in one transaction, under one signed head."""
        if not bodies:
            return ()
        with self._writing:
            if self._held is not None:
                raise self._held
            self._make_sure()
            own, seen = self._trees[self.site], max(self._trees[self.peer].size, self._own_saw)
            self._demand_whole(own)
            now = self._clock.now()
            entries = tuple(make_entry(self.site, own.size + n, now, by, seen, body) for n, body in enumerate(bodies))
            tree, nodes = own.grow(entry.leaf_hash for entry in entries)
            self._add(self.site, entries, tree, nodes, self._signer.sign(tree.size, tree.root()))
            self._own_saw = seen
        self._deliver()
        return entries

    def accept_peer(self, entries: Sequence[Entry], checkpoint: Checkpoint, proof: Sequence[bytes] = ()) -> int:
        """Store entries of the peer's log that follow what is held; returns how many were new.

        ``checkpoint`` is the peer's signed head. Where it covers more than ``entries`` reach to, ``proof`` shows its
        consistency with the log up to the last of them. Nothing is stored unless the result is what the peer signed;
        a head is cosigned as it is stored: whoever reads our cosignature knows that its entries are held here too.
        """
        with self._writing:
            self._make_sure()
            held = self._trees[self.peer]
            self.check_peer(checkpoint)
            fresh = self._fresh(entries, held)
            tree, nodes = held.grow(entry.leaf_hash for entry in fresh)
            if tree.size > checkpoint.size or not verify_consistency(
                tree.size, checkpoint.size, tree.root(), checkpoint.root, proof if tree.size < checkpoint.size else ()
            ):
                why = f"with them the log up to {tree.size} is not the one whose head {checkpoint.size} was signed"
                raise NciaError(
                    "journal.unproven", self._accepting(), why, "fetch again; if it stays, verify both logs"
                )
            if not fresh:
                return 0
            self._add(
                self.peer, fresh, tree, nodes, self._cosigned(checkpoint) if checkpoint.size == tree.size else None
            )
            self._peer_saw = fresh[-1].peer_seen
        self._deliver()
        return len(fresh)

    def check_peer(self, checkpoint: Checkpoint, proof: Sequence[bytes] | None = None) -> None:
        """Raise :class:`NciaError` unless ``checkpoint`` is the peer's, and no fork of what is held.

        With ``proof`` a head that is ahead of us must be shown to extend the log that we hold.
        """
        held = self._trees[self.peer]
        if checkpoint.site != self.peer or not signed_by(checkpoint, self._keys):
            why = f"the head {checkpoint.size} of {checkpoint.site} is not signed with the key that we know of it"
            raise NciaError("journal.forged-head", self._accepting(), why, "compare peer_keys.yaml at both sites")
        if checkpoint.size <= held.size:
            if self.root(self.peer, checkpoint.size) != checkpoint.root:
                raise self._forked(checkpoint, held)
            if checkpoint.size < held.size:
                why = f"it now ends at {checkpoint.size}, and {held.size} entries of it are held here"
                hint = "the peer was set back to an older state: give it back its entries before it writes"
                raise NciaError("journal.peer-went-back", self._accepting(), why, hint)
        elif proof is not None and not verify_consistency(
            held.size, checkpoint.size, held.root(), checkpoint.root, proof
        ):
            raise self._forked(checkpoint, held)

    def take_back(self, entries: Sequence[Entry], head: Checkpoint) -> int:
        """Store entries of the own log that it lost, as they were, up to ``head``; returns how many.

        Nothing is stored unless they go on where the log ends and the result is the head that this site had signed.
        """
        what = f"take back {self.site}'s own entries"
        with self._writing:
            self._make_sure()
            own = self._trees[self.site]
            places = [(entry.site, entry.number) for entry in entries]
            if places != [(self.site, number) for number in range(own.size, own.size + len(entries))]:
                raise NciaError("journal.gap", what, f"they are not its entries from {own.size} on", "ask again")
            tree, nodes = own.grow(entry.leaf_hash for entry in entries)
            if head.site != self.site or not signed_by(head, self._keys) or (tree.size, tree.root()) != head_of(head):
                why = f"with them the log of {tree.size} is not the one of {head.size} that this site had signed"
                raise NciaError("journal.unproven", what, why, "`ncia journal verify` this journal with the peer's")
            if entries:
                self._add(self.site, entries, tree, nodes, sound(head, self._keys))
                self._own_saw = entries[-1].peer_seen
                self._vouched = newest([*self._vouched.values(), *vouches(head, self._keys)])
        self._deliver()
        return len(entries)

    def hold(self, why: NciaError) -> None:
        """Append nothing until :meth:`release`: each attempt ends in ``why``."""
        with self._writing:
            self._held = why

    def release(self) -> None:
        with self._writing:
            self._held = None

    @property
    def held(self) -> NciaError | None:
        """Why nothing may be appended now; None where it may."""
        return self._held

    def add_cosignatures(self, head: Checkpoint) -> tuple[Vouch, ...]:
        """Keep the cosignatures that a head of the own log bears, those that hold; returns them.

        Raises ``journal.fork`` where somebody vouches for a head which this log never had.
        """
        found = vouches(head, self._keys)
        if head.site != self.site or not found:
            return ()
        if head.size > self.size(self.site) or self.root(self.site, head.size) != head.root:
            raise self._vouched_elsewhere(head, found)
        with self._writing:
            self._store.cosign(self.site, head.size, sound(head, self._keys).cosignatures)
            self._vouched = newest([*self._vouched.values(), *found])
        return found

    def vouched(self) -> Mapping[SiteId, Vouch]:
        """By voucher: the newest head of the own log that it is known here to have cosigned."""
        return dict(self._vouched)

    @property
    def peer_saw(self) -> int:
        """How much of the own log the peer's newest entry held here had seen."""
        return self._peer_saw

    def held_head(self, site: SiteId, size: int | None = None) -> Checkpoint | None:
        """The newest signed head of that log that is kept here, or the one of ``size``, with its cosignatures."""
        return self._store.head(site) if size is None else self._store.head_at(site, size)

    def sworn(self) -> tuple[JournalSworn, ...]:
        """Every oath in the own log, by which a tail was given up."""
        bodies = (entry.body for entry in self.of_kind(JournalSworn.KIND))
        return tuple(body for body in bodies if isinstance(body, JournalSworn))

    def of_kind(self, kind: str) -> tuple[Entry, ...]:
        """Every entry of that kind in the own log. It reads all of it: for what is asked seldom."""
        return tuple(entry_from_text(row.text) for row in self._store.of_kind(self.site, kind))

    def entries(self, site: SiteId, start: int = 0, limit: int = READ_AT_ONCE) -> tuple[Entry, ...]:
        """Up to ``limit`` entries of a log from number ``start`` on."""
        return tuple(entry_from_text(row.text) for row in self._store.rows(site, start, limit))

    def size(self, site: SiteId) -> int:
        """How many entries of that log are held here."""
        tree = self._trees.get(site)
        return tree.size if tree else 0

    def sizes(self) -> Mapping[SiteId, int]:
        trees = self._trees
        return {self.site: trees[self.site].size, self.peer: trees[self.peer].size}

    def merged(self, start: Mapping[SiteId, int] | None = None) -> Iterator[Entry]:
        """Both logs in causal order; ``start`` is a cursor into it: how many entries of each log to pass over."""
        ends = self.sizes()
        begin = {site: (start or {}).get(site, 0) for site in ends}
        return merge({site: self._reading(site, begin[site], ends[site]) for site in ends}, begin)

    def checkpoint(self) -> Checkpoint:
        """The signed head of the own log."""
        own = self._trees[self.site]
        stored = self._store.head(self.site)
        if stored is not None and (stored.size, stored.root) == (own.size, own.root()):
            return stored
        return self._signer.sign(own.size, own.root())

    def root(self, site: SiteId, size: int) -> bytes:
        """The root of that log as it was at ``size``."""
        with self._store.hashes(site) as stored:
            return tree_of(size, stored).root()

    def consistency(self, first: int, second: int, site: SiteId | None = None) -> tuple[bytes, ...]:
        """The proof that the log (the own one by default) at ``second`` begins with the log at ``first``."""
        site = site or self.site
        if not 0 <= first <= second <= self.size(site):
            why = f"it needs 0 <= first <= second <= {self.size(site)}"
            raise NciaError("journal.no-proof", f"prove {site}'s log from {first} to {second}", why)
        with self._store.hashes(site) as stored:
            return consistency_proof(first, second, stored)

    def inclusion(self, site: SiteId, number: int, size: int) -> tuple[bytes, ...]:
        """The proof that entry ``number`` is in the log's tree of ``size``."""
        if not 0 <= number < size <= self.size(site):
            why = f"it needs 0 <= number < size <= {self.size(site)}"
            raise NciaError("journal.no-proof", f"prove entry {number} of {site}'s log of {size}", why)
        with self._store.hashes(site) as stored:
            return inclusion_proof(number, size, stored)

    def subscribe(self, callback: Callable[[Entry], None]) -> None:
        """Call after each durable entry, own or pulled, in the order of writing, one at a time.

        A callback is quick and waits for no other thread; it may append.
        """
        with self.delivery:
            self._subscribers.append(callback)

    def close(self) -> None:
        """Give up the right to write."""
        with self._writing:
            self._store.close()
            self._lock.release()

    def _add(
        self, site: SiteId, entries: Sequence[Entry], tree: Tree, nodes: Sequence[Node], head: Checkpoint | None
    ) -> None:
        try:
            self._store.add(site, entries, nodes, head)
        except NciaError:
            self._unsure = True  # the commit may have happened all the same
            raise
        self._trees = {**self._trees, site: tree}
        self._undelivered.extend(entries)

    def _make_sure(self) -> None:
        """After a write that failed: look what the store holds, and tell of what was written nevertheless."""
        if not self._unsure:
            return
        before, self._trees = self._trees, self._read_trees()
        self._peer_saw, self._own_saw = self._read_seen(self.peer), self._read_seen(self.site)
        for site, tree in self._trees.items():
            self._undelivered.extend(self._reading(site, before[site].size, tree.size))
        self._unsure = False

    def _deliver(self) -> None:
        with self.delivery:
            if self._delivering:
                return  # a callback appended: the loop below, further up this thread, goes on with its entries
            self._delivering = True
            try:
                while self._undelivered:
                    entry = self._undelivered.popleft()
                    for callback in self._subscribers:
                        self._tell(callback, entry)
            finally:
                self._delivering = False

    def _tell(self, callback: Callable[[Entry], None], entry: Entry) -> None:
        try:
            callback(entry)
        except Exception:
            # The entry is durable: a subscriber's failure must not make the append look undone.
            _log.exception("journal.subscriber-failed", site=entry.site, number=entry.number, kind=entry.kind)

    def _reading(self, site: SiteId, start: int, end: int) -> Iterator[Entry]:
        while start < end:
            batch = self.entries(site, start, min(READ_AT_ONCE, end - start))
            if not batch:
                return
            yield from batch
            start += len(batch)

    def _read_trees(self) -> dict[SiteId, Tree]:
        trees = {}
        for site in (self.site, self.peer):
            size = self._store.size(site)
            with self._store.hashes(site) as stored:
                trees[site] = tree_of(size, stored)
        return trees

    def _read_vouches(self) -> Iterator[Vouch]:
        for site in self._keys.keys() - {self.site}:
            head = self._store.head(self.site, cosigner_of(site))
            if head is not None:
                yield from vouches(head, self._keys)

    def _cosigned(self, head: Checkpoint) -> Checkpoint:
        line = self._cosigner.cosign(head, self._clock.now())
        return sound(head, self._keys).with_cosignatures([line])

    def _read_seen(self, site: SiteId) -> int:
        """How much of the other log the newest entry of that log had seen. Of what a site saw it may have lost some
        when it was set back: its next entry says no less all the same."""
        last = self._trees[site].size - 1
        return self.entries(site, last, 1)[0].peer_seen if last >= 0 else 0

    def _demand_whole(self, own: Tree) -> None:
        """A log that lost its tail must not write: the numbers that it would use are taken by what the peer holds."""
        if self._peer_saw > max(own.size, self._sworn_to):
            self._sworn_to = max((oath.lost_to for oath in self.sworn()), default=0)
        if self._peer_saw > max(own.size, self._sworn_to):
            why = f"it holds {own.size} entries and {self.peer} has seen {self._peer_saw}: its tail is lost"
            hint = f"bring back entries {own.size}..{self._peer_saw - 1} from {self.peer}"
            raise NciaError("journal.lost-tail", f"write to {self.site}'s log", why, hint)

    def _fresh(self, entries: Sequence[Entry], held: Tree) -> tuple[Entry, ...]:
        """Those that are new; all of them follow each other, and what is held already is the same here."""
        for before, entry in zip((None, *entries), entries, strict=False):
            expected = entry.number if before is None else before.number + 1
            if entry.site != self.peer or entry.number != expected:
                why = f"entry {expected} of {self.peer} was due, and {entry.site} {entry.number} came"
                raise NciaError("journal.gap", self._accepting(), why, "fetch the entries again")
        known = [entry for entry in entries if entry.number < held.size]
        fresh = tuple(entries[len(known) :])
        if fresh and fresh[0].number != held.size:
            why = f"entry {held.size} was due, and {fresh[0].number} came"
            raise NciaError("journal.gap", self._accepting(), why, "fetch the entries again")
        stored = self._store.rows(self.peer, known[0].number, len(known)) if known else ()
        for entry, row in zip(known, stored, strict=True):
            if entry.leaf_hash != row.leaf_hash:
                why = f"another entry {entry.number} than the one that is held here was sent"
                raise NciaError("journal.fork", self._accepting(), why, "`ncia journal verify` both sites' journals")
        return fresh

    def _vouched_elsewhere(self, head: Checkpoint, found: Sequence[Vouch]) -> NciaError:
        who = " and ".join(sorted(vouch.by for vouch in found))
        why = f"FORK: {who} cosigned a head of size {head.size}, root {head.root.hex()[:16]}…, which is not of this log"
        hint = "keep this journal, `ncia journal verify` it together with theirs, find who wrote the other history"
        return NciaError("journal.fork", f"keep the cosignatures of {self.site}'s log", why, hint)

    def _accepting(self) -> str:
        return f"take over {self.peer}'s log"

    def _forked(self, checkpoint: Checkpoint, held: Tree) -> NciaError:
        why = (
            f"FORK: {self.peer} signed a head of size {checkpoint.size}, root {checkpoint.root.hex()[:16]}…, that does "
            f"not agree with the {held.size} entries, root {held.root().hex()[:16]}…, that it signed before"
        )
        hint = "keep both journals, `ncia journal verify` them together, and find out who wrote the other history"
        return NciaError("journal.fork", self._accepting(), why, hint)


def head_of(checkpoint: Checkpoint) -> tuple[int, bytes]:
    return checkpoint.size, checkpoint.root


def open_journal(url: str, *, peer: SiteId, signer: Signer, keys: Keyring, clock: Clock) -> Journal:
    """The journal of ``signer.site`` in the database at ``url``."""
    store = Store(url)
    try:
        return Journal(store, peer=peer, signer=signer, keys=keys, clock=clock)
    except BaseException:
        store.close()
        raise
