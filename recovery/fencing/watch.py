"""fence-watch: stops the postmasters of a site where its lease has run out and the gate does not say that it is shut,
and each primary of a system that has its higher epoch elsewhere: the old one, when its site returns.

It looks at two files and the clock. It acts on a primary only: a standby cannot take a write, and the other site may
need it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from ncia.core.base.ids import SystemId
from recovery.fencing import files
from recovery.fencing.files import GATE_FILE, LEASE_FILE, NANOSECONDS, GateFile, LeaseFile, Watched

LOOK_SECONDS = 0.2
GRACE_NS = NANOSECONDS  # after the deadline, for the gate to shut by itself
STALE_NS = 2_500_000_000  # a gate that lives beats every second
LOOKS = 4  # bad looks in a row before acting: whoever wakes from a freeze first must let the gate wake too
QUIT_SECONDS = 2.0  # from SIGQUIT (PostgreSQL's immediate shutdown) to SIGKILL


@dataclass(frozen=True)
class Overdue:
    """Why the postmasters must be stopped."""

    sentence: str


def judge(lease: LeaseFile | None, gate: GateFile | None, boot: str, zero_since_ns: int, now_ns: int) -> Overdue | None:
    """``None`` where all is well: the lease is held, was never granted in this boot, or the gate says that it is shut.

    ``zero_since_ns`` is when a deadline of 0 (fenced on purpose) was first seen.
    """
    if lease is None or lease.boot != boot or lease.granted_until_boottime_ns == 0:
        return None
    deadline = max([lease.deadline_boottime_ns, *(lease.deadline_of(system) for system in lease.systems)])
    over_since = deadline or min(zero_since_ns, lease.granted_until_boottime_ns)
    if now_ns <= over_since + GRACE_NS:
        return None
    if gate is None or gate.boot != boot:
        return Overdue("the lease has run out and no gate says that it is shut")
    if now_ns - gate.boottime_ns > STALE_NS:
        seconds = (now_ns - gate.boottime_ns) / NANOSECONDS
        return Overdue(f"the lease has run out and the gate has not spoken for {seconds:.1f} s")
    if gate.open:
        return Overdue(f"the lease has run out and the gate still lets {', '.join(gate.open)} pass")
    return None


def elsewhere(lease: LeaseFile | None, boot: str, system: SystemId) -> Overdue | None:
    """Why a primary of ``system`` must not run here at all: the third vote has it at another site. The gate refuses it
    anyway; stopped, it keeps its files as they are for the list of what is stranded in them."""
    standing = lease.systems.get(system) if lease is not None and lease.boot == boot else None
    if lease is None or standing is None or standing.site == lease.site:
        return None
    return Overdue(f"epoch {standing.epoch} of it is at {standing.site}: this is an old primary")


@dataclass(frozen=True)
class Cluster:
    """A data directory of this site's database host."""

    system: SystemId
    directory: Path


@dataclass(frozen=True)
class Postmaster:
    """A running postmaster, checked to be that of ``directory``; ``handle`` is a pidfd, immune to reuse of the pid."""

    pid: int
    handle: int


