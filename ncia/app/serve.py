"""Composition of ``ncia serve``: one site's controller, all in one process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from ncia import __version__
from ncia.api.doors import RECEIPTS, TCP, UNIX, WIRE
from ncia.api.ports import Platform
from ncia.app.agencies import agency_task
from ncia.app.events import Broadcast
from ncia.app.ground import Ground
from ncia.app.jobs import JobDesk, open_queue
from ncia.app.journals import machines_only, own_journal, own_tail, peer_link, two_of_three, vouchings
from ncia.app.loss import loss_desk
from ncia.app.mirrors import mirror_task
from ncia.app.own_word import OwnWord
from ncia.app.points import point_task
from ncia.app.programs import program_task
from ncia.app.protecting import protecting, rehash_task
from ncia.app.recovering import recovery_desk
from ncia.app.secret import secret
from ncia.app.single import only_one
from ncia.app.sync import sync_task
from ncia.app.tls import Identity, console_context
from ncia.core.base.clock import SystemClock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.journal import Journal
from ncia.core.journal.entries import AlertAcked, ControllerStarted, EstateLoaded
from ncia.core.requests.accounts import Accounts
from ncia.core.state import StateStore
from ncia.core.views import StatusView, status_view
from ncia.core.work.calendar import Calendar
from recovery.fencing.files import LEASE_FILE, LeaseFile, Watched

if TYPE_CHECKING:
    from ncia.app.reports import SiteReports

CONTROLLER = "controller"
PULL_SECONDS_MAX = 6.0  # a peer that is silent takes its time-out

log = structlog.get_logger("serve")


def run(settings_path: str | Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    from ncia.app.logging import configure

    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("serve", settings.site, settings.log)
    with only_one(settings.run, "serve"), ExitStack() as closing:
        uvloop.run(serve(settings, estate, closing))


async def serve(settings: SiteSettings, estate: Estate, closing: ExitStack) -> None:
    """Offer the journal at once, for the peer may wait for it as we do for the peer's; all else once ours is whole."""
    from ncia.api.routes import build, build_receipts
    from ncia.app import web
    from ncia.app.waiting import Front, closed_door, waiting_room

    services = estate.sites[settings.site].services
    own, intake = services.api, services.receipts
    if own is None:
        raise NciaError("serve.no-address", f"serve at {settings.site}", "the estate names no services.api there")
    journal = own_journal(settings, estate, SystemClock())
    closing.callback(journal.close)
    identity = Identity(settings, "serve")
    tail = own_tail(settings, estate, journal, identity)
    front = Front(
        waiting_room(settings.site, __version__, machines_only(settings, estate, journal), journal, tail, estate.people)
    )
    ended = threading.Event()
    openings = [
        web.Opening(UNIX, web.unix_socket(settings.run / "api.sock")),
        web.Opening(WIRE, web.tcp_socket(own), identity.server()),
    ]
    console = ""
    if services.console is not None:
        context = console_context(settings, services.console)
        openings.append(web.Opening(TCP, web.tcp_socket(services.console), context))
        console = f"{'http' if context is None else 'https'}://{services.console}"
    receipts = Front(closed_door(settings.site, __version__, tail))
    if intake is not None:
        openings.append(web.Opening(RECEIPTS, web.tcp_socket(intake), application=receipts))
    serving = asyncio.create_task(web.serve(front, openings))
    serving.add_done_callback(lambda task: ended.set())
    if not await asyncio.to_thread(tail.wait, ended):
        return await serving
    controller = await asyncio.to_thread(Controller, settings, estate, journal, identity, closing)
    controller.broadcast.bind(asyncio.get_running_loop())
    await asyncio.to_thread(controller.begin)
    platform = controller.platform(console)
    front.become(build(platform))
    receipts.become(build_receipts(platform))
    try:
        return await serving
    finally:
        await asyncio.to_thread(controller.end)


