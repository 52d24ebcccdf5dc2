"""Composition of ``ncia worker``: carries out jobs of the site's queue, beside any number of others."""

from __future__ import annotations

import signal
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ncia.app.jobs import CLOSE_SECONDS_MAX, copies, executor, open_queue
from ncia.app.tls import Identity, server_name
from ncia.core.base.clock import SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.requests.pki import FOLDER, SitePki

if TYPE_CHECKING:
    from backup.ledger_http import HttpLedger

PROCESS = "worker"
REFRESH_SECONDS = 60.0


def run(settings_path: str | Path | None = None) -> None:
    """Take jobs until SIGTERM or SIGINT."""
    import structlog

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
        identity = identity_of(settings)
        ledger = controller(settings, estate, identity)
        closing.callback(ledger.close)
        working = executor(settings, estate, queue, ledger, copies(settings, estate, closing), SystemClock())
        working.start()
        structlog.get_logger("worker").info("worker started", executor=working.name)
        while not stop.wait(REFRESH_SECONDS):
            if identity is not None:
                identity.refresh()
        working.stop(CLOSE_SECONDS_MAX)


def identity_of(settings: SiteSettings) -> Identity | None:
    """The worker's certificate, where it has one: on a host other than the controller's (``pki issue --process``)."""
    there = SitePki(settings.secrets / FOLDER, settings.site).file(PROCESS).exists()
    return Identity(settings, PROCESS) if there else None


def controller(settings: SiteSettings, estate: Estate, identity: Identity | None) -> HttpLedger:
    """The way to the site's API: the wire with a certificate, else the socket of this host."""
    from backup.ledger_http import HttpLedger

    own = estate.sites[settings.site].services.api
    if own is not None and identity is not None:
        return HttpLedger(f"https://{own}", tls=identity.client(), server_name=server_name(settings.site))
    return HttpLedger(f"unix:{settings.run / 'api.sock'}")