def find_postmaster(directory: Path) -> Postmaster | None:
    """The postmaster of ``directory`` by its ``postmaster.pid``, if that process really is one: its working directory
    is the data directory, its program is ``postgres``, and its parent is no postmaster of the same directory."""
    try:
        pid = int((directory / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
        handle = os.pidfd_open(pid)
    except (OSError, ValueError):
        return None
    if _serves(pid, directory) and not _serves(_parent(pid), directory):
        return Postmaster(pid, handle)
    os.close(handle)
    return None


def is_standby(directory: Path) -> bool:
    """PostgreSQL removes ``standby.signal`` when it is promoted."""
    return (directory / "standby.signal").exists()


def stop(postmaster: Postmaster, wait: Callable[[int, float], bool]) -> str:
    """SIGQUIT, and SIGKILL to it and its children where it does not end in time; the act in one word.

    ``wait(handle, seconds)`` waits for the process's end and tells whether it ended.
    """
    children = _children(postmaster.pid)
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(postmaster.handle, signal.SIGQUIT)
    if wait(postmaster.handle, QUIT_SECONDS):
        return "quit"
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(postmaster.handle, signal.SIGKILL)
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return "killed" if wait(postmaster.handle, QUIT_SECONDS) else "still there"


class FenceWatch:
    """``look`` once per ``LOOK_SECONDS``."""

    def __init__(
        self,
        clusters: Sequence[Cluster],
        run: Path,
        now_ns: Callable[[], int],
        wait: Callable[[int, float], bool],
        *,
        boot: str | None = None,
    ) -> None:
        self._clusters, self._now_ns, self._wait = tuple(clusters), now_ns, wait
        self._boot = boot or files.boot_id()
        self._log = structlog.get_logger()
        self._lease = Watched(run / LEASE_FILE, LeaseFile.from_json)
        self._gate = Watched(run / GATE_FILE, GateFile.from_json)
        self._zero_since_ns = 0
        self._bad_looks = 0
        self._old_looks: dict[SystemId, int] = {}

    def look(self) -> tuple[SystemId, ...]:
        """Look at both files; the systems whose postmaster was stopped."""
        lease, now = self._lease.look(), self._now_ns()
        if lease is None or lease.deadline_boottime_ns:
            self._zero_since_ns = 0
        elif not self._zero_since_ns:
            self._zero_since_ns = now
        overdue = judge(lease, self._gate.look(), self._boot, self._zero_since_ns, now)
        if overdue is None:
            if self._bad_looks >= LOOKS:
                self._log.info("all is well again: the lease is held or the gate is shut")
            self._bad_looks = 0
            return self._look_for_old_primaries(lease)
        self._bad_looks += 1
        if self._bad_looks == LOOKS:
            self._log.error(f"{overdue.sentence}: stopping this site's primaries")
        return self._stop(self._clusters, overdue) if self._bad_looks >= LOOKS else ()

    def _look_for_old_primaries(self, lease: LeaseFile | None) -> tuple[SystemId, ...]:
        stopped: list[SystemId] = []
        for cluster in self._clusters:
            old = elsewhere(lease, self._boot, cluster.system)
            if old is None or is_standby(cluster.directory):
                self._old_looks.pop(cluster.system, None)
                continue
            self._old_looks[cluster.system] = self._old_looks.get(cluster.system, 0) + 1
            if self._old_looks[cluster.system] >= LOOKS:
                stopped += self._stop((cluster,), old)
        return tuple(stopped)

    def _stop(self, clusters: Sequence[Cluster], overdue: Overdue) -> tuple[SystemId, ...]:
        stopped = []
        for cluster in clusters:
            if is_standby(cluster.directory):
                continue
            postmaster = find_postmaster(cluster.directory)
            if postmaster is None:
                continue
            try:
                outcome = stop(postmaster, self._wait)
            except PermissionError as error:
                self._log.error("cannot stop a postmaster", system=cluster.system, pid=postmaster.pid, error=str(error))
                continue
            finally:
                os.close(postmaster.handle)
            stopped.append(cluster.system)
            self._log.error(
                "stopped a postmaster",
                system=cluster.system,
                pid=postmaster.pid,
                how=outcome,
                why=overdue.sentence,
                directory=str(cluster.directory),
            )
        return tuple(stopped)


def _serves(pid: int, directory: Path) -> bool:
    try:
        here = os.path.samefile(f"/proc/{pid}/cwd", directory)
        return here and Path(os.readlink(f"/proc/{pid}/exe")).name.startswith("postgres")
    except OSError:
        return False


def _parent(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def _children(pid: int) -> tuple[int, ...]:
    try:
        return tuple(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()))
    except OSError:
        return ()
