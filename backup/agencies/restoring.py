"""A sample of a snapshot brought back below a folder of this machine, and held against the documents themselves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from backup.agencies.ports import Engine, Place
from backup.agencies.proving import Comparison, empty_store, sample
from backup.agencies.staging import staged_before
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT
from ncia.core.work.documents import Documents, Seen, fault_of

ALL_OF_IT = 1  # path of a snapshot: the folder in which its documents had been staged


@dataclass(frozen=True)
class Made:
    """A snapshot as it was written down, of so many ``files`` (-1: it is not known). ``staged``: what it was made from,
    where that is of this machine."""

    snapshot: str
    files: int
    staged: Path | None = None


def proven(engine: Engine, place: Place, made: Made, documents: Documents, scratch: Path) -> dict[str, Any]:
    """What the restore of a sample came to: the figures of a :class:`Comparison`, and ``error``, empty where it proves
    the snapshot. ``scratch`` is made, and removed at the end. Raises
    :class:`NciaError` where nothing can be said."""
    snapshot = made.snapshot
    held = next((each for each in engine.snapshots(place).snapshots if each.snapshot == snapshot), None)
    if held is None or len(held.paths) != ALL_OF_IT:
        why = "it is not there" if held is None else f"it is of {len(held.paths)} paths"
        raise NciaError("agency.not-as-kept", f"prove snapshot {snapshot[:SHORT]}", why, "ncia backup look")
    chosen = sample(_listed(documents), snapshot + str(scratch), held.at)
    if not chosen:
        return {"documents": 0, "size_bytes": 0, "passed_over": 0, "error": empty_store(made.files)}
    above = held.paths[0]
    comparison = Comparison(held.at)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir(mode=0o700, parents=True)
        brought = engine.restore(place, snapshot, scratch, [f"{above}/{each.name}" for each in chosen])
        for each in chosen:
            _compare(comparison, each, documents, scratch / above.lstrip("/") / each.name, made.staged)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    told = asdict(comparison)
    return {
        "documents": told["documents"],
        "size_bytes": told["size_bytes"],
        "passed_over": told["passed_over"],
        "error": comparison.why_not(brought.losses),
    }


def _compare(comparison: Comparison, seen: Seen, documents: Documents, path: Path, staged: Path | None) -> None:
    content = documents.get(seen.name)
    if content is None:  # gone since it was listed
        comparison.passed_over += 1
        return
    restored, modified_at = _restored(path)
    if restored != content and _now(documents, seen.name) != seen:  # written anew since it was listed
        comparison.passed_over += 1
    elif restored is None:
        comparison.lack(seen, staged is not None and staged_before(staged, seen, comparison.at))
    else:
        comparison.compare(seen, content, restored, modified_at)


def _restored(path: Path) -> tuple[bytes | None, float]:
    try:
        return path.read_bytes(), path.stat().st_mtime
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None, 0.0


def _now(documents: Documents, name: str) -> Seen | None:
    found = documents.look(name.rpartition("/")[0]).documents
    return next((each for each in found if each.name == name), None)


def _listed(documents: Documents) -> Iterator[Seen]:
    waiting = [""]
    while waiting:
        found = documents.look(waiting.pop())
        waiting += found.folders
        yield from (seen for seen in found.documents if not fault_of(seen.name))
