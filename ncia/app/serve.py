"""Composition of ``ncia serve``: one site's controller, all in one process."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import timedelta
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import uvloop

from ncia import __version__
from ncia.api.doors import RECEIPTS, TCP, UNIX, WIRE
from ncia.api.ports import Platform
from ncia.app.events import Broadcast
from ncia.app.jobs import CLOSE_SECONDS_MAX, JobDesk, copies, executor, open_queue
from ncia.app.loss import loss_desk
from ncia.app.mirrors import mirror_task
from ncia.app.own_word import OwnWord
from ncia.app.programs import drift_of, program_task
from ncia.app.single import only_one
from ncia.app.sync import sync_task
from ncia.app.tls import Identity, console_context, server_name
from ncia.core.base.clock import Clock, SystemClock, to_text
from ncia.core.base.errors import NciaError
from ncia.core.base.ids import SiteId, SystemId
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.journal import Journal, load_keyring, load_signer, open_journal
from ncia.core.journal.entries import AlertAcked, ControllerStarted, EstateLoaded
from ncia.core.requests.accounts import Accounts
from ncia.core.state import State, StateStore
from ncia.core.views import StatusView, status_view
from ncia.core.work.calendar import Calendar
from recovery.fencing.files import LEASE_FILE, LeaseFile, Watched

if TYPE_CHECKING:
    from backup.ledger import JournalLedger
    from backup.ports import Store
    from backup.rehash import RehashTask
    from backup.task import BackupTask
    from ncia.app.reports import SiteReports
    from ncia.core.journal.durable import TwoOfThree
    from ncia.core.journal.peer_http import HttpPeerSource
    from ncia.core.journal.peers import PeerLink
    from ncia.core.journal.tail import OwnTail, Place
    from ncia.core.journal.vouching import Vouching
    from ncia.core.journal.witness_http import HttpWitness
    from ncia.core.work.executor import Executor
    from recovery.task import RecoveryDesk

WATCH_SECONDS = 0.5
FINDINGS_SECONDS = 1.0
PULL_SECONDS = 0.5
VOUCH_SECONDS = 0.5
TAIL_ANSWER_SECONDS = 2.0  # a dead peer costs so much at each start
RECOVER_SECONDS = 1.0
PROTECT_SECONDS = 5.0
REHASH_SECONDS = 30.0
FORGET_SECONDS = 60.0
SYNC_SECONDS = 1.0
PROGRAM_SECONDS = 10.0
MIRROR_SECONDS = 1.0
RENEW_SECONDS = 60.0
CONTROLLER = "controller"

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
        await asyncio.to_thread(controller.calendar.stop)


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
        self._lease = Watched(settings.run / LEASE_FILE, LeaseFile.from_json)
        self.intake = Intake(self.journal, self.clock, estate, self.state.snapshot().verdicts)
        self.findings = FindingDesk(self.journal, self.state.snapshot, self.clock, self.intake.speaking)
        self.link = peer_link(settings, estate, self.journal, self.clock, identity)
        self.vouchings = vouchings(settings, estate, self.journal, identity)
        self.own = OwnWord(settings.site, self.vouchings, identity.pki, identity.refresh)
        self.watch = WatchTask(estate, self.journal, self.intake, self.state.snapshot, self.clock, self.own.lacks)
        self.durable = two_of_three(settings, estate, self.journal, self.vouchings[0])
        self.recovery = recovery_desk(settings, estate, self.journal, self.state, self.durable, closing)
        closing.callback(self.recovery.close)
        self.queue = open_queue(settings, closing)
        store = copies(settings, estate, closing)
        self.backups, self.ledger, self.executor = protecting(self, store, closing)
        self.rehash = self.rehash_task()
        self.loss = loss_desk(self, closing)
        self.programs = program_task(settings, estate, self.journal, self.state, self.active, closing)
        self.mirrors = mirror_task(settings, estate, self.journal, self.state, self.clock, self.active)
        closing.callback(self.mirrors.close)
        self.broadcast = Broadcast(lambda: self.status().to_json())
        self.journal.subscribe(lambda entry: self.broadcast.changed())
        self.calendar.every(WATCH_SECONDS, "watch", lambda now: self.watch.tick())
        self.calendar.every(FINDINGS_SECONDS, "findings", lambda now: self.findings.tick())
        self.calendar.every(PULL_SECONDS, "pull", lambda now: self.link.pull_once())
        for vouching in self.vouchings:
            self.calendar.every(VOUCH_SECONDS, f"vouch {vouching.site}", vouching.tick)
        self.calendar.every(RECOVER_SECONDS, "recover", lambda now: self.recovery.tick())
        self.sync = sync_task(settings, estate, self.journal, self.active, closing)
        self.calendar.every(SYNC_SECONDS, "sync", self.sync.tick)
        self.calendar.every(PROTECT_SECONDS, "protect", self.backups.tick)
        self.calendar.every(REHASH_SECONDS, "rehash", self.rehash.tick)
        self.calendar.every(FORGET_SECONDS, "forget receipts", self.loss.tick)
        self.calendar.every(PROGRAM_SECONDS, "programs", self.programs.tick, after_seconds=PROGRAM_SECONDS)
        self.calendar.every(MIRROR_SECONDS, "mirror", self.mirrors.tick)
        self.calendar.every(RENEW_SECONDS, "renew", self.own.renew)

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
            backups=Desk(self.backups),
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

    def rehash_task(self) -> RehashTask:
        from backup.rehash import Parts, RehashTask

        return RehashTask(Parts(self.estate, self.settings.site, self.state, self.queue.jobs, self.clock))

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


def own_journal(settings: SiteSettings, estate: Estate, clock: Clock) -> Journal:
    signer = load_signer(settings.site, settings.secrets / "journal_key")
    keys = load_keyring(settings.state / "peer_keys.yaml")
    return open_journal(settings.journal_url, peer=estate.peer_of(settings.site), signer=signer, keys=keys, clock=clock)


def own_tail(settings: SiteSettings, estate: Estate, journal: Journal, identity: Identity) -> OwnTail:
    """The journal's own tail at the peer and at the witness; read only until one of them has answered."""
    from ncia.core.journal.tail import OwnTail

    witness = witness_source(settings, estate)
    places: list[Place] = [peer_source(settings, estate, identity, TAIL_ANSWER_SECONDS)]
    return OwnTail(journal, [*places, witness] if witness else places)


