"""Where each system is active, from the warden's ``run/lease.json``: one ``stat`` a look, no timer.

An application asks at each request, at most every ``LOOK_SECONDS`` of which cost a ``stat``; an idle lab pays nothing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ncia.core.base.ids import SiteId

LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Place:
    """The site at which a system is active, and the epoch of that."""

    site: SiteId
    epoch: int


class Placement:
    """The lease file of this site, as last seen. Empty where there is none: nobody then knows where to act."""

    def __init__(self, file: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._monotonic = monotonic
        self._looked_at = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._places: Mapping[str, Place] = {}

    def place_of(self, system: str) -> Place | None:
        now = self._monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            self._look()
        return self._places.get(system)

    def _look(self) -> None:
        try:
            stat = os.stat(self._file)
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            told = json.loads(self._file.read_bytes())["systems"]
            places = {name: Place(SiteId(str(p["site"])), int(p["epoch"])) for name, p in told.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._places, self._seen = {}, None
            return
        self._places, self._seen = places, seen
