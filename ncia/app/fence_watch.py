"""Composition of ``ncia fence-watch``: the least of all processes."""

from __future__ import annotations

import select
import signal
import threading
from pathlib import Path

from ncia.app.logging import configure
from ncia.app.single import only_one
from ncia.core.base.clock import SystemClock
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate
from recovery.fencing.watch import LOOK_SECONDS, Cluster, FenceWatch


def run(settings_path: str | Path | None = None) -> None:
    """Watch until SIGTERM or SIGINT."""
    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("fence-watch", settings.site, settings.log)
    with only_one(settings.run, "fence-watch"):
        watch = compose(settings, estate)
        ended = threading.Event()

        def end(number: int, frame: object) -> None:
            ended.set()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        while not ended.wait(LOOK_SECONDS):
            watch.look()


def compose(settings: SiteSettings, estate: Estate) -> FenceWatch:
    """Every data directory of this site, under the database host's data root."""
    clusters = []
    for system in estate.systems.values():
        copy = system.postgres.copies.get(settings.site)
        if copy is not None:
            clusters.append(Cluster(system.id, settings.data_root / copy.data_directory))
    return FenceWatch(clusters, settings.run, SystemClock().boottime_ns, ended_within)


def ended_within(handle: int, seconds: float) -> bool:
    """Wait for the end of the process behind a pidfd."""
    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(int(seconds * 1000)))
