"""Snapshots: which tree was kept, of which paths, when, of which host."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup.repository.format.bounds import parsed
from backup.repository.format.times import moment_of, moment_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SHORT

PREFIX_MIN = 4
LATEST = "latest"


@dataclass(frozen=True)
class Snapshot:
    """``id`` is empty until it is saved; ``summary`` holds restic's figures of how it was made, where it told any."""

    time: datetime
    tree: bytes
    paths: tuple[str, ...]
    hostname: str
    username: str
    uid: int = 0
    gid: int = 0
    tags: tuple[str, ...] = ()
    parent: str = ""
    program_version: str = ""
    summary: dict[str, Any] = field(default_factory=dict)
    id: str = ""
    original: str = ""  # the snapshot that this one was made from: copied elsewhere, or made anew
    excludes: tuple[str, ...] = ()  # patterns of what was left out

    def as_json(self) -> bytes:
        fields: dict[str, Any] = {
            "time": moment_text(self.time),
            "parent": self.parent,
            "tree": self.tree.hex(),
            "paths": list(self.paths),
            "hostname": self.hostname,
            "username": self.username,
            "uid": self.uid,
            "gid": self.gid,
            "excludes": list(self.excludes),
            "tags": list(self.tags),
            "program_version": self.program_version,
            "original": self.original,
            "summary": self.summary,
        }
        kept = {name: value for name, value in fields.items() if value or name in ("time", "tree", "paths")}
        return json.dumps(kept, separators=(",", ":")).encode()


def snapshot_of(text: bytes, id_: str) -> Snapshot:
    """Raises :class:`~backup.repository.faults.Damaged`."""

    def snapshot(told: Any) -> Snapshot:
        tree = bytes.fromhex(told["tree"])
        if len(tree) != 32:
            raise ValueError("its tree has no id")
        return Snapshot(
            time=moment_of(told["time"]),
            tree=tree,
            paths=tuple(map(str, told.get("paths") or ())),
            hostname=str(told.get("hostname", "")),
            username=str(told.get("username", "")),
            uid=int(told.get("uid", 0)),
            gid=int(told.get("gid", 0)),
            excludes=tuple(map(str, told.get("excludes") or ())),
            tags=tuple(map(str, told.get("tags") or ())),
            parent=str(told.get("parent") or ""),
            program_version=str(told.get("program_version", "")),
            original=str(told.get("original") or ""),
            summary=dict(told.get("summary") or {}),
            id=id_,
        )

    found: Snapshot = parsed(text, f"read snapshot {id_[:SHORT]}", snapshot, "{time, tree, paths}")
    return found


def chosen(snapshots: Iterable[Snapshot], word: str) -> Snapshot:
    """The snapshot that a person means: a leading part of its id, or ``latest``."""
    what = f"find snapshot {word!r}"
    known = sorted(snapshots, key=lambda each: (each.time, each.id))
    if word == LATEST:
        if not known:
            raise NciaError("repository.no-snapshot", what, "the repository holds none")
        return known[-1]
    found = [each for each in known if len(word) >= PREFIX_MIN and each.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    why = f"{len(found)} begin with it" if found else f"none of {len(known)} begins with it"
    if len(word) < PREFIX_MIN:
        why = f"it is too short: at least {PREFIX_MIN} characters of an id are needed"
    raise NciaError("repository.no-snapshot", what, why, "ncia repo snapshots lists them")


def demand_read(unread: Iterable[str], word: str) -> None:
    """Refuses where what a person means may be one of the snapshots that are there and cannot be read."""
    meant = sorted(id_ for id_ in unread if word == LATEST or (len(word) >= PREFIX_MIN and id_.startswith(word)))
    if not meant:
        return
    named = ", ".join(id_[:SHORT] for id_ in meant)
    why = f"{named} is damaged" if word != LATEST else f"{named} is damaged, and may be the latest one"
    hint = "ncia repo repair --from its twin brings it back"
    if word == LATEST:
        hint += "; else name the one that you mean: ncia repo snapshots lists them"
    raise NciaError("repository.snapshot-damaged", f"find snapshot {word!r}", why, hint)


def parent_of(snapshots: Iterable[Snapshot], hostname: str, paths: tuple[str, ...]) -> Snapshot | None:
    """The newest snapshot of the same paths of the same host."""
    same = (each for each in snapshots if each.hostname == hostname and sorted(each.paths) == sorted(paths))
    return max(same, key=lambda each: (each.time, each.id), default=None)
