from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest

from backup.repository.format.keys import Holder
from backup.repository.locks import Lock, at_work, clear_locks, read_locks
from backup.repository.ports import Kind, StoreFault
from ncia.core.base.errors import Refusal
from tests.backup.repository.sample import HOLDER, NOW, new
from tests.fakes.repository import FakeStore

ELSEWHERE = Holder("other", "elsewhere")


class HandClock:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self):
        return NOW + timedelta(seconds=self.seconds)

    def boottime_ns(self) -> int:
        return int(self.seconds * 1e9)


def test_writers_share_a_repository() -> None:
    repository, clock = new(), HandClock()
    with Lock(repository, HOLDER, clock), Lock(repository, ELSEWHERE, clock):
        assert {lock.username for lock in read_locks(repository)} == {"somebody", "other"}
    assert list(read_locks(repository)) == []


@pytest.mark.parametrize("exclusive", [(True, False), (False, True), (True, True)])
def test_who_wants_it_alone_gets_it_alone(exclusive: tuple[bool, bool]) -> None:
    repository, clock = new(), HandClock()
    with Lock(repository, ELSEWHERE, clock, exclusive[0]):
        with pytest.raises(Refusal, match="locked by other@elsewhere"):
            Lock(repository, HOLDER, clock, exclusive[1]).take()
        assert len(list(read_locks(repository))) == 1
    with Lock(repository, HOLDER, clock, exclusive[1]):
        pass


def test_a_lock_that_nobody_told_anew_for_half_an_hour_is_passed_over() -> None:
    repository, clock = new(), HandClock()
    Lock(repository, ELSEWHERE, clock, exclusive=True)._tell()
    clock.seconds = 1799
    with pytest.raises(Refusal):
        Lock(repository, HOLDER, clock).take()
    clock.seconds = 1801
    with Lock(repository, HOLDER, clock):
        pass


def test_a_lock_of_a_process_of_this_host_that_is_gone_is_passed_over() -> None:
    repository, clock = new(), HandClock()
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = Lock(repository, HOLDER, clock, exclusive=True)
    text = b'{"time":"2026-11-26T03:04:05Z","exclusive":true,"hostname":"somewhere","username":"x","pid":%d}'
    repository.save_file(Kind.LOCKS, text % gone.pid)
    with left:
        pass
    repository.save_file(Kind.LOCKS, text % os.getppid())
    with pytest.raises(Refusal, match="locked by x@somewhere"):
        left.take()


def test_who_was_frozen_for_long_writes_nothing_any_more_even_after_a_new_word() -> None:
    repository, clock = new(), HandClock()
    with Lock(repository, HOLDER, clock) as lock:
        lock.demand()
        clock.seconds = 1600
        with pytest.raises(Refusal, match="not told anew for 1600 s"):
            lock.demand()
        lock.refresh()
        with pytest.raises(Refusal, match="not told anew"):
            lock.demand()


def test_who_lost_the_lock_to_somebodys_unlock_writes_nothing_any_more() -> None:
    repository, clock = new(), HandClock()
    with Lock(repository, HOLDER, clock) as lock:
        for found in list(read_locks(repository)):
            repository.store.remove(Kind.LOCKS, found.name)
        lock.refresh()
        with pytest.raises(Refusal, match="somebody removed its lock"):
            lock.demand()


def test_a_lock_that_is_told_anew_stays_one_lock() -> None:
    repository, clock = new(), HandClock()
    with Lock(repository, HOLDER, clock) as lock:
        clock.seconds = 1000
        lock.refresh()
        (found,) = read_locks(repository)
        assert found.time == clock.now()
        clock.seconds = 2400
        lock.demand()


def test_an_empty_file_that_a_crash_left_is_nobodys_lock() -> None:
    repository = new()
    repository.store.save(Kind.LOCKS, "0" * 64, b"")
    with Lock(repository, HOLDER, HandClock(), exclusive=True):
        pass


class AddsOnly(FakeStore):
    """A place whose account may add and not remove."""

    def remove(self, kind: Kind, name: str) -> None:
        raise StoreFault("repository.adds-only", f"remove {kind}", "this account may add files, and not remove any")


def test_an_account_that_may_only_add_locks_tells_anew_and_ends_and_its_leftovers_hold_nobody_for_long() -> None:
    repository, clock = new(AddsOnly()), HandClock()
    with Lock(repository, ELSEWHERE, clock, exclusive=True) as lock:
        clock.seconds = 1000
        lock.refresh()
        lock.demand()
    assert len(list(read_locks(repository))) == 2
    with pytest.raises(Refusal, match="locked by other@elsewhere"):
        Lock(repository, HOLDER, clock).take()
    clock.seconds = 1000 + 1801
    with Lock(repository, HOLDER, clock) as lock:
        lock.demand()


def test_who_is_refused_at_a_place_that_only_adds_is_told_of_the_lock_and_not_of_the_removal() -> None:
    repository, clock = new(AddsOnly()), HandClock()

    class Late(Lock):
        """Another one locks while this one looks."""

        def _tell(self) -> None:
            super()._tell()
            Lock(repository, ELSEWHERE, clock, exclusive=True)._tell()

    with pytest.raises(Refusal, match="locked by other@elsewhere"):
        Late(repository, HOLDER, clock).take()


def test_whoever_may_remove_clears_the_locks_of_the_gone_and_leaves_the_living() -> None:
    repository, clock = new(), HandClock()
    Lock(repository, ELSEWHERE, clock, exclusive=True)._tell()
    clock.seconds = 1801
    with Lock(repository, HOLDER, clock) as lock:
        told = clear_locks(repository, ELSEWHERE, clock.now())
        assert (told.removed, [each.username for each in told.kept]) == (1, ["somebody"])
        lock.demand()
        repository.store.save(Kind.LOCKS, "0" * 64, b"")
        assert clear_locks(repository, ELSEWHERE, clock.now(), whole=True).removed == 2
        lock.refresh()
        with pytest.raises(Refusal, match="somebody removed its lock"):
            lock.demand()


def test_junk_among_the_locks_holds_nobody_and_is_told() -> None:
    repository, clock = new(), HandClock()
    junk = b"not sealed by our key"
    repository.store.save(Kind.LOCKS, hashlib.sha256(junk).hexdigest(), junk)
    with Lock(repository, HOLDER, clock, exclusive=True):
        pass
    assert any("read locks" in sentence for sentence in repository.damaged)
    assert clear_locks(repository, HOLDER, NOW, whole=True).removed == 1


def test_a_lock_bears_the_machine_and_not_whose_files_are_kept() -> None:
    assert at_work(Holder("somebody", "a database host")) == Holder("somebody", socket.gethostname())


def test_a_lock_that_cannot_be_given_back_does_not_undo_what_was_done() -> None:
    class Away(FakeStore):
        def remove(self, kind: Kind, name: str) -> None:
            raise StoreFault("repository.failed", f"remove {kind}", "the line is cut")

    repository = new(Away())
    with Lock(repository, HOLDER, HandClock()):
        done = True
    assert done