@dataclass(frozen=True)
class Round:
    """A part of the controller that is called again and again; first ``after_seconds`` from the start."""

    name: str
    seconds: float
    tick: Callable[[datetime], None]
    after_seconds: float = 0.0


class Controller:
    """The wings of one site on one journal. It holds what is started and stopped together; it decides nothing."""

    def __init__(
        self, settings: SiteSettings, estate: Estate, journal: Journal, identity: Identity, closing: ExitStack
    ) -> None:
        from monitors.findings import FindingDesk
        from monitors.intake import Intake
        from monitors.task import WatchTask

        self.settings = settings
        self.estate = estate
        self.clock = SystemClock()
        self.calendar = Calendar(self.clock)
        self.journal = journal
        self.identity = identity
        self.state = StateStore(self.journal)
        self.accounts = Accounts(settings.site, estate, self.journal, self.state.snapshot, self.clock)
        self._ended = threading.Event()
        self._pulling = threading.Thread(target=lambda: self.link.keep_pulling(self._ended), name="pull", daemon=True)
        self._lease = Watched(settings.run / LEASE_FILE, LeaseFile.from_json)
        self.intake = Intake(self.journal, self.clock, estate, self.state.snapshot().verdicts)
        self.findings = FindingDesk(self.journal, self.state.snapshot, self.clock, self.intake.speaking)
        self.link = peer_link(settings, estate, self.journal, self.clock, identity)
        self.vouchings = vouchings(settings, estate, self.journal, identity)
        self.own = OwnWord(settings.site, self.vouchings, identity.pki, identity.refresh)
        self.watch = WatchTask(estate, self.journal, self.intake, self.state.snapshot, self.clock, self.own.lacks)
        self.durable = two_of_three(settings, estate, self.journal, self.vouchings[0], identity)
        self.recovery = recovery_desk(settings, estate, self.journal, self.state, self.durable, closing)
        self.queue = open_queue(settings, closing)
        ground = Ground(settings, estate, self.journal, self.state, self.clock, self.active, closing)
        self.backups, self.ledger, self.executor = protecting(ground, self.queue, self.durable)
        self.rehash = rehash_task(ground, self.queue)
        self.agencies = agency_task(ground, self.queue, self.durable)
        self.points = point_task(ground, self.queue)
        self.loss = loss_desk(ground)
        self.programs = program_task(settings, estate, self.journal, self.state, self.active, closing)
        self.mirrors = mirror_task(settings, estate, self.journal, self.state, self.clock, self.active)
        closing.callback(self.mirrors.close)
        self.broadcast = Broadcast(lambda: self.status().to_json())
        self.journal.subscribe(lambda entry: self.broadcast.changed())
        self.sync = sync_task(settings, estate, self.journal, self.active, closing)
        for each in self.rounds():
            self.calendar.every(each.seconds, each.name, each.tick, after_seconds=each.after_seconds)

    def rounds(self) -> tuple[Round, ...]:
        """Everything that is done again and again, and how often."""
        return (
            Round("watch", 0.5, lambda now: self.watch.tick()),
            Round("findings", 1.0, lambda now: self.findings.tick()),
            *(Round(f"vouch {each.site}", 0.5, each.tick) for each in self.vouchings),
            Round("recover", 1.0, lambda now: self.recovery.tick()),
            Round("sync", 1.0, self.sync.tick),
            Round("protect", 5.0, self.backups.tick),
            Round("rehash", 30.0, self.rehash.tick),
            Round("agencies", 30.0, self.agencies.tick, after_seconds=30.0),
            Round("points", 60.0, self.points.tick, after_seconds=60.0),
            Round("forget receipts", 60.0, self.loss.tick),
            Round("programs", 10.0, self.programs.tick, after_seconds=10.0),
            Round("mirror", 1.0, self.mirrors.tick),
            Round("renew", 60.0, self.own.renew),
        )

    def begin(self) -> None:
        """Write the first words of this life, and tick from now on."""
        estate = self.estate
        self.link.pull_once()
        loaded = EstateLoaded(estate_hash=estate.hash, systems=len(estate.systems), datasets=len(estate.datasets))
        started = ControllerStarted(release=__version__, estate_hash=estate.hash)
        self.journal.append_all((started, loaded), by=CONTROLLER)
        if self.executor is not None:
            self.executor.start()
        self.calendar.start()
        self._pulling.start()

    def end(self) -> None:
        """Do nothing new; waits for the rounds that run, and for the pull."""
        self._ended.set()
        self.calendar.stop()
        if self._pulling.is_alive():
            self._pulling.join(PULL_SECONDS_MAX)

    def platform(self, console: str) -> Platform:
        from backup.task import Desk
        from monitors.metrics import metrics
        from ncia.console import STATIC, page, sign_in_page
        from ncia.core.journal.reader import WireReader

        return Platform(
            site=self.settings.site,
            release=__version__,
            console=console,
            receipts_token=secret(self.settings, "receipts_token"),
            journal=WireReader(self.journal),
            backups=Desk(self.backups, self.agencies, self.points),
            jobs=JobDesk(self.queue, self.ledger),
            recovery=self.recovery,
            loss=self.loss,
            rehash=self.rehash.read_now,
            reports=self.reports(),
            report=self.intake.report,
            findings=self.findings,
            status=lambda: self.status().to_json(),
            incidents=lambda: [asdict(incident) for incident in self.status().incidents],
            acknowledge=self.acknowledge,
            continuity=self.continuity,
            metrics=lambda: metrics(self.estate, self.state.snapshot(), self.intake.live()),
            page=page,
            sign_in_page=lambda: sign_in_page(self.settings.site),
            events=self.broadcast.frames,
            static=STATIC,
            accounts=self.accounts,
            systems_of=self.estate.systems_of,
            made=lambda made: self.journal.append(made, by=made.by),
        )

    def reports(self) -> SiteReports:
        from ncia.app.reports import SiteReports

        site, state = self.settings.site, self.state.snapshot
        return SiteReports(site, self.estate, self.journal, state, self.continuity, self.clock)

    def active(self) -> dict[SystemId, tuple[SiteId, int]]:
        """Where each system is active: by our own warden, and by what agents told where that is silent."""
        lease = self._lease.look()
        if lease is None or not lease.systems:
            return dict(self.intake.active())
        return {system: (standing.site, standing.epoch) for system, standing in lease.systems.items()}

    def status(self) -> StatusView:
        state, live = self.state.snapshot(), self.intake.live()
        return status_view(self.settings.site, self.estate, state, live, self.active(), self.clock.now())

    def continuity(self) -> dict[str, Any]:
        from ncia.core.reports.continuity import continuity

        state, live = self.state.snapshot(), replace(self.intake.live(), naming=self.loss.naming())
        return continuity(self.settings.site, self.estate, state, live, self.active(), self.clock.now()).to_json()

    def acknowledge(self, incident: str, by: str, comment: str, minutes: float) -> dict[str, Any]:
        """Write down that ``by`` has taken an open incident on."""
        found = self.state.snapshot().incidents.get(incident)
        if found is None or not found.open:
            known = ", ".join(each.id for each in self.state.snapshot().open_incidents()) or "none is open"
            raise NciaError("alerts.no-such-incident", f"acknowledge {incident}", "no such incident is open", known)
        if by not in self.estate.people:
            known = ", ".join(sorted(self.estate.people))
            raise NciaError("alerts.unknown-person", f"acknowledge {incident}", f"{by!r} is not in the estate", known)
        until = to_text(self.clock.now() + timedelta(minutes=minutes))
        self.journal.append(AlertAcked(incident=incident, by=by, comment=comment, until=until), by=by)
        return {"incident": incident, "by": by, "comment": comment, "until": until}
