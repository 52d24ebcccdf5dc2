"""Which executors are dead: those whose counter has stood still for as long as we looked. Pure.

No clock of another machine is believed. A counter is watched on our own monotonic clock, and a look counts for no more
than twice the usual time between looks: an observer that was itself frozen must not wake and find everybody dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class _Seen:
    beats: int
    silent_seconds: float = 0.0


@dataclass
class Watched:
    """What one observer remembers of the counters that it sees."""

    look_seconds: float
    dead_seconds: float
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _looked_at: float | None = None

    def look(self, beats: Mapping[str, int], now: float) -> frozenset[str]:
        """The executors that are dead by what is seen ``now`` (seconds on a monotonic clock)."""
        since = 0.0 if self._looked_at is None else min(now - self._looked_at, 2 * self.look_seconds)
        self._looked_at = now
        self._seen = {name: self._next(name, count, since) for name, count in beats.items()}
        return frozenset(name for name, seen in self._seen.items() if seen.silent_seconds >= self.dead_seconds)

    def _next(self, name: str, count: int, since: float) -> _Seen:
        before = self._seen.get(name)
        if before is None or before.beats != count:
            return _Seen(count)
        return replace(before, silent_seconds=before.silent_seconds + since)
