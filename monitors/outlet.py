"""What one controller has been told: the newest verdict per subject, all of it again after any break."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import structlog

from monitors.judge import Change
from monitors.ports import Measure, Reporter
from ncia.core.base.clock import to_text
from ncia.core.base.errors import Unreachable
from ncia.core.base.ids import Subject

log = structlog.get_logger("monitors.outlet")


class Outlet:
    """Keeps no queue: a controller that was away is told how things stand, not everything that happened meanwhile."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._standing: dict[Subject, Change] = {}
        self._untold: set[Subject] = set()
        self._measures: dict[tuple[Subject, str], Measure] = {}
        self._unmeasured: set[tuple[Subject, str]] = set()
        self._away = False
        self.busy = False

    def note(self, change: Change) -> None:
        self._standing[change.subject] = change
        self._untold.add(change.subject)

    def measure(self, measure: Measure) -> None:
        key = (measure.subject, measure.name)
        self._measures[key] = measure
        self._unmeasured.add(key)

    async def tell(self, tick: int, at: datetime | None = None) -> bool:
        """Send one report, at ``at`` by the agent's clock; whether it was taken. A first report, or one after a break,
        is the full picture."""
        if not self._reporter.connected:
            self._untold, self._unmeasured = set(self._standing), set(self._measures)
        told, measured = frozenset(self._untold), frozenset(self._unmeasured)
        self._untold.clear()
        self._unmeasured.clear()
        body = _report(tick, at, [self._standing[s] for s in told], [self._measures[key] for key in measured])
        try:
            await self._reporter.send(body)
        except Unreachable as error:
            self._untold |= told
            self._unmeasured |= measured
            if not self._away:
                log.warning("controller away", controller=self._reporter.name, why=error.why)
            self._away = True
            return False
        if self._away:
            log.info("controller back", controller=self._reporter.name, subjects=len(told))
        self._away = False
        return True

    async def close(self) -> None:
        await self._reporter.close()


def _report(tick: int, at: datetime | None, changes: Iterable[Change], measures: Iterable[Measure]) -> bytes:
    told: dict[str, Any] = {
        "tick": tick,
        "at": to_text(at) if at else "",
        "changes": [
            {
                "subject": change.subject,
                "verdict": change.verdict,
                "previous": change.previous,
                "since": to_text(change.since),
                "evidence": change.evidence,
            }
            for change in changes
        ],
        "measures": [measure.to_json() for measure in measures],
    }
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
