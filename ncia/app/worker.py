"""Composition of ``ncia worker``: carries out jobs of the site's queue, beside any number of others."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path

from ncia.app.jobs import CLOSE_SECONDS_MAX, copies, executor, open_queue
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate


def run(settings_path: str | Path | None = None) -> None:
    """Take jobs until SIGTERM or SIGINT."""
    import structlog

    from backup.ledger_http import HttpLedger
    from ncia.app.logging import configure

    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("worker", settings.site, settings.log)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as closing:
        queue = open_queue(settings, closing)
        if queue.own:
            why = "its queue is a file on which the controller works itself"
            hint = f"jobs_url: postgresql://… in {settings.file}"
            raise NciaError("worker.own-queue", f"work at {settings.site}", why, hint)
        ledger = HttpLedger(*controller(settings, estate))
        closing.callback(ledger.close)
        working = executor(settings, estate, queue, ledger, copies(settings, estate, closing), SystemClock())
        working.start()
        structlog.get_logger("worker").info("worker started", executor=working.name)
        stop.wait()
        working.stop(CLOSE_SECONDS_MAX)


def controller(settings: SiteSettings, estate: Estate) -> tuple[str, str]:
    """Where the site's API is reached, and the token to show: its socket on this host, else TCP."""
    socket, token = settings.run / "api.sock", settings.secrets / "worker_token"
    own = estate.sites[settings.site].services.api
    if token.exists() and own is not None:
        return f"http://{own}", token.read_text(encoding="utf-8").strip()
    return f"unix:{socket}", ""
