"""What ``ncia repo backup`` asks: files, or what a command writes, kept as one snapshot; answered in plain values."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from backup.repository.format.snapshots import tags_told
from backup.repository.ports import StoreFault
from backup.repository.repository import Repository
from ncia.app.repository import CLOCK, Access, Answer, Tell, extended, holder, losses_told, program, retained_as

if TYPE_CHECKING:
    from backup.repository.save.excluding import Exclusions
    from backup.repository.save.looking import Looking
    from backup.repository.save.reading import Figures
    from backup.repository.save.saving import Request, Saved


@dataclass(frozen=True)
class LeaveOut:
    """What is not to be kept, as it is given on a command line."""

    patterns: Sequence[str] = ()
    insensitive: Sequence[str] = ()
    files: Sequence[Path] = ()
    insensitive_files: Sequence[Path] = ()
    caches: bool = False
    if_present: Sequence[str] = ()
    larger_than: str = ""
    one_file_system: bool = False


@dataclass(frozen=True)
class Wanted:
    """What a backup is asked for. ``tags``: lists with commas. ``wait_seconds``: of one call at one of two places; 0:
    as long as a store's own patience and a slow line take."""

    paths: tuple[str, ...]
    tags: tuple[str, ...] = ()
    host: str = ""
    force: bool = False
    verify: bool = True
    leave_out: LeaveOut = field(default_factory=LeaveOut)
    wait_seconds: float = 0.0
    compression: str = "auto"


def backup(access: Access, wanted: Wanted, tell: Tell, watched: bool = False) -> Answer:
    """``watched``: somebody waits for the end, so that it is counted how much there is."""
    from backup.repository.save.scout import sent

    exclusions, since = exclusions_asked(wanted.leave_out), CLOCK.now()
    scout = None if wanted.force else sent(wanted.paths, exclusions)  # with --force nothing is compared with it
    with closing(scout) if scout else nullcontext():
        heard: list[tuple[Request, Looking]] = []

        def listen(over: Callable[[], bool]) -> None:
            from backup.repository.save.saving import hear

            request = request_of(access, wanted, exclusions)
            heard.append((request, hear(scout, since, request, over)))

        with access.opened(meanwhile=listen) as repository:
            from backup.repository.save.saving import save

            request, looking = heard[0]
            with told_of(request, tell, watched) as hear_figures:
                saved = save(repository, request, CLOCK, hear_figures, looking)
            return saved_told(repository, saved, wanted.verify)


@contextmanager
def told_of(request: Request, tell: Tell, watched: bool) -> Iterator[Callable[[Figures], None]]:
    """What ``tell`` hears of a backup: with how much there is in all, once that is counted."""
    from backup.repository.save.counting import Counting

    if not watched:
        yield lambda figures: tell(figures.files, figures.bytes, 0)
        return
    with closing(Counting(request.paths, request.exclusions)) as counting:
        yield lambda figures: tell(figures.files, figures.bytes, counting.bytes)


def backup_output(access: Access, command: Sequence[str], wanted: Wanted) -> Answer:
    """``wanted`` has one path: the name as which it is kept."""
    from backup.repository.save.output import save_output

    with access.opened() as repository:
        request = request_of(access, wanted, exclusions_asked(wanted.leave_out))
        saved = save_output(repository, request, command, CLOCK)
        return saved_told(repository, saved, wanted.verify)


def exclusions_asked(out: LeaveOut) -> Exclusions:
    from backup.repository.save.excluding import CACHES, NOTHING, exclusions_of

    if out == LeaveOut():
        return NOTHING
    return exclusions_of(
        out.patterns,
        out.insensitive,
        out.files,
        out.insensitive_files,
        [*out.if_present, *([CACHES] if out.caches else ())],
        out.larger_than,
        out.one_file_system,
        os.environ,
    )


def request_of(access: Access, wanted: Wanted, exclusions: Exclusions) -> Request:
    from backup.repository.format.compression import Compression
    from backup.repository.save.saving import Request

    return Request(
        wanted.paths,
        holder(wanted.host),
        tags_told(wanted.tags),
        not wanted.force,
        wanted.verify,
        access.workers,
        program(),
        exclusions,
        access.patience,
        Compression(wanted.compression),
    )


def saved_told(repository: Repository, saved: Saved, verify: bool) -> Answer:
    try:
        reaching = extended(repository)
    except StoreFault as fault:  # the snapshot is there all the same
        reaching = 0
        saved.losses.note("retention of what it reuses", b"/", fault.why)
    return {
        "snapshot": saved.snapshot.id,
        "retained": retained_as(repository.store),
        "extended": reaching,
        "parent": saved.snapshot.parent,
        "tree": saved.snapshot.tree.hex(),
        "partial": saved.partial,
        "verified": verify,
        **asdict(saved.figures),
        "added": asdict(saved.added),
        "losses": losses_told(saved.losses),
        "damaged": repository.damaged,
    }
