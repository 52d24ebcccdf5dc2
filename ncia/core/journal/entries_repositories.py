"""The vocabulary of agencies' own repositories: what was made, kept and so is expected, and found."""

from __future__ import annotations

from ncia.core.journal.body import Body


class RepositoryMade(Body):
    """An agency's repository is at ``site``: made, or found and opened. ``escrowed_for``: whose keys recover it."""

    KIND = "repository.made"
    job: str
    agency: str
    site: str
    repository: str  # its id, 64 hex digits
    engine: str
    place: str  # its URL, in which no secret stands
    escrowed_for: tuple[str, ...]


class SnapshotKept(Body):
    """A snapshot that is expected at ``site`` from now on, until it is forgotten with a reason. ``tree``: the hash over
    all that is in it. With any ``losses`` it is partial: something that was to be in it is not."""

    KIND = "snapshot.kept"
    job: str
    agency: str
    dataset: str
    site: str
    repository: str
    snapshot: str
    tree: str
    files: int
    size_bytes: int
    losses: int
    lost: tuple[str, ...]  # the first of them by name
    reason: str
    seconds: float


class SnapshotHolds(Body):
    """What a snapshot of the repository at ``site`` is another copy of: a recovery point, or a program's archive, that
    lies in ``store_site``'s store. Before it was kept it was compared with ``sha256``, which was journalled when it was
    made: of the point's manifest, which vouches for each file of its base backup, or of the archive."""

    KIND = "snapshot.holds"
    job: str
    agency: str
    dataset: str
    site: str
    repository: str
    snapshot: str
    subject: str  # the point's id, or the archive's path in its store
    store_site: str
    sha256: str


class SnapshotFailed(Body):
    """A backup of a dataset into the repository at ``site`` left no snapshot, or a partial one."""

    KIND = "snapshot.failed"
    job: str
    agency: str
    dataset: str
    site: str
    error: str


class SnapshotForgotten(Body):
    """Written before the snapshot is removed: from here on nobody expects it."""

    KIND = "snapshot.forgotten"
    agency: str
    dataset: str
    site: str
    snapshot: str
    reason: str


class RepositoryLooked(Body):
    """What a repository holds was compared with what this journal expects there; written when the outcome changes.

    ``missing``: a sentence for each snapshot that is not there as it was kept. ``strangers``: snapshots that nobody
    wrote down. ``why``: it could not be looked into, or it is another repository."""

    KIND = "repository.looked"
    agency: str
    site: str
    expected: int
    missing: tuple[str, ...]
    strangers: int
    why: str


class RepositoryChecked(Body):
    """The structure of a repository was checked, and every byte of ``part`` of ``of`` parts, which together are all of
    it, was read and compared with what was written. ``faults``: what cannot be restored as it was kept.

    Bytes are those of packs; -1 where the engine does not tell them."""

    KIND = "repository.checked"
    job: str
    agency: str
    site: str
    repository: str
    part: int
    of: int
    bytes_read: int
    bytes_all: int  # of all parts
    faults: int
    named: tuple[str, ...]  # the first of them, a sentence each
    started_at: str
    ended_at: str


class RepositoryPruned(Body):
    """What no snapshot needs was marked, or, once its grace was over, removed from the repository at ``site``. Counts
    are of packs; -1 where the engine does not tell."""

    KIND = "repository.pruned"
    job: str
    agency: str
    site: str
    repository: str
    reason: str
    marked: int
    marked_bytes: int
    removed: int
    removed_bytes: int
    started_at: str
    ended_at: str


BODIES: tuple[type[Body], ...] = (
    RepositoryMade,
    SnapshotKept,
    SnapshotHolds,
    SnapshotFailed,
    SnapshotForgotten,
    RepositoryLooked,
    RepositoryChecked,
    RepositoryPruned,
)
