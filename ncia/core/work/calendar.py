"""The calendar: calls functions at intervals, on APScheduler.

It only ticks. What is due is computed by those it calls, from estate and journal; nothing is kept here that a restart
could lose. One scheduler per process, on purpose: two on one store would run everything twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, JobSubmissionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from ncia.core.base.clock import Clock

TICKS_AT_ONCE_MAX = 8

_log = structlog.get_logger()
logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a tick left out is told below, once


class Calendar:
    """Ticks until it is stopped. A tick that is still running when its next is due has that one left out; ticks that
    could not happen (a stopped machine, a busy one) are made up for once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(TICKS_AT_ONCE_MAX)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )
        self._scheduler.add_listener(_tell_left_out, EVENT_JOB_MAX_INSTANCES)

    def every(self, seconds: float, name: str, tick: Callable[[datetime], None], *, after_seconds: float = 0.0) -> None:
        """Call ``tick`` with the time every ``seconds``, first ``after_seconds`` from now (or from the start)."""
        self._scheduler.add_job(
            self._run,
            "interval",
            args=(name, tick),
            seconds=seconds,
            id=name,
            next_run_time=datetime.now(UTC) + timedelta(seconds=after_seconds),
        )

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """End ticking; waits for the ticks that run."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)

    def _run(self, name: str, tick: Callable[[datetime], None]) -> None:
        try:
            tick(self._clock.now())
        except Exception:  # the one driver of all ticks: what fails now is tried again at the next
            _log.exception("calendar.tick-failed", tick=name)


def _tell_left_out(event: JobSubmissionEvent) -> None:
    _log.debug("calendar.tick-left-out", tick=event.job_id, why="the one before is still running")
