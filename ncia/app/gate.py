"""Composition of ``ncia gate``."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from ncia.app.logging import configure
from ncia.app.single import only_one
from ncia.core.base.clock import SystemClock
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate
from recovery.fencing.gate import Door, Gate


def run(settings_path: str | Path | None = None) -> None:
    """Let applications through until SIGTERM or SIGINT; ending cuts every connection."""
    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("gate", settings.site, settings.log)
    with only_one(settings.run, "gate"):
        gate = compose(settings, estate)
        going = [True]

        def end(number: int, frame: object) -> None:
            going[0] = False

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        gate.open()
        gate.serve(lambda: going[0])
        gate.close()


def compose(settings: SiteSettings, estate: Estate) -> Gate:
    """One door per system that has a copy of its rows at this site."""
    doors = {}
    for system in estate.systems.values():
        copy = system.postgres.copies.get(settings.site)
        if copy is not None:
            doors[system.id] = Door(system.id, copy.gate, copy.server)
    now_ns = SystemClock().boottime_ns
    return Gate(settings.site, doors, settings.run, estate.settings.lease_ttl_seconds, now_ns, os.getpid())
