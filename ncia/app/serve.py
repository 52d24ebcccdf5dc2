"""Composition of ``ncia serve``: one site's controller, all in one process."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import asdict
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from ncia import __version__
from ncia.api.ports import Platform, Tokens
from ncia.app.events import Broadcast
from ncia.app.jobs import CLOSE_SECONDS_MAX, JobDesk, copies, executor, open_queue
from ncia.app.mirrors import mirror_task
from ncia.app.single import only_one
from ncia.app.sync import sync_task
from ncia.core.base.clock import Clock, SystemClock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.journal import Journal, load_keyring, load_signer, open_journal
from ncia.core.journal.entries import AlertAcked, ControllerStarted, EstateLoaded
from ncia.core.state import StateStore
from ncia.core.views import StatusView, status_view
from ncia.core.work.calendar import Calendar
from recovery.fencing.files import LEASE_FILE, LeaseFile, Watched

if TYPE_CHECKING:
    from backup.ledger import JournalLedger
    from backup.ports import Store
    from backup.rehash import RehashTask
    from backup.stores.remote import RemoteStore
    from backup.task import BackupTask
    from ncia.app.reports import SiteReports
    from ncia.core.journal.peers import PeerLink
    from ncia.core.work.executor import Executor
    from recovery.loss.desk import LossDesk
    from recovery.task import RecoveryDesk

WATCH_SECONDS = 0.5
PULL_SECONDS = 0.5
RECOVER_SECONDS = 1.0
PROTECT_SECONDS = 5.0
REHASH_SECONDS = 30.0
FORGET_SECONDS = 60.0
SYNC_SECONDS = 1.0
MIRROR_SECONDS = 1.0
CONTROLLER = "controller"


def run(settings_path: str | Path | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    from ncia.app.logging import configure

    settings = load_settings(settings_path)
    estate = load_estate(settings.estate)
    configure("serve", settings.site, settings.log)
    with only_one(settings.run, "serve"), ExitStack() as closing:
        uvloop.run(Controller(settings, estate, closing).serve())


class Controller:
    """The wings of one site on one journal. It holds what is started and stopped together; it decides nothing."""

    def __init__(self, settings: SiteSettings, estate: Estate, closing: ExitStack) -> None:
        from monitors.intake import Intake
        from monitors.task import WatchTask

        self.settings = settings
        self.estate = estate
        self.clock = SystemClock()
        self.calendar = Calendar(self.clock)
        self.journal = own_journal(settings, estate, self.clock)
        closing.callback(self.journal.close)
        self.state = StateStore(self.journal)
        self._lease = Watched(settings.run / LEASE_FILE, LeaseFile.from_json)
        self.intake = Intake(self.journal, self.clock, estate, self.state.snapshot().verdicts)
        self.watch = WatchTask(estate, self.journal, self.intake, self.state.snapshot, self.clock)
        self.link = peer_link(settings, estate, self.journal, self.clock)
        self.recovery = recovery_desk(settings, estate, self.journal, self.state)
        closing.callback(self.recovery.close)
        self.queue = open_queue(settings, closing)
        store = copies(settings, estate, closing)
        self.backups, self.ledger, self.executor = protecting(self, store, closing)
        self.rehash = self.rehash_task(store, closing)
        self.loss = self.loss_desk(closing)
        self.mirrors = mirror_task(settings, estate, self.journal, self.state, self.clock, self.active)
        closing.callback(self.mirrors.close)
        self.broadcast = Broadcast(lambda: self.status().to_json())
        self.journal.subscribe(lambda entry: self.broadcast.changed())
        self.calendar.every(WATCH_SECONDS, "watch", lambda now: self.watch.tick())
        self.calendar.every(PULL_SECONDS, "pull", lambda now: self.link.pull_once())
        self.calendar.every(RECOVER_SECONDS, "recover", lambda now: self.recovery.tick())
        self.sync = sync_task(settings, estate, self.journal, self.active, closing)
        self.calendar.every(SYNC_SECONDS, "sync", self.sync.tick)
        self.calendar.every(PROTECT_SECONDS, "protect", self.backups.tick)
        self.calendar.every(REHASH_SECONDS, "rehash", self.rehash.tick)
        self.calendar.every(FORGET_SECONDS, "forget receipts", self.loss.tick)
        self.calendar.every(MIRROR_SECONDS, "mirror", self.mirrors.tick)

    async def serve(self) -> None:
        from ncia.api.routes import build, build_receipts
        from ncia.app import web

        site = self.settings.site
        own = self.estate.sites[site].services.api
        if own is None:
            raise NciaError("serve.no-address", f"serve at {site}", "the estate names no services.api there")
        unix, tcp = web.unix_socket(self.settings.run / "api.sock"), web.tcp_socket(own)
        platform, intake = self.platform(), self.estate.sites[site].services.receipts
        receipts = [(build_receipts(platform), web.tcp_socket(intake))] if intake else []
        self.broadcast.bind(asyncio.get_running_loop())
        await asyncio.to_thread(self._begin)
        self.calendar.start()
        try:
            await web.serve(build(platform), unix, tcp, receipts)
        finally:
            await asyncio.to_thread(self.calendar.stop)

    def platform(self) -> Platform:
        from backup.task import Desk
        from monitors.metrics import metrics
        from ncia.console import STATIC, page
        from ncia.core.journal.reader import WireReader

        return Platform(
            site=self.settings.site,
            release=__version__,
            tokens=Tokens(
                peer=secret(self.settings, "peer_token"),
                agent=secret(self.settings, "agent_token"),
                worker=secret(self.settings, "worker_token", needed=False),
                receipts=secret(self.settings, "receipts_token"),
            ),
            journal=WireReader(self.journal),
            backups=Desk(self.backups),
            jobs=JobDesk(self.queue, self.ledger),
            recovery=self.recovery,
            loss=self.loss,
            rehash=lambda dataset: self.rehash.read_now(dataset, "operator"),
            reports=self.reports(),
            report=self.intake.report,
            status=lambda: self.status().to_json(),
            incidents=lambda: [asdict(incident) for incident in self.status().incidents],
            acknowledge=self.acknowledge,
            continuity=self.continuity,
            metrics=lambda: metrics(self.estate, self.state.snapshot(), self.intake.live()),
            page=lambda: page(self.status()),
            events=self.broadcast.frames,
            static=STATIC,
        )

    def reports(self) -> SiteReports:
        from ncia.app.reports import SiteReports

        site, state = self.settings.site, self.state.snapshot
        return SiteReports(site, self.estate, self.journal, state, self.continuity, self.clock)

    def rehash_task(self, store: RemoteStore, closing: ExitStack) -> RehashTask:
        from backup.rehash import Parts, RehashTask

        parts = Parts(self.estate, self.settings.site, self.journal, self.state, store, self.clock)
        task = RehashTask(parts)
        closing.callback(task.close)
        return task

    def loss_desk(self, closing: ExitStack) -> LossDesk:
        from recovery.loss.contents import PostgresContents
        from recovery.loss.desk import LossDesk, Parts
        from recovery.loss.store import ReceiptStore

        settings, estate = self.settings, self.estate
        receipts = ReceiptStore(settings.state / "receipts.db")
        closing.callback(receipts.close)
        return LossDesk(
            Parts(
                site=settings.site,
                estate=estate,
                receipts=receipts,
                contents=PostgresContents(estate, settings.site, settings.secrets / "pgpass"),
                journal=self.journal,
                state=self.state.snapshot,
                active=lambda: {system: at for system, (at, _) in self.active().items()},
                clock=self.clock,
            )
        )

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

        state, live = self.state.snapshot(), self.intake.live()
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

    def _begin(self) -> None:
        """Hear the peer before the first word of our own: it may hold more of our log than we do."""
        self.link.pull_once()
        estate = self.estate
        loaded = EstateLoaded(estate_hash=estate.hash, systems=len(estate.systems), datasets=len(estate.datasets))
        started = ControllerStarted(release=__version__, estate_hash=estate.hash)
        self.journal.append_all((started, loaded), by=CONTROLLER)
        if self.executor is not None:
            self.executor.start()


def own_journal(settings: SiteSettings, estate: Estate, clock: Clock) -> Journal:
    signer = load_signer(settings.site, settings.secrets / "journal_key")
    keys = load_keyring(settings.state / "peer_keys.yaml")
    return open_journal(settings.journal_url, peer=estate.peer_of(settings.site), signer=signer, keys=keys, clock=clock)


def peer_link(settings: SiteSettings, estate: Estate, journal: Journal, clock: Clock) -> PeerLink:
    from ncia.core.journal.peer_http import HttpPeerSource
    from ncia.core.journal.peers import PeerLink

    peer = estate.peer_of(settings.site)
    address = estate.sites[peer].services.api
    if address is None:
        raise NciaError("serve.no-peer", f"serve at {settings.site}", f"the estate names no services.api at {peer}")
    url = f"http://{estate.seen(address, peer, settings.site)}"
    return PeerLink(journal, HttpPeerSource(url, peer, secret(settings, "peer_token")), clock)


def protecting(
    serving: Controller, store: Store, closing: ExitStack
) -> tuple[BackupTask, JournalLedger, Executor | None]:
    """What orders jobs, what writes for them, and who carries them out: nobody here where workers do it."""
    from backup.ledger import JournalLedger
    from backup.task import BackupTask, Parts

    settings, estate, queue = serving.settings, serving.estate, serving.queue
    ledger = JournalLedger(serving.journal, serving.state, queue.jobs.check)
    task = BackupTask(
        Parts(
            estate=estate,
            site=settings.site,
            journal=serving.journal,
            states=serving.state,
            jobs=queue.jobs,
            store=store,
            clock=serving.clock,
            active=lambda: {system: at for system, (at, _) in serving.active().items()},
        )
    )
    if not queue.own:
        return task, ledger, None
    carrying_out = executor(settings, estate, queue, ledger, store, serving.clock)
    closing.callback(carrying_out.stop, CLOSE_SECONDS_MAX)
    return task, ledger, carrying_out


def recovery_desk(settings: SiteSettings, estate: Estate, journal: Journal, state: StateStore) -> RecoveryDesk:
    from ncia.app.documents import DocumentStores
    from recovery.actions.applications import HttpApplications
    from recovery.actions.documents import DocumentMarks
    from recovery.actions.front_door import FrontDoor
    from recovery.actions.postgresql import PostgresDatabases
    from recovery.fencing.claims import Claims, WardenControl
    from recovery.fencing.etcd import Etcd
    from recovery.outage import EntryOutages
    from recovery.ports import World
    from recovery.receiving.control import ReceiverControl
    from recovery.task import RecoveryDesk, Surroundings

    site = settings.site
    world = World(
        claims=Claims(Etcd.of(estate, site)),
        warden=WardenControl(settings.run / "warden.sock"),
        databases=PostgresDatabases(estate, site, settings.secrets / "pgpass"),
        applications=HttpApplications(estate, site),
        traffic=FrontDoor(estate, site, secret(settings, "traffic_token")),
        receivers=ReceiverControl(estate, settings.run / "receiver.sock"),
        marks=DocumentMarks(site, DocumentStores(estate, site, settings.secrets).of),
    )
    runbooks = Path(str(resources.files("runbooks")))
    watching = EntryOutages(site, lambda: state.snapshot().verdicts)
    return RecoveryDesk(Surroundings(site, estate, runbooks, journal, world, watching))


def secret(settings: SiteSettings, name: str, *, needed: bool = True) -> str:
    """A one-line secret of the site (empty where it is not ``needed`` and not there); the error names the file and
    never its content."""
    path = settings.secrets / name
    if not needed and not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NciaError(
            "serve.no-secret", f"read {path}", error.strerror or "unreadable", "mode 0600, one line"
        ) from error
