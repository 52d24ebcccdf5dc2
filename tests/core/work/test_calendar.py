"""The calendar ticks, goes on after a failing tick, never runs one twice at once, and ends."""

import threading
from datetime import datetime

from ncia.core.base.clock import SystemClock
from ncia.core.work import Calendar


def test_a_tick_comes_again_and_again_with_the_time() -> None:
    calendar, seen, enough = Calendar(SystemClock()), [], threading.Event()

    def tick(now: datetime) -> None:
        seen.append(now)
        if len(seen) == 3:
            enough.set()

    calendar.every(0.02, "look", tick)
    calendar.start()
    assert enough.wait(10)
    calendar.stop()
    assert seen == sorted(seen)
    assert seen[0].tzinfo is not None


def test_a_failing_tick_does_not_end_the_ticking() -> None:
    calendar, looks, enough = Calendar(SystemClock()), [], threading.Event()

    def tick(now: datetime) -> None:
        looks.append(now)
        if len(looks) == 3:
            enough.set()
        raise RuntimeError("no")

    calendar.every(0.02, "look", tick)
    calendar.start()
    assert enough.wait(10)
    calendar.stop()


def test_a_tick_that_takes_long_is_never_run_twice_at_once() -> None:
    calendar, other = Calendar(SystemClock()), threading.Event()
    inside, most, go_on = 0, 0, threading.Event()

    def slow(now: datetime) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        go_on.wait(10)
        inside -= 1

    ticks = []

    def quick(now: datetime) -> None:
        ticks.append(now)
        if len(ticks) == 20:
            other.set()

    calendar.every(0.01, "slow", slow)
    calendar.every(0.01, "quick", quick)
    calendar.start()
    assert other.wait(10)
    go_on.set()
    calendar.stop()
    assert most == 1


def test_stopping_waits_for_the_tick_that_runs() -> None:
    calendar, entered, ended = Calendar(SystemClock()), threading.Event(), threading.Event()

    def tick(now: datetime) -> None:
        entered.set()
        threading.Event().wait(0.1)
        ended.set()

    calendar.every(60, "look", tick)
    calendar.start()
    assert entered.wait(10)
    calendar.stop()
    assert ended.is_set()
