"""A lock that somebody holds is waited for, and one that nobody tells anew is nobody's, whatever it is dated."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from backup.repository.care.removal import alone
from backup.repository.care.spans import seconds_of
from backup.repository.locks import Lock, LockFile, Patience, clear_locks, read_locks
from backup.repository.ports import Kind
from backup.repository.repository import Repository
from ncia.core.base.errors import NciaError, Refusal
from tests.backup.repository.sample import HOLDER, new
from tests.backup.repository.test_locks import ELSEWHERE, HandClock

DAY = 86_400.0


class Waiting:
    """Patience whose pauses move a clock by hand, and in which something happens."""

    def __init__(self, clock: HandClock, happens: Callable[[float], None] = lambda _: None) -> None:
        self.clock, self.happens = clock, happens
        self.pauses: list[float] = []
        self.heard: list[str] = []

    def patience(self, seconds: float) -> Patience:
        return Patience(seconds, self.heard.append, self.pause)

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.clock.seconds += seconds
        self.happens(self.clock.seconds)


class Ahead(HandClock):
    """The clock of a host that is a day fast; its time since boot is as everybody's."""

    def __init__(self, real: HandClock, ahead: float = DAY) -> None:
        super().__init__()
        self.real, self.ahead = real, ahead

    def now(self):
        return self.real.now() + timedelta(seconds=self.ahead)

    def boottime_ns(self) -> int:
        return self.real.boottime_ns()


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def left_behind(repository: Repository, clock: HandClock) -> LockFile:
    """The lock of a holder elsewhere that was killed."""
    Lock(repository, ELSEWHERE, clock, exclusive=True)._tell()
    (found,) = read_locks(repository)
    return found


def test_a_lock_is_waited_for_until_its_holder_ends(clock: HandClock) -> None:
    repository = new()
    holder = Lock(repository, ELSEWHERE, clock, exclusive=True)
    holder.take()
    waiting = Waiting(clock, lambda at: holder.release() if at >= 30 else None)
    with Lock(repository, HOLDER, clock, patience=waiting.patience(600)) as lock:
        assert (lock.waited, waiting.pauses) == (True, [5, 10, 20])
    (heard,) = waiting.heard
    assert "locked by other@elsewhere" in heard
    assert "waiting for up to 600 s" in heard


def test_patience_ends_when_it_was_said_and_the_error_names_who_holds_it_since_when(clock: HandClock) -> None:
    repository = new()
    left_behind(repository, clock)
    waiting = Waiting(clock)
    with pytest.raises(
        Refusal, match=r"locked by other@elsewhere, process .*, alone, since 2026-11-26T03:04:05Z"
    ) as told:
        Lock(repository, HOLDER, clock, patience=waiting.patience(100)).take()
    assert waiting.pauses == [5, 10, 20, 40, 25]
    assert "--retry-lock" in (told.value.hint or "")
    assert "ncia repo unlock" in (told.value.hint or "")
    assert len(list(read_locks(repository))) == 1


def test_without_patience_nobody_waits(clock: HandClock) -> None:
    repository = new()
    left_behind(repository, clock)
    with pytest.raises(Refusal):
        Lock(repository, HOLDER, clock).take()
    assert clock.seconds == 0


@pytest.mark.parametrize("ahead", [DAY, 73 * 365 * DAY])
def test_a_lock_dated_ahead_by_a_holder_that_is_dead_holds_nobody_who_waits_half_an_hour(
    clock: HandClock, ahead: float
) -> None:
    repository = new()
    left_behind(repository, Ahead(clock, ahead))
    with pytest.raises(Refusal) as told:
        Lock(repository, HOLDER, clock).take()
    assert "ahead of ours" in (told.value.hint or "")
    waiting = Waiting(clock)
    with alone(repository, HOLDER, clock, waiting.patience(2400)):
        assert [each.username for each in read_locks(repository)] == ["somebody"]
    assert 1800 < clock.seconds < 1900
    with Lock(repository, HOLDER, clock, exclusive=True):  # it is gone: the next one need not wait
        pass


def test_a_lock_dated_ahead_of_a_holder_that_lives_is_neither_passed_over_nor_removed(clock: HandClock) -> None:
    repository, theirs = new(), Ahead(clock)
    living = Lock(repository, ELSEWHERE, theirs)
    living._tell()

    def each_five_minutes(at: float) -> None:
        if at - told[-1] >= 300:
            living.refresh()
            told.append(at)

    told = [0.0]
    waiting = Waiting(clock, each_five_minutes)
    with pytest.raises(Refusal, match="locked by other@elsewhere"):
        Lock(repository, HOLDER, clock, exclusive=True, patience=waiting.patience(7200)).take()
    assert clear_locks(repository, HOLDER, clock.now()).removed == 0
    living.demand()


def test_a_holder_whose_fast_clock_is_set_right_while_it_lives_keeps_its_lock(clock: HandClock) -> None:
    repository, theirs = new(), Ahead(clock)
    with Lock(repository, ELSEWHERE, theirs) as living:
        theirs.ahead = 0.0
        clock.seconds = 300
        living.refresh()
        living.demand()
        (found,) = read_locks(repository)
        assert found.time == clock.now()


def test_locks_that_were_seen_silent_are_those_alone_that_are_cleared(clock: HandClock) -> None:
    repository = new()
    silent = left_behind(repository, Ahead(clock))
    Lock(repository, HOLDER, Ahead(clock))._tell()
    assert clear_locks(repository, HOLDER, clock.now(), silent=[silent.name]).removed == 1
    assert [each.username for each in read_locks(repository)] == ["somebody"]
    assert len(list(repository.store.names(Kind.LOCKS))) == 1


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("5m", 300), ("1h30m", 5400), ("", 0)])
def test_a_duration_is_written_as_restics(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["5", "5d", "m", "-5m", "5m1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(NciaError, match="is none"):
        seconds_of(text)


def test_all_locks_that_nobody_tells_anew_are_waited_for_at_once(clock: HandClock) -> None:
    repository = new()
    for _ in range(3):
        Lock(repository, ELSEWHERE, Ahead(clock), exclusive=True)._tell()
    with Lock(repository, HOLDER, clock, patience=Waiting(clock).patience(35 * 60)):
        assert clock.seconds < 35 * 60
