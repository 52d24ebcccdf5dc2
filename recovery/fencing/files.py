"""The two small files by which warden, gate, fence-watch and applications of one host talk: lease.json and gate.json.

Each has one writer, is replaced whole (temp and rename) and is read again when its ``stat`` changes. Moments are
CLOCK_BOOTTIME, so each file names the boot it was written in: after a restart of the machine it says nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from ncia.core.base.ids import SiteId, SystemId

LEASE_FILE = "lease.json"
GATE_FILE = "gate.json"
NANOSECONDS = 1_000_000_000

T = TypeVar("T")


@dataclass(frozen=True)
class Standing:
    """Where a system is active, and under which epoch. ``deadline_boottime_ns`` is set only where the system's own
    deadline is later than the site's (policy ``isolated: continue``). ``held_by``: the run for which the system is held
    in a planned move; nothing of it may pass at any site meanwhile."""

    epoch: int
    site: SiteId
    deadline_boottime_ns: int | None = None
    held_by: str = ""


@dataclass(frozen=True)
class LeaseFile:
    """What the warden says. ``deadline_boottime_ns`` 0 is fenced; ``granted_until_boottime_ns`` is the latest deadline
    it ever gave in this boot, which someone may still believe."""

    version: int
    site: SiteId
    warden: str
    boot: str
    deadline_boottime_ns: int
    granted_until_boottime_ns: int
    reason: str
    systems: Mapping[SystemId, Standing] = field(default_factory=dict)
    as_of: str = ""

    def deadline_of(self, system: SystemId) -> int:
        """Until when writes of ``system`` may pass at this site; 0 where they may not at all."""
        standing = self.systems.get(system)
        if standing is None or standing.site != self.site or standing.held_by:
            return 0
        return max(self.deadline_boottime_ns, standing.deadline_boottime_ns or 0)

    def to_json(self) -> str:
        systems: dict[str, dict[str, Any]] = {}
        for system, standing in self.systems.items():
            systems[system] = {"epoch": standing.epoch, "site": standing.site}
            if standing.deadline_boottime_ns is not None:
                systems[system]["deadline_boottime_ns"] = standing.deadline_boottime_ns
            if standing.held_by:
                systems[system]["held_by"] = standing.held_by
        return json.dumps({**self.__dict__, "systems": systems}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> LeaseFile:
        told = json.loads(text)
        systems = {
            SystemId(system): Standing(
                int(s["epoch"]), SiteId(s["site"]), s.get("deadline_boottime_ns"), str(s.get("held_by", ""))
            )
            for system, s in told.pop("systems").items()
        }
        return cls(**told, systems=systems)


@dataclass(frozen=True)
class GateFile:
    """What the gate says. ``open``: systems that it lets pass now; ``boottime_ns``: its heartbeat."""

    version_seen: int
    boot: str
    pid: int
    boottime_ns: int
    open: tuple[SystemId, ...]
    fenced_at_boottime_ns: int | None
    connections: int = 0

    def to_json(self) -> str:
        return json.dumps(self.__dict__)

    @classmethod
    def from_json(cls, text: str) -> GateFile:
        told = json.loads(text)
        return cls(**{**told, "open": tuple(SystemId(system) for system in told["open"])})


def boot_id() -> str:
    """The name of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def replace(path: Path, text: str) -> None:
    """Put ``text`` in place of ``path`` at once. Not synced: the file is worthless after a restart of the machine."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def read(path: Path, parse: Callable[[str], T]) -> T | None:
    """The file's content; ``None`` where it is absent or is not what it should be (a fact that readers fence on)."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


class Watched(Generic[T]):
    """A file that is parsed again only when its ``stat`` says that it was replaced."""

    def __init__(self, path: Path, parse: Callable[[str], T]) -> None:
        self._path = path
        self._parse = parse
        self._seen: tuple[int, int] | None = None
        self._value: T | None = None

    def look(self) -> T | None:
        """The file's present content; costs one ``stat`` where it has not changed."""
        try:
            stat = os.stat(self._path)
        except OSError:
            self._seen, self._value = None, None
            return None
        mark = (stat.st_ino, stat.st_mtime_ns)
        if mark != self._seen:
            self._value = read(self._path, self._parse)
            self._seen = mark
        return self._value