def peer_link(settings: SiteSettings, estate: Estate, journal: Journal, clock: Clock, identity: Identity) -> PeerLink:
    from ncia.core.journal.peers import PeerLink

    return PeerLink(journal, peer_source(settings, estate, identity), clock)


def vouchings(settings: SiteSettings, estate: Estate, journal: Journal, identity: Identity) -> tuple[Vouching, ...]:
    """Who cosigns our log: the peer, and the witness where the estate has one."""
    from ncia.core.journal.vouching import by_peer, by_witness

    witness = witness_source(settings, estate)
    peer = by_peer(journal, peer_source(settings, estate, identity, TAIL_ANSWER_SECONDS))
    return (peer, by_witness(journal, witness, peer)) if witness else (peer,)


def two_of_three(settings: SiteSettings, estate: Estate, journal: Journal, peer: Vouching) -> TwoOfThree:
    """How an entry that permits an irreversible act comes to be known at a second place."""
    from ncia.core.journal.durable import RealPace, TwoOfThree

    return TwoOfThree(journal, peer, witness_source(settings, estate), RealPace())


def machines_only(settings: SiteSettings, estate: Estate, journal: Journal) -> Accounts:
    """Who is known before the journal is known to be whole: machines by their certificates, and nobody else."""
    return Accounts(settings.site, estate, journal, State, SystemClock())


def peer_source(
    settings: SiteSettings, estate: Estate, identity: Identity, timeout_seconds: float | None = None
) -> HttpPeerSource:
    from ncia.core.journal.peer_http import TIMEOUT_SECONDS, HttpPeerSource

    peer = estate.peer_of(settings.site)
    address = estate.sites[peer].services.api
    if address is None:
        raise NciaError("serve.no-peer", f"serve at {settings.site}", f"the estate names no services.api at {peer}")
    url = f"https://{estate.seen(address, peer, settings.site)}"
    seconds = timeout_seconds or TIMEOUT_SECONDS
    return HttpPeerSource(url, peer, timeout_seconds=seconds, tls=identity.client(), server_name=server_name(peer))


def witness_source(settings: SiteSettings, estate: Estate) -> HttpWitness | None:
    from ncia.core.journal.witness_http import HttpWitness

    site = estate.cosigner
    address = estate.sites[site].services.witness if site else None
    if site is None or address is None:
        return None
    url = f"http://{estate.seen(address, site, settings.site)}"
    return HttpWitness(url, site, secret(settings, "witness_token"))


def protecting(
    serving: Controller, store: Store, closing: ExitStack
) -> tuple[BackupTask, JournalLedger, Executor | None]:
    """What orders jobs, what writes for them, and who carries them out: nobody here where workers do it."""
    from backup.ledger import JournalLedger
    from backup.task import BackupTask, Parts

    settings, estate, queue = serving.settings, serving.estate, serving.queue
    ledger = JournalLedger(
        serving.journal,
        serving.state,
        queue.jobs.check,
        lambda entry: serving.durable.demand([entry], "delete a recovery point", ""),
    )
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


def recovery_desk(
    settings: SiteSettings,
    estate: Estate,
    journal: Journal,
    state: StateStore,
    durable: TwoOfThree,
    closing: ExitStack,
) -> RecoveryDesk:
    from ncia.app.documents import DocumentStores
    from ncia.app.pair import pair_of
    from recovery.actions.applications import HttpApplications
    from recovery.actions.documents import DocumentMarks
    from recovery.actions.front_door import FrontDoor
    from recovery.actions.postgresql import PostgresDatabases
    from recovery.fencing.claims import Claims, WardenControl
    from recovery.fencing.etcd import Etcd
    from recovery.outage import EntryOutages
    from recovery.permits import RunPermits
    from recovery.ports import World
    from recovery.receiving.control import ReceiverControl
    from recovery.task import RecoveryDesk, Surroundings

    site = settings.site
    stores = DocumentStores(estate, site, settings.secrets)
    closing.callback(stores.close)
    permits = RunPermits(journal, lambda entries, what, override: durable.demand(entries, what, override).site)
    journal.subscribe(permits.foresee)
    world = World(
        claims=Claims(Etcd.of(estate, site)),
        warden=WardenControl(settings.run / "warden.sock"),
        databases=PostgresDatabases(estate, site, settings.secrets / "pgpass"),
        applications=HttpApplications(estate, site),
        traffic=FrontDoor(estate, site, secret(settings, "traffic_token")),
        receivers=ReceiverControl(estate, settings.run / "receiver.sock"),
        permits=permits,
        marks=DocumentMarks(site, stores.of),
        pair=pair_of(settings, estate, stores, state, closing),
    )
    runbooks = Path(str(resources.files("runbooks")))
    watching = EntryOutages(site, lambda: state.snapshot().verdicts)
    return RecoveryDesk(Surroundings(site, estate, runbooks, journal, world, watching, drift=drift_of(estate, state)))


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
