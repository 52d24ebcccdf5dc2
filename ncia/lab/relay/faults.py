"""What a link can suffer, and what that means for the bytes on it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BURST_SECONDS = 0.02  # what a throttled link may send at once
BURST_BYTES_MIN = 16 * 1024


@dataclass(frozen=True)
class Faults:
    """``cut`` holds everything back, as TCP would until the cable is mended; ``swallow`` loses everything for good."""

    delay_seconds: float = 0.0  # one way, added where frames arrive
    bytes_per_second: int = 0  # 0: unlimited
    cut: bool = False
    swallow: bool = False

    @property
    def silent(self) -> bool:
        return self.cut or self.swallow

    def as_json(self) -> dict[str, Any]:
        return {
            "delay_seconds": self.delay_seconds,
            "bytes_per_second": self.bytes_per_second,
            "cut": self.cut,
            "swallow": self.swallow,
        }


class Pace:
    """How many bytes a throttled link may send now (a token bucket); ``now`` in seconds of any steady clock."""

    def __init__(self, bytes_per_second: int, now: float) -> None:
        self._rate = bytes_per_second
        self._burst = max(BURST_BYTES_MIN, int(bytes_per_second * BURST_SECONDS))
        self._tokens = float(self._burst)
        self._at = now

    def wait_seconds(self, now: float) -> float:
        """0 where bytes may go now, else how long until they may."""
        if self._rate <= 0:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return 0.0 if self._tokens > 0 else -self._tokens / self._rate + 0.001

    def took(self, size_bytes: int) -> None:
        self._tokens -= size_bytes
