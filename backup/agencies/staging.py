"""The documents of one tree or bucket in a folder of this machine, as an engine can read them.

What lies there from the time before is not fetched again: a document is looked at by its size and time, as mirrors do.
What the store has no more is removed, so that a snapshot is what the store holds. A root that is not there, or a disk
that is not mounted, looks like a store that was emptied: who calls it so is a person.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from backup.agencies.plan import NEVER
from ncia.core.base.errors import NciaError, Refusal, Unreachable
from ncia.core.work.documents import MARK, Documents, Seen, fault_of

NAMED_MAX = 20
ASIDE = ".fetching"  # no document is called so
GRAIN_SECONDS = 1.0  # SFTP tells whole seconds
FEW_SHARE = 0.1  # of what was known: what lists less than that has lost its root, until a person says otherwise
EMPTIED = "ncia backup run SYSTEM/documents --emptied, where they were removed"


@dataclass
class Staged:
    """``fetched`` of ``documents`` were not there yet. ``lost``: what could not be brought here, the first by name."""

    documents: int = 0
    fetched: int = 0
    removed: int = 0
    losses: int = 0
    lost: list[str] = field(default_factory=list)

    def lose(self, name: str, why: str) -> None:
        self.losses += 1
        if len(self.lost) < NAMED_MAX:
            self.lost.append(f"{name}: {why}")


def stage(documents: Documents, folder: Path, known: int = 0, other: Documents | None = None) -> Staged:
    """Make ``folder`` hold what the store does; raises :class:`Unreachable` where that does not answer, and
    :class:`Refusal` where it lists nothing though so many were ``known`` before. Where nothing ever was (``NEVER``) its
    canary must be there, and the ``other`` site's store be as empty. Where it lists few of many, that is a loss."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    staged = Staged()
    held: set[Path] = set()
    for seen in _listed(documents, staged):
        staged.documents += 1
        path = folder / seen.name
        try:
            if not is_there(path, seen):
                content = documents.get(seen.name)
                if content is None:  # gone since it was listed
                    staged.documents -= 1
                    continue
                _write(folder, path, content, seen)
                staged.fetched += 1
            held.add(path)
        except OSError as error:
            staged.lose(seen.name, error.strerror or str(error))
        except Unreachable:
            raise
        except NciaError as error:
            staged.lose(seen.name, error.why)
    if not staged.documents and not staged.losses:
        if why := _why_not_empty(documents, known, other):
            what = f"bring the documents of {documents.where} here"
            raise Refusal("agency.nothing-listed", what, f"it lists none, and {why}", "look at the store", EMPTIED)
    elif staged.documents + staged.losses < known * FEW_SHARE:
        count = staged.documents + staged.losses
        few = f"it lists {count}, and the snapshot before has {known}: perhaps its root is not there; {EMPTIED}"
        staged.losses += 1
        staged.lost.insert(0, f"{documents.where}: {few}")
    staged.removed = _remove_others(folder, held)
    return staged


def _why_not_empty(documents: Documents, known: int, other: Documents | None) -> str:
    """Why a store that lists nothing is not taken for an empty one, in one clause."""
    if known > 0:
        return f"the snapshot before has {known}: perhaps its root is not there"
    if known == NEVER and documents.get(MARK) is None:
        return "no canary is in it: perhaps its root is not there"
    if known == NEVER and other is None:
        return "there is no other store to ask: perhaps its root is not there"
    if known == NEVER and other is not None and next(_listed(other, Staged()), None) is not None:
        return f"{other.where} lists some: perhaps its root is not there, or not the one that it was"
    return ""


def staged_before(folder: Path, seen: Seen, moment: datetime) -> bool:
    """Whether this very document was brought into ``folder`` before then, by this machine's clock, and is there still.
    Its own time says when it was written, and nothing of when the store had it: it may have been moved there."""
    path = folder / seen.name
    try:
        return is_there(path, seen) and path.lstat().st_ctime < moment.timestamp()
    except OSError:
        return False


def _listed(documents: Documents, staged: Staged) -> Iterator[Seen]:
    waiting = [""]
    while waiting:
        found = documents.look(waiting.pop())
        waiting += found.folders
        for name in found.refused:
            staged.lose(name, "no document may be called so")
        for seen in found.documents:
            if why := fault_of(seen.name):
                staged.lose(seen.name, why)
            else:
                yield seen


def is_there(path: Path, seen: Seen) -> bool:
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == seen.size_bytes and abs(found.st_mtime - seen.modified_at) < GRAIN_SECONDS


def _write(folder: Path, path: Path, content: bytes, seen: Seen) -> None:
    """Whole under its name, or not there; with the store's time, by which it is known the next time."""
    for above in reversed(path.relative_to(folder).parents[:-1]):
        if (folder / above).is_file():  # it was a document's name before
            (folder / above).unlink()
    if path.is_dir():
        _remove_others(path, set())
        path.rmdir()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = folder / ASIDE
    aside.write_bytes(content)
    os.utime(aside, ns=(at := int(seen.modified_at * 1e9), at))
    os.replace(aside, path)


def _remove_others(folder: Path, held: set[Path]) -> int:
    """Remove what is not held, and folders that are empty by then; answers how many documents that were."""
    removed = 0
    for above, folders, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(above, name)
            if path not in held:
                path.unlink()
                removed += 1
        for name in folders:
            inner = Path(above, name)
            if inner.is_symlink():
                inner.unlink()
            elif not any(inner.iterdir()):
                inner.rmdir()
    return removed
