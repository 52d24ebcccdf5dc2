"""What the kernel says of processes: where they work, whether they live, what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DELETED = " (deleted)"


@dataclass(frozen=True)
class Running:
    """A living process. ``started_ticks`` with ``pid`` names it for ever within one boot."""

    pid: int
    started_ticks: int
    name: str
    parent: int
    folder: str


def boot_id() -> str:
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


# Fields of /proc/PID/stat after the name, counted from 0 (proc(5) counts the state as field 3).
STATE, PARENT, TERMINAL, STARTED = 0, 1, 4, 19


def stat_of(pid: int) -> tuple[str, list[str]] | None:
    """The process's name and the fields after it; None where it is gone or a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return None if fields[STATE] in ("Z", "X") else (text[text.index("(") + 1 : text.rindex(")")], fields)


def started_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot; None where it is gone or a zombie."""
    told = stat_of(pid)
    return None if told is None else int(told[1][STARTED])


def folder_of(pid: int) -> str | None:
    """The working folder, also where it was deleted since; None where the process is gone or not ours to see."""
    try:
        return os.readlink(PROC / str(pid) / "cwd").removesuffix(DELETED)
    except OSError:
        return None


def pids() -> Iterator[int]:
    for name in os.listdir(PROC):
        if name.isdigit():
            yield int(name)


def below(*folders: Path) -> tuple[Running, ...]:
    """Every living process that works in one of ``folders`` or below: all that belongs to it, children included."""
    prefixes = tuple(f"{folder}/" for folder in folders)
    found = []
    for pid in pids():
        place = folder_of(pid)
        if place is None or not f"{place}/".startswith(prefixes):
            continue
        told = stat_of(pid)
        # Nothing of ours has a terminal: that is a person's shell looking round.
        if told is not None and told[1][TERMINAL] == "0":
            found.append(Running(pid, int(told[1][STARTED]), told[0], int(told[1][PARENT]), place))
    return tuple(found)
