"""How far each agent's clock is from this controller's, from the time that it tells with each report. Pure.

A report is late by as long as it was under way, never early: of several, the one that was quickest is nearest to the
truth.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ncia.core.alerts.clocks import CLOCK_SECONDS_MAX
from ncia.core.alerts.evidence import Skew

WINDOW_SECONDS = 20.0  # reports come each second
JUDGED_AFTER_SECONDS = 8.0  # of hearing an agent; a link that has just come back brings late reports first
TOLD_ANEW = 0.2  # a skew that changed by less than a fifth is told as it was: nobody is to be told each second


@dataclass
class Pendulum:
    """One agent's clock. The reports of :data:`WINDOW_SECONDS` are kept, at most one a report."""

    heard: deque[tuple[datetime, float]] = field(default_factory=deque)
    began: datetime | None = None
    skew: Skew = field(default_factory=lambda: Skew(0.0))

    def hear(self, said: datetime, now: datetime) -> None:
        """An agent said that it is ``said``, at ``now`` by our own clock."""
        window = timedelta(seconds=WINDOW_SECONDS)
        while self.heard and abs(now - self.heard[0][0]) > window:
            self.heard.popleft()
        if not self.heard:
            self.began = now
        self.heard.append((now, (said - now).total_seconds()))
        seconds = max(offset for _, offset in self.heard)
        judged = self.began is not None and now - self.began >= timedelta(seconds=JUDGED_AFTER_SECONDS)
        if not judged or abs(seconds) <= CLOCK_SECONDS_MAX:
            self.skew = Skew(seconds)
        elif self.skew.since is None:
            self.skew = Skew(seconds, now)
        elif abs(seconds - self.skew.seconds) > TOLD_ANEW * abs(self.skew.seconds):
            self.skew = Skew(seconds, self.skew.since)

    def told(self, now: datetime) -> Skew | None:
        """``None`` where it was not heard of late."""
        fresh = self.heard and abs(now - self.heard[-1][0]) <= timedelta(seconds=WINDOW_SECONDS)
        return self.skew if fresh else None
