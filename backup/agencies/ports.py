"""What an agency's repository needs of the program that keeps it: ours, or the one that the agency has already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ncia.core.base.errors import NciaError, Refusal

METADATA = ("modes", "owners", "times in ns", "attributes", "ACLs", "hard links", "FIFOs", "devices", "raw names")


class EngineFault(NciaError):
    """The engine could not do what it was asked; of a backup, nothing can be said to be kept."""


@dataclass(frozen=True)
class Capabilities:
    """What an engine does behind this port, as it is, and not as one would wish. Each field's sentence is in
    :data:`SENTENCES`."""

    engine: str
    version: str
    verifies_writes: bool
    verifies_restores: bool
    reads_all: bool
    reads_parts: bool
    makes_twins: bool
    writes_both: bool
    heals: bool
    forgets: bool
    prunes: bool
    retains: bool
    resumes_backups: bool
    resumes_restores: bool
    metadata: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """All of it in plain words, what it does not do as well."""
        told = [yes if getattr(self, field) else f"not: {yes}" for field, yes in SENTENCES.items()]
        lost = [each for each in METADATA if each not in self.metadata]
        told.append(f"it keeps {', '.join(self.metadata)}" + (f"; not: {', '.join(lost)}" if lost else ""))
        return tuple(told)

    def demand(self, field: str, what: str) -> None:
        """Refuses, in one sentence, what it cannot do."""
        if not getattr(self, field):
            why = f"{self.engine} {self.version} does not do this: {SENTENCES[field]}"
            raise Refusal("engine.cannot", what, why, "ncia repo engines tells what each one does")


SENTENCES = {
    "verifies_writes": "it opens each blob again before it is kept",
    "verifies_restores": "it hashes each blob before a byte of it is restored",
    "reads_all": "its check reads and verifies every byte where that is asked",
    "reads_parts": "its check reads one part of several, which together are all",
    "makes_twins": "it makes a repository whose files are another one's, byte for byte",
    "writes_both": "it writes one backup to both sites at once",
    "heals": "it mends a repository from its twin",
    "forgets": "it removes single snapshots",
    "prunes": "it removes what no snapshot needs",
    "retains": "it has what it writes retained as a bucket's Object Lock rule says, and reads that back",
    "resumes_backups": "a backup that was interrupted is gone on with by the next one",
    "resumes_restores": "a restore that was interrupted is gone on with",
}


@dataclass(frozen=True)
class Place:
    """Where a repository is, as restic writes URLs, and the file that holds its password. ``ssh`` is the command by
    which restic enters a host over SFTP, ``environment`` its keys of a bucket; both are empty where the user's own
    are meant."""

    url: str
    password_file: Path
    ssh: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Asked:
    """What a backup is of. ``host`` and ``tags`` are what it is found by later."""

    paths: tuple[str, ...]
    host: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Kept:
    """A backup that ended. ``losses``: what of it is not in the snapshot, by name; with any it is partial."""

    snapshot: str
    tree: str
    files: int
    size_bytes: int
    losses: tuple[str, ...]

    @property
    def partial(self) -> bool:
        return bool(self.losses)


@dataclass(frozen=True)
class KeptTwice:
    """One snapshot at two places. ``missing``: the URL of a place that has it not whole, and why."""

    kept: Kept
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Healed:
    """What was mended, a sentence each, and what is lost for good."""

    mended: tuple[str, ...]
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Held:
    """A snapshot that a repository holds; ``tree`` is the hash over everything in it."""

    snapshot: str
    tree: str
    at: datetime
    host: str
    tags: tuple[str, ...]
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Holding:
    """All snapshots that can be read, oldest first; ``damaged`` tells of the others. ``repository``: its id."""

    repository: str
    snapshots: tuple[Held, ...]
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Brought:
    """A restore that ended; with any ``losses`` it is partial."""

    losses: tuple[str, ...]

    @property
    def partial(self) -> bool:
        return bool(self.losses)


@dataclass(frozen=True)
class Share:
    """The ``number``-th of ``of`` parts of all that is kept."""

    number: int = 1
    of: int = 1


@dataclass(frozen=True)
class Found:
    """A check that ended. ``read``: whether content was read and not the structure alone; how much of how much, where
    the engine tells it."""

    faults: tuple[str, ...]
    read: bool
    bytes_read: int | None = None
    bytes_all: int | None = None

    @property
    def holds(self) -> bool:
        return not self.faults


@dataclass(frozen=True)
class Cleared:
    """A prune that ended, in packs and their bytes: ``marked`` ones go with a later one. None: it is not told."""

    marked: int | None
    marked_bytes: int | None
    removed: int | None
    removed_bytes: int | None


class Engine(Protocol):
    """A program that keeps files in repositories. Raises :class:`EngineFault`, or another :class:`NciaError`, in one
    sentence; :class:`Refusal` for what it cannot do, or may not now. No secret is in a command line or an error."""

    def capabilities(self) -> Capabilities: ...

    def init(self, place: Place, twin: Place | None = None) -> str:
        """Make a repository; answers its id. With ``twin`` it has that one's id and master key."""
        ...

    def backup(self, place: Place, asked: Asked) -> Kept:
        """Keep files as one snapshot. What is missing in it is told, never passed over."""
        ...

    def backup_both(self, one: Place, other: Place, asked: Asked) -> KeptTwice:
        """The same as one snapshot at two places that are twins, read once. One place at least has it."""
        ...

    def snapshots(self, place: Place) -> Holding: ...

    def restore(self, place: Place, snapshot: str, target: Path, paths: Sequence[str] = ()) -> Brought:
        """Bring a snapshot (its whole id) back below a folder that is new or empty, by whole paths; of ``paths`` alone
        where some are named, and nothing of those that it does not hold."""
        ...

    def check(self, place: Place, share: Share | None = None) -> Found:
        """The structure, and with ``share`` the content of that part, too."""
        ...

    def forget(self, place: Place, snapshots: Sequence[str]) -> None:
        """Remove these snapshots; what only they needed stays until it is pruned. Well where one is gone already."""
        ...

    def prune(self, place: Place) -> Cleared:
        """Remove what no snapshot there needs, now or after a time of grace. Refused while somebody else is at work."""
        ...

    def heal(self, place: Place, twin: Place, share: Share | None = None) -> Healed:
        """Bring what ``place`` lacks, or has damaged, from its twin, also its configuration and a key. With ``share``
        the content of that part is read for what is damaged, too."""
        ...
