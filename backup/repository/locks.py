"""Locks, as restic's: a file that says who is at work. Writers share; one that removes things wants it alone.

A lock is told anew every five minutes and is stale after thirty. Whoever was frozen for longer has been taken for dead:
it must not write another index or snapshot, for what it counts on may have been removed since. An account that may only
add cannot take its lock back: that one stays, and whoever may remove clears it once it is stale.

A lock is another file each time it is told anew. So who waits sees by its own clock whether a holder lives, whatever
the date of the lock says: one file that stays for half an hour is nobody's, also where it is dated into next year.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from backup.repository.faults import Damaged
from backup.repository.format.bounds import KEY_BYTES_MAX, parsed
from backup.repository.format.keys import Holder
from backup.repository.format.times import moment_of, moment_text
from backup.repository.ports import Kind, Missing, StoreFault
from backup.repository.repository import Repository
from ncia.core.base.clock import Clock
from ncia.core.base.errors import Refusal, Unreachable

REFRESH_SECONDS = 300.0
STALE = timedelta(minutes=30)
AHEAD = timedelta(minutes=5)  # a lock that is dated later was told by a clock that is wrong, or is seen by one
SURE_SECONDS = 25 * 60.0  # after so long without a word nobody counts on a lock of its own any more
MAY_NOT = ("repository.adds-only", "repository.denied", "repository.refused")  # an account without that right


REMOVED = "somebody removed its lock"
PAUSE_SECONDS = 5.0  # between looks at a lock that is waited for; each is twice the one before, as restic's
PAUSE_SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Patience:
    """For how long a lock that somebody holds is waited for. ``hear`` is told once; ``pause`` waits."""

    seconds: float = 0.0
    hear: Callable[[str], None] = lambda _: None
    pause: Callable[[float], None] = time.sleep


NO_PATIENCE = Patience()


@dataclass(frozen=True)
class LockFile:
    """Who says to be at work."""

    name: str
    time: datetime
    exclusive: bool
    hostname: str
    username: str
    pid: int

    def stale(self, now: datetime, hostname: str, alive: Callable[[int], bool]) -> bool:
        """Older than half an hour, or of a process of this host that is gone."""
        return now - self.time > STALE or (self.hostname == hostname and self.pid > 0 and not alive(self.pid))

    def __str__(self) -> str:
        how = "alone" if self.exclusive else "with others"
        return f"{self.username}@{self.hostname}, process {self.pid}, {how}, since {moment_text(self.time)}"


class Lock:
    """A lock that is held from :meth:`take` to :meth:`release`, and kept fresh by a thread of its own. ``waited``: it
    was somebody else's at first. ``silent``: locks that nobody told anew while it was waited for."""

    def __init__(
        self,
        repository: Repository,
        holder: Holder,
        clock: Clock,
        exclusive: bool = False,
        patience: Patience = NO_PATIENCE,
    ) -> None:
        self.waited = False
        self.silent: set[str] = set()
        self._seen_ns: dict[str, int] = {}  # when a lock that holds us up was seen first
        self._patience = patience
        self._repository = repository
        self._holder = holder
        self._clock = clock
        self._exclusive = exclusive
        self._name = ""
        self._told_ns = 0
        self._lost = ""
        self._over = threading.Event()
        self._refresher: threading.Thread | None = None

    def take(self) -> None:
        """Refuses where somebody else's live lock forbids it, once patience has ended."""
        begun = self._clock.boottime_ns()
        pause = PAUSE_SECONDS
        while True:
            try:
                self._try()
                break
            except Held as held:
                left = self._patience.seconds - (self._clock.boottime_ns() - begun) / 1e9
                if left <= 0:
                    raise
                if not self.waited:
                    self._patience.hear(f"{held.why}; waiting for up to {left:.0f} s")
                self.waited = True
                self._patience.pause(min(pause, left))
                pause = min(2 * pause, PAUSE_SECONDS_MAX)
        self._refresher = threading.Thread(target=self._keep_fresh, name="repository lock", daemon=True)
        self._refresher.start()

    def _try(self) -> None:
        self._refuse_if_taken()
        self._tell()
        try:
            self._refuse_if_taken()  # two may have looked at once: then both see both
        except BaseException:  # Ctrl-C too: a lock that nobody keeps would hold others up; raised again at once
            self._take_back(self._name)
            raise

    def demand(self) -> None:
        """Before anything is written that others will count on: is the lock surely still ours?"""
        self._doubt()
        if self._lost:
            raise Refusal(
                "repository.lock-lost", "go on writing", self._lost, "run it again; what was kept is found again"
            )

    def demand_there(self) -> None:
        """The same, and asked of the store: a holder whose clock is slow is taken for dead while it lives."""
        self.demand()
        name = ""
        while name != self._name:  # told anew meanwhile: it has another name now
            name = self._name
            try:
                self._repository.store.size(Kind.LOCKS, name)
                return
            except Missing:
                continue
        self._lost = self._lost or REMOVED
        self.demand()

    def release(self) -> None:
        try:
            self._end()
        except KeyboardInterrupt:  # in the very call that gives it back
            self._end()
            raise

    def refresh(self) -> None:
        """Tell it anew: the new file first, then the old one goes. What was lost once is never taken up again."""
        self._doubt()
        before = self._name
        try:
            self._repository.store.size(Kind.LOCKS, before)
        except Missing:
            self._lost = self._lost or REMOVED
        if self._lost:
            return
        self._tell()
        self._drop(before)

    def __enter__(self) -> Lock:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def _end(self) -> None:
        self._over.set()
        if self._refresher is not None:
            self._refresher.join()
        self._take_back(self._name)

    def _take_back(self, name: str) -> None:
        with suppress(StoreFault, Unreachable):  # what was done is done: it goes stale, and holds nobody for long
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Where our account may not remove, it stays: told by its age, it holds nobody for longer than half an hour."""
        try:
            self._repository.store.remove(Kind.LOCKS, name)
        except StoreFault as fault:
            if fault.code not in MAY_NOT:
                raise

    def _doubt(self) -> None:
        silent = (self._clock.boottime_ns() - self._told_ns) / 1e9
        if silent > SURE_SECONDS:
            self._lost = f"its lock was not told anew for {silent:.0f} s, so others may have taken it for dead"

    def _tell(self) -> None:
        fields = {
            "time": moment_text(self._clock.now()),
            "exclusive": self._exclusive,
            "hostname": self._holder.hostname,
            "username": self._holder.username,
            "pid": os.getpid(),
        }
        at = self._clock.boottime_ns()
        name, sealed = self._repository.sealed(Kind.LOCKS, json.dumps(fields, separators=(",", ":")).encode())
        try:
            self._repository.keep(Kind.LOCKS, name, sealed)
        except BaseException:  # Ctrl-C too, and a store that kept it without an answer; raised again at once
            self._take_back(name)
            raise
        self._name, self._told_ns = name, at

    def _refuse_if_taken(self) -> None:
        now = self._clock.now()
        held = [
            other
            for other in read_locks(self._repository)
            if other.name != self._name
            and (self._exclusive or other.exclusive)
            and not other.stale(now, self._holder.hostname, alive)
            and not self._is_silent(other)  # asked of each of them, so that all are waited for at once
        ]
        if held:
            raise Held("lock the repository" + (" for oneself" if self._exclusive else ""), held[0], now)

    def _is_silent(self, other: LockFile) -> bool:
        """Has its holder not told it anew for as long as makes a lock stale, by our own clock?"""
        at = self._clock.boottime_ns()
        if at - self._seen_ns.setdefault(other.name, at) > STALE.total_seconds() * 1e9:
            self.silent.add(other.name)
        return other.name in self.silent

    def _keep_fresh(self) -> None:
        while not self._over.wait(REFRESH_SECONDS):
            try:
                self.refresh()
            except (StoreFault, Unreachable):  # tried again in five minutes; demand() sees how long it has been
                continue


class Held(Refusal):
    """Somebody else has it."""

    def __init__(self, what: str, other: LockFile, now: datetime) -> None:
        hint = "--retry-lock 10m waits for it; one whose holder is dead is passed over after 30 minutes, and"
        if (ahead := other.time - now) > AHEAD:
            span = f"{ahead.days} days" if ahead.days > 1 else f"{ahead.total_seconds() / 3600:.1f} hours"
            hint = (
                f"its time is {span} ahead of ours, so one of the two clocks is wrong; "
                "--retry-lock 35m passes it over where nobody tells it anew meanwhile, and"
            )
        hint += " ncia repo unlock --remove-all removes it at once"
        super().__init__("repository.locked", what, f"it is locked by {other}", hint)


@dataclass(frozen=True)
class Cleared:
    """``kept``: who is still at work."""

    removed: int
    kept: tuple[LockFile, ...]


def clear_locks(
    repository: Repository, holder: Holder, now: datetime, whole: bool = False, silent: Collection[str] = ()
) -> Cleared:
    """Remove the locks of those that are gone, by their date or as somebody saw (``silent``). With ``whole`` also those
    of the living, who find it out before they write another index or snapshot, and what was never finished."""
    found = list(read_locks(repository))
    stale = [each for each in found if each.name in silent or each.stale(now, holder.hostname, alive)]
    over = [each.name for each in repository.store.names(Kind.LOCKS)] if whole else [each.name for each in stale]
    for name in over:
        repository.store.remove(Kind.LOCKS, name)
    return Cleared(len(over), () if whole else tuple(each for each in found if each not in stale))


def read_locks(repository: Repository) -> Iterator[LockFile]:
    """All locks. A file that does not have the hash that is its name was never finished, and what our key does not open
    is nobody's who may write here: neither what is left of a crash nor junk stops anyone."""
    for stored in list(repository.store.names(Kind.LOCKS)):
        try:
            sealed = repository.store.load(Kind.LOCKS, stored.name, 0, KEY_BYTES_MAX)  # none is nearly as long
        except Missing:
            continue
        if hashlib.sha256(sealed).hexdigest() != stored.name:
            continue
        try:
            yield _lock_of(repository.open_file(Kind.LOCKS, stored.name, sealed), stored.name)
        except Damaged as error:
            repository.damaged.append(f"{error.what}: {error.why}")


def _lock_of(text: bytes, name: str) -> LockFile:
    def lock(told: Any) -> LockFile:
        words = (str(told.get("hostname", "")), str(told.get("username", "")), int(told.get("pid", 0)))
        return LockFile(name, moment_of(told["time"]), bool(told.get("exclusive")), *words)

    found: LockFile = parsed(text, f"read lock {name[:8]}", lock, "{time, exclusive}")
    return found


def at_work(holder: Holder) -> Holder:
    """Who holds a lock: a process of this machine, whoever's files it keeps."""
    return replace(holder, hostname=socket.gethostname())


def alive(pid: int) -> bool:
    """Is there such a process on this host?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
