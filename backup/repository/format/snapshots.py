"""Snapshots: which tree was kept, of which paths, when, of which host."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backup.repository.format.bounds import parsed
from backup.repository.format.times import moment_of, moment_text
from backup.repository.format.trees import shown
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


@dataclass(frozen=True)
class Narrowing:
    """restic's ``--host``, ``--tag`` and ``--path``: one of ``hosts``; all of one list of ``tags``, where an empty tag
    is that of a snapshot without any; ``paths`` that are all among those it was made of."""

    hosts: tuple[str, ...] = ()
    tags: tuple[tuple[str, ...], ...] = ()
    paths: tuple[str, ...] = ()

    def fits(self, each: Snapshot) -> bool:
        own = frozenset(each.tags or ("",))
        return (
            (not self.hosts or each.hostname in self.hosts)
            and (not self.tags or any(own.issuperset(tags) for tags in self.tags))
            and frozenset(each.paths).issuperset(self.paths)
        )

    def __str__(self) -> str:
        tags = " or ".join(f"[{', '.join(tags)}]" for tags in self.tags)
        paths = ", ".join(shown(path.encode("utf-8", "surrogateescape")) for path in self.paths)
        hosts = " or ".join(self.hosts)
        told = (("host", hosts), ("tags", tags), ("paths", paths))
        return ", ".join(f"{word} {text}" for word, text in told if text)


ANY = Narrowing()


def tags_in(text: str) -> tuple[str, ...]:
    """``tag[,tag…]``, as restic reads a list of tags."""
    return tuple(each.strip() for each in text.split(","))


def tags_told(texts: Iterable[str]) -> tuple[str, ...]:
    """Of several lists, those that a snapshot is to have."""
    return tuple(dict.fromkeys(each for text in texts for each in tags_in(text) if each))


def narrowed(snapshots: Iterable[Snapshot], narrowing: Narrowing) -> list[Snapshot]:
    """Those that fit. Refused where there are some, and none of them does."""
    known = list(snapshots)
    found = [each for each in known if narrowing.fits(each)]
    if known and not found:
        why = f"none of {len(known)} fits: {narrowing}"
        raise NciaError("repository.no-snapshot", "find snapshots", why, "ncia repo snapshots lists them")
    return found


def chosen(snapshots: Iterable[Snapshot], word: str, narrowing: Narrowing = ANY) -> Snapshot:
    """The snapshot that a person means: a leading part of its id, or ``latest``, of those that fit ``narrowing``."""
    what = f"find snapshot {word!r}"
    known = sorted(narrowed(snapshots, narrowing), key=lambda each: (each.time, each.id))
    if word == LATEST:
        if not known:
            raise NciaError("repository.no-snapshot", what, "the repository holds none")
        return known[-1]
    found = [each for each in known if len(word) >= PREFIX_MIN and each.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    fitting = "" if narrowing == ANY else f" that fit {narrowing}"
    why = f"{len(found)} begin with it" if found else f"none of {len(known)}{fitting} begins with it"
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
