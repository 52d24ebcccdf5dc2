"""The vocabulary of the care of agencies' own repositories: what is held back, allowed, begun, brought back, proven;
and of what is kept aside in stores.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

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


class SnapshotMended(Body):
    """A mending brought this snapshot to ``site`` from ``source_site``, where it had been kept at ``kept_at``: expected
    here too from now on, and as old as it is there. The rest as in ``snapshot.kept``."""

    KIND = "snapshot.mended"
    job: str
    agency: str
    dataset: str
    site: str
    source_site: str
    kept_at: str
    repository: str
    snapshot: str
    tree: str
    files: int
    size_bytes: int
    losses: int
    lost: tuple[str, ...]
    reason: str


class RepositoryMended(Body):
    """A mending brought something to ``site``, from ``source_site``, or wrote it anew: what was read there before says
    nothing of it. Written before it is read. ``things``: how many, the first named in a sentence each; 0: an attempt
    before this one may have."""

    KIND = "repository.mended"
    job: str
    agency: str
    site: str
    source_site: str
    repository: str
    things: int
    named: tuple[str, ...]


class PruneStarted(Body):
    """Written before anything is marked or removed; ``repository.pruned`` or ``prune.failed`` is its end."""

    KIND = "prune.started"
    job: str
    agency: str
    site: str
    repository: str
    reason: str


class PruneFailed(Body):
    """It did not end well, or was interrupted and nobody knows how far it came: the next one goes on from there."""

    KIND = "prune.failed"
    job: str
    agency: str
    site: str
    error: str


class SnapshotProven(Body):
    """A sample of a snapshot was restored from the place at ``site`` and is what that site's own store of documents
    holds. ``passed_over``: documents that had been written anew since, and so say nothing."""

    KIND = "snapshot.proven"
    job: str
    agency: str
    dataset: str
    site: str
    repository: str
    snapshot: str
    tree: str
    documents: int
    size_bytes: int
    passed_over: int
    started_at: str
    ended_at: str


class SnapshotProofFailed(Body):
    """Not all of it came back, or what did is not what the store of documents holds."""

    KIND = "snapshot.proof-failed"
    job: str
    agency: str
    dataset: str
    site: str
    snapshot: str
    error: str


class LockMet(Body):
    """A job met a lock that somebody else holds at ``site``. It comes again soon, and is no failure until it has met
    one for longer than a lock outlives its holder. ``dataset``: what the job is of; of a whole place the
    agency's name."""

    KIND = "lock.met"
    job: str
    verb: str
    agency: str
    dataset: str
    site: str
    why: str


class SetAside(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str  # below the store's root
    size_bytes: int
    since: str


class StoreLooked(Body):
    """What is kept aside in the store of ``site``, for it was damaged where it lay: ``count``, the first named. Written
    when that changes; a person removes it."""

    KIND = "store.looked"
    site: str
    count: int
    aside: tuple[SetAside, ...]


BODIES: tuple[type[Body], ...] = (
    ForgetHeld,
    ForgetAllowed,
    SnapshotMended,
    RepositoryMended,
    PruneStarted,
    PruneFailed,
    SnapshotProven,
    SnapshotProofFailed,
    LockMet,
    StoreLooked,
)
