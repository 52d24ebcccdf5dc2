"""A backup: paths into a snapshot, which is written last, when all that it needs is durable and named by an index."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from backup.repository.format.compression import Compression
from backup.repository.format.keys import Holder
from backup.repository.format.snapshots import Snapshot, parent_of
from backup.repository.format.times import moment_text
from backup.repository.locks import NO_PATIENCE, Lock, Patience, at_work
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from backup.repository.save.excluding import NOTHING, Exclusions
from backup.repository.save.looking import Ahead, Looking, looking_at
from backup.repository.save.pipeline import Added
from backup.repository.save.reading import Figures, Reading
from backup.repository.save.scan import Losses
from backup.repository.save.walk import absolute, ways
from backup.repository.strays import name_strays
from ncia.core.base.clock import Clock
from ncia.core.base.errors import NciaError


@dataclass(frozen=True)
class Request:
    """What a backup is asked for. Without ``parent`` every file is read, also those that look unchanged."""

    paths: tuple[str, ...]
    holder: Holder
    tags: tuple[str, ...] = ()
    parent: bool = True
    verify: bool = True
    workers: int = 0  # as many as there are processors
    program: str = "ncia"
    exclusions: Exclusions = NOTHING
    patience: Patience = NO_PATIENCE
    compression: Compression = Compression.AUTO


@dataclass(frozen=True)
class Saved:
    """A backup that ended."""

    snapshot: Snapshot
    figures: Figures
    added: Added
    losses: Losses

    @property
    def partial(self) -> bool:
        """Something that was asked for is not in it."""
        return bool(self.losses)


def hear(ahead: Ahead | None, since: datetime, request: Request, over: Callable[[], bool]) -> Looking:
    """What whoever went ahead at ``since`` tells of what is to be backed up, before the repository is open."""
    found = looking_at(request.paths, request.exclusions)
    if ahead is not None:
        found.ahead, found.since = ahead, since
    found.hear(over)
    return found


def save(
    repository: Repository,
    request: Request,
    clock: Clock,
    tell: Callable[[Figures], None] = lambda _: None,
    looking: Looking | None = None,
) -> Saved:
    """Back the paths up, under a lock that others may share. ``tell`` hears the figures after each folder and chunk;
    ``looking`` may know some of what is there."""
    looking = looking or looking_at(request.paths, request.exclusions)
    losses = looking.losses
    paths = demand_paths(request.paths, losses)
    repository.compression = request.compression
    with Lock(repository, at_work(request.holder), clock, patience=request.patience) as lock:
        if lock.waited:  # what was looked at ahead is of long before
            looking.forget()
        started = looking.since or clock.now()
        there = repository.packs_there()
        repository.load_index(there)  # counting on others it would be whole by its word, and hollow
        recovered = name_strays(repository, there, lock.demand_there)
        names = tuple(os.fsdecode(path) for path in paths)
        found = [each for each in repository.snapshots() if each.time <= started]  # none is of the future but in error
        parent = parent_of(found, request.holder.hostname, names) if request.parent else None
        with Reading(repository, request.workers, request.verify, lock.demand_there, looking, tell) as reading:
            tree = reading.run(ways(path for path in paths if os.path.lexists(path)), parent.tree if parent else None)
        reading.figures.excluded, reading.figures.recovered = looking.excluded, recovered
        made = Snapshot(
            time=started,
            tree=tree,
            paths=names,
            hostname=request.holder.hostname,
            username=request.holder.username,
            uid=os.getuid(),
            gid=os.getgid(),
            excludes=request.exclusions.told,
            tags=request.tags,
            parent=parent.id if parent else "",
            program_version=request.program,
            summary=summary(reading.figures, reading.packing.added, started, clock.now()),
        )
        lock.demand_there()
        name = repository.save_file(Kind.SNAPSHOTS, made.as_json())
    return Saved(replace(made, id=name), reading.figures, reading.packing.added, losses)


def demand_paths(asked: tuple[str, ...], losses: Losses) -> tuple[bytes, ...]:
    """The paths, absolute, each once. Refuses where nothing is there at all; notes what is missing of several."""
    paths = tuple(dict.fromkeys(absolute(path) for path in asked))
    missing = [path for path in paths if not os.path.lexists(path)]
    if len(missing) == len(paths):
        told = ", ".join(os.fsdecode(path) for path in missing)
        raise NciaError(
            "repository.no-source", "back up", f"there is nothing at {told or 'no path'}", "check the paths"
        )
    for path in missing:
        losses.note("path", path, "it is not there")
    return paths


def summary(figures: Figures, added: Added, started: datetime, ended: datetime) -> dict[str, Any]:
    """The figures under the names under which restic keeps and shows them."""
    return {
        "backup_start": moment_text(started),
        "backup_end": moment_text(ended),
        "files_new": figures.new,
        "files_changed": figures.changed,
        "files_unmodified": figures.unchanged,
        "dirs_new": figures.folders,
        "dirs_changed": 0,
        "dirs_unmodified": 0,
        "data_blobs": added.data_blobs,
        "tree_blobs": added.tree_blobs,
        "data_added": added.plain_bytes,
        "data_added_packed": added.packed_bytes,
        "total_files_processed": figures.files,
        "total_bytes_processed": figures.bytes,
    }
