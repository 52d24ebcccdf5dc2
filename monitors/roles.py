"""Who is active where, as the site's warden writes it into ``run/lease.json``."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from monitors.ports import Standing
from ncia.core.base.clock import Clock
from ncia.core.base.ids import SiteId, SystemId


class LeaseFileRoles:
    """Reads the file again only when its ``stat`` changed; an unreadable file is 'not known'."""

    def __init__(self, path: Path, site: SiteId, clock: Clock) -> None:
        self._path = path
        self._site = site
        self._clock = clock
        self._mark: tuple[int, int] | None = None
        self._told: dict[str, Any] = {}

    def of(self, system: SystemId) -> Standing | None:
        told = self._look()
        standing = told.get("systems", {}).get(system)
        if standing is None:
            return None
        deadline = max(int(told.get("deadline_boottime_ns", 0)), int(standing.get("deadline_boottime_ns") or 0))
        here = standing["site"] == self._site
        return Standing(SiteId(standing["site"]), int(standing["epoch"]), here and self._clock.boottime_ns() < deadline)

    def _look(self) -> dict[str, Any]:
        try:
            stat = os.stat(self._path)
            mark = (stat.st_ino, stat.st_mtime_ns)
            if mark != self._mark:
                told = json.loads(self._path.read_text(encoding="utf-8"))
                self._told = told if isinstance(told, dict) else {}
                self._mark = mark
        except (OSError, ValueError):
            self._mark, self._told = None, {}
        return self._told
