"""SysV shared memory that a killed postmaster left behind: found by what it wrote down, removed by its number."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

from ncia.lab import proc

IPC_RMID = 0
POSTMASTER_PID = "postmaster.pid"
PID_LINE, SEGMENT_LINE = 0, 6  # of postmaster.pid: the number, "<key> <segment>" (PostgreSQL: pidfile.h)


@dataclass(frozen=True)
class Marks:
    """What tells our segments from anybody else's: their numbers, and who made them."""

    segments: frozenset[int] = frozenset()
    makers: frozenset[int] = frozenset()

    def __or__(self, other: Marks) -> Marks:
        return Marks(self.segments | other.segments, self.makers | other.makers)


def of_postmasters(folder: Path) -> Marks:
    """What the postmasters below ``folder`` wrote down, living or not."""
    found = Marks()
    for place, _, files in os.walk(folder):
        if POSTMASTER_PID in files:
            found |= read_pid_file(Path(place))
    return found


def read_pid_file(data_directory: Path) -> Marks:
    try:
        lines = (data_directory / POSTMASTER_PID).read_text().splitlines()
        return Marks(frozenset({int(lines[SEGMENT_LINE].split()[1])}), frozenset({int(lines[PID_LINE])}))
    except (OSError, IndexError, ValueError):
        return Marks()


def remove_leaked(marks: Marks, table: Path = proc.PROC / "sysvipc/shm") -> tuple[int, ...]:
    """Remove those so marked that nobody is attached to and whose maker is dead; answers which they were."""
    removed = []
    for identifier, maker, attached, owner in segments(table):
        ours = owner == os.geteuid() and (identifier in marks.segments or maker in marks.makers)
        leaked = ours and attached == 0 and proc.started_ticks(maker) is None
        if leaked and ctypes.CDLL(None, use_errno=True).shmctl(identifier, IPC_RMID, None) == 0:
            removed.append(identifier)
    return tuple(removed)


def segments(table: Path) -> list[tuple[int, int, int, int]]:
    """(id, maker's pid, attached, owner) of every segment of this machine."""
    header, *rows = [line.split() for line in table.read_text().splitlines()]
    places = [header.index(name) for name in ("shmid", "cpid", "nattch", "uid")]
    return [(int(r[places[0]]), int(r[places[1]]), int(r[places[2]]), int(r[places[3]])) for r in rows]
