"""The processes of a lab: what is started where, the record of it, and how all of a folder's processes end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId
from ncia.lab import proc

POLL_SECONDS = 0.02
POSTGRES = "postgres"  # the name of a postmaster and of its children
END_SECONDS_MAX = 5.0
_children: list[subprocess.Popen[bytes]] = []  # started here and not yet reaped
ROUNDS_MAX = 200  # of SIGKILL, until a folder has no process left


@dataclass(frozen=True)
class Spec:
    """A process that can be started: at ``site``, in ``folder`` below the site's own, output to ``log``."""

    site: SiteId
    name: str
    command: tuple[str, ...]
    folder: Path
    log: Path
    nice: int = 0
    at_up: bool = True
    variables: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Started:
    site: SiteId
    name: str
    pid: int
    started_ticks: int

    @property
    def alive(self) -> bool:
        return proc.started_ticks(self.pid) == self.started_ticks


@dataclass(frozen=True)
class Record:
    """What ``lab.json`` remembers: which boot, which processes, which sites are lost."""

    boot: str
    processes: tuple[Started, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)  # site → burnt | dark
    ready: bool = False

    @staticmethod
    def read(path: Path) -> Record:
        """The record in ``path``; a fresh one where there is none, or where the machine was started anew since."""
        try:
            told: dict[str, Any] = json.loads(path.read_text())
            started = tuple(
                Started(SiteId(p["site"]), p["name"], p["pid"], p["started_ticks"]) for p in told["processes"]
            )
            record = Record(told["boot"], started, told["lost"], told["ready"])
        except (OSError, ValueError, KeyError, TypeError):
            return Record(proc.boot_id())
        return record if record.boot == proc.boot_id() else Record(proc.boot_id())

    def write(self, path: Path) -> None:
        told = {
            "boot": self.boot,
            "processes": [vars(started) for started in self.processes],
            "lost": self.lost,
            "ready": self.ready,
        }
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(told, indent=1))
        temporary.rename(path)

    def of(self, site: SiteId, name: str) -> Started | None:
        return next((p for p in self.processes if (p.site, p.name) == (site, name)), None)

    def with_process(self, started: Started) -> Record:
        others = tuple(p for p in self.processes if (p.site, p.name) != (started.site, started.name))
        return replace(self, processes=(*others, started))


class Ledger:
    """The record on disk, changed under a lock: two commands of the lab may run at the same time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Record:
        return Record.read(self.path)

    @contextlib.contextmanager
    def changing(self) -> Iterator[list[Record]]:
        """``with ledger.changing() as box: box[0] = …`` reads, lets the caller replace, writes."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            box = [self.read()]
            yield box
            box[0].write(self.path)
        finally:
            os.close(handle)


def start(spec: Spec) -> Started:
    """Start ``spec`` detached from us, with a minimal environment. Raises where it does not even start."""
    spec.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    spec.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with spec.log.open("ab") as log:
        try:
            child = subprocess.Popen(
                spec.command,
                cwd=spec.folder,
                env=environment({"HOME": str(spec.folder), **dict(spec.variables)}),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise NciaError("lab.not-started", f"start {spec.name} of {spec.site}", str(error)) from error
    _children.append(child)
    ticks = proc.started_ticks(child.pid)
    return Started(spec.site, spec.name, child.pid, -1 if ticks is None else ticks)


def environment(more: dict[str, str]) -> dict[str, str]:
    """What every process of the lab is given, and no more: nothing of ours leaks into a site."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "TZ": "UTC", **more}


def reap() -> None:
    """Take leave of children of ours that ended, so that none stays as a zombie."""
    _children[:] = [child for child in _children if child.poll() is None]


def last_words(log: Path, lines: int = 4) -> str:
    """The end of a log, for an error that has to say why a process died."""
    try:
        text = log.read_text(errors="replace")[-4000:]
    except OSError:
        return "it left no log"
    return " | ".join(line.strip() for line in text.splitlines()[-lines:] if line.strip()) or "its log is empty"


def end_all(folders: Sequence[Path], known: Sequence[Started], gently: bool) -> int:
    """End every process below ``folders`` and every recorded one; answers how many there were.

    ``gently``: as each is used to being ended first, SIGKILL after ``END_SECONDS_MAX``; else SIGKILL at once, again
    until none is left.
    """
    first = living(folders, known)
    if gently:
        ask_to_end(first)
        deadline = time.monotonic() + END_SECONDS_MAX
        while living(folders, known) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    for _ in range(ROUNDS_MAX):
        left = living(folders, known)
        if not left:
            return len(first)
        # Postmasters first: one that sees a child killed makes itself new shared memory.
        for pid in sorted(left, key=lambda pid: (not is_postmaster(pid, left), pid)):
            send(pid, signal.SIGKILL)
        time.sleep(POLL_SECONDS)
    raise NciaError("lab.not-ended", "end the lab's processes", f"still there: {sorted(living(folders, known))}")


def ask_to_end(running: Mapping[int, proc.Running]) -> None:
    """SIGTERM for all, but a fast shutdown (SIGINT) for postmasters, who look after their own children."""
    for pid, one in running.items():
        if is_postmaster(pid, running):
            send(pid, signal.SIGINT)
        elif one.name != POSTGRES:
            send(pid, signal.SIGTERM)


def is_postmaster(pid: int, running: Mapping[int, proc.Running]) -> bool:
    one = running[pid]
    parent = running.get(one.parent)
    return one.name == POSTGRES and (parent is None or parent.name != POSTGRES)


def living(folders: Sequence[Path], known: Sequence[Started]) -> dict[int, proc.Running]:
    """By number: all below ``folders``, and of the ``known`` those that work elsewhere."""
    reap()
    found = {one.pid: one for one in proc.below(*folders)}
    for started in known:
        if started.pid not in found and started.alive:
            found[started.pid] = proc.Running(started.pid, started.started_ticks, started.name, 0, "")
    found.pop(os.getpid(), None)
    return found


def send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
