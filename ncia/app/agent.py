"""Composition of `ncia agent`: which way of looking serves which kind of target, and to whom it reports."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from monitors.agent import Agent, Hysteresis
from monitors.outlet import Outlet
from monitors.ports import Probe, Reporter, Roles
from monitors.roles import LeaseFileRoles
from monitors.targets import (
    AppTarget,
    DatabaseTarget,
    DocumentsTarget,
    EntryTarget,
    GateTarget,
    LeaseTarget,
    ReceiverTarget,
    SiteTarget,
    StoreTarget,
    Target,
    targets,
)
from ncia.app.documents import DocumentStores
from ncia.app.single import only_one
from ncia.app.tls import Identity, server_name
from ncia.core.base.clock import Clock, SystemClock
from ncia.core.base.errors import NciaError
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate.model import Estate, Settings, SiteKind

STORE_THREADS = 12  # a store that hangs holds one thread a dataset
STORE_SECONDS = 2.0

if TYPE_CHECKING:
    from monitors.lookout import Lookout
RENEW_SECONDS = 60.0


def run(settings: Path | None) -> None:
    """Watch from this site until SIGTERM or SIGINT."""
    from ncia.app.logging import configure

    site = load_settings(settings)
    configure("agent", site.site, site.log)
    estate = load_estate(site.estate)
    if site.site not in estate.sites:
        raise NciaError("agent.no-such-site", f"watch from {site.site}", "the estate has no such site", str(site.file))
    with only_one(site.run, "agent"):
        uvloop.run(watch(site, estate, SystemClock()))


async def watch(site: SiteSettings, estate: Estate, clock: Clock) -> None:
    import structlog

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    known = LeaseFileRoles(site.run / "lease.json", site.site, clock)
    found = targets(estate, site.site)
    identity = Identity(site, "agent")
    documents = DocumentMeans(DocumentStores(estate, site.site, site.secrets), ThreadPoolExecutor(STORE_THREADS))
    means = Means(site, estate.settings, clock, known, documents, identity)
    probes = [probe for target in found for probe in probes_of(target, means)]
    outlets = tuple(reporters(site, estate, identity))
    renewing = asyncio.create_task(keep_fresh(identity, clock))
    log = structlog.get_logger("agent")
    log.info("agent started", probes=len(probes), controllers=len(outlets))
    hysteresis = Hysteresis(estate.settings.looks_to_fall, estate.settings.looks_to_rise)
    fast = estate.settings.probe_fast_interval_seconds
    agent = asyncio.create_task(Agent(probes, outlets, hysteresis, clock, fast).run(stop))
    await asyncio.gather(agent, look_out(site, clock, stop, agent))
    renewing.cancel()
    documents.stores.close()
    log.info("agent stopped")


async def keep_fresh(identity: Identity, clock: Clock) -> None:
    """Renew this site's certificates that are due, and take up what was renewed, by whomever."""
    import structlog

    log = structlog.get_logger("agent")
    while True:
        try:
            await asyncio.to_thread(identity.pki.renew, clock.now())
        except NciaError as error:
            log.error("pki.not-renewed", what=error.what, why=error.why, hint=error.hint)
        identity.refresh()
        await asyncio.sleep(RENEW_SECONDS)


async def look_out(site: SiteSettings, clock: Clock, stop: asyncio.Event, agent: asyncio.Task[None]) -> None:
    """Read the site's logs beside the probes, where its settings name any, for as long as the agent watches."""
    if not site.logs:
        return
    # Parsing rules takes a second of the processor: in a thread, so that no probe waits for it.
    lookout, reporter = await asyncio.to_thread(lookout_of, site, clock)
    agent.add_done_callback(lambda _: stop.set())  # an agent that broke ends both
    await lookout.run(reporter, stop)


def lookout_of(site: SiteSettings, clock: Clock) -> tuple[Lookout, Reporter]:
    """The lookout of this site, and its way to the site's own controller."""
    import structlog

    from monitors.detect.detector import Detector
    from monitors.detect.rules import load
    from monitors.lookout import Lookout, Source
    from monitors.reporters import HttpReporter
    from monitors.sources.nginx import NGINX
    from monitors.sources.sshd import SSHD

    known = {kind.name: kind for kind in (SSHD, NGINX)}
    unknown = [logs.form for logs in site.logs if logs.form not in known]
    if unknown:
        what = f"read the logs that {site.file} names"
        raise NciaError("agent.unknown-log", what, f"no form is called {unknown[0]!r}", f"one of {', '.join(known)}")
    sources = [Source(logs.root, logs.pattern, known[logs.form]) for logs in site.logs]
    rules = load(site.estate / "detections", {logs.form: known[logs.form] for logs in site.logs})
    log = structlog.get_logger("agent")
    log.info("lookout started", rules=len(rules.rules), inactive=len(rules.inactive))
    for rule in rules.inactive:
        log.info("rule can never fire here", rule=rule.title, id=rule.id, why=rule.why)
    lookout = Lookout(sources, Detector(site.site, rules), site.state / "lookout.json", clock)
    return lookout, HttpReporter.unix(site.run / "api.sock", site.site, "findings")


@dataclass(frozen=True)
class DocumentMeans:
    """How stores of documents are asked: they block, so each question takes one of a few threads."""

    stores: DocumentStores
    threads: Executor


@dataclass(frozen=True)
class Means:
    """What probes are made with."""

    site: SiteSettings
    settings: Settings
    clock: Clock
    known: Roles
    documents: DocumentMeans
    identity: Identity


def probes_of(target: Target, means: Means) -> tuple[Probe, ...]:
    """The probes that look at one target. A witness has no lease file: there nothing is known of who is active."""
    site, settings, clock, known = means.site, means.settings, means.clock, means.known
    pace = (settings.probe_interval_seconds, settings.probe_timeout_seconds, clock)
    match target:
        case AppTarget():
            from monitors.probes.http import AppProbe

            system = target.system
            return (AppProbe(system.id, target.site, target.address, system.read_path, *pace, known),)
        case EntryTarget():
            from monitors.probes.http import EntryProbe

            return (EntryProbe(target.system.id, target.address, target.system.read_path, *pace),)
        case GateTarget() | StoreTarget():
            from monitors.probes.tcp import TcpProbe

            return (TcpProbe(target.subject, target.address, *pace),)
        case SiteTarget():
            from monitors.probes.site import Doors, SiteProbe
            from monitors.probes.wire import tls

            dial = tls(target.api, means.identity.client(), server_name(target.site)) if target.api else None
            doors = Doors(target.api, target.etcd, target.warden, dial)
            return (SiteProbe(target.site, doors, *pace, from_outside=target.from_outside),)
        case LeaseTarget():
            from monitors.probes.lease import LeaseProbe

            return (LeaseProbe(target.sites, target.members, *pace),)
        case ReceiverTarget():
            return (_receiver(target, site, pace, known),)
        case DatabaseTarget():
            return _database(target, site, settings, clock, known)
        case DocumentsTarget():
            return _documents(target, means)


def _receiver(target: ReceiverTarget, site: SiteSettings, pace: tuple[float, float, Clock], known: Roles) -> Probe:
    from monitors.probes.postgres import Server, conninfo
    from monitors.probes.receiver import ReceiverProbe
    from recovery.receiving.wal import joining_name, receiver_name

    server = Server(conninfo(target.copy.server, target.database, site.secrets / "pgpass"), str(target.copy.server))
    names = (receiver_name(target.peer), joining_name(target.peer))
    return ReceiverProbe(target.system.id, site.site, target.peer, names, server, pace, known)


def _database(
    target: DatabaseTarget, site: SiteSettings, settings: Settings, clock: Clock, known: Roles
) -> tuple[Probe, ...]:
    from monitors.probes.postgres import LOCAL_COMMIT, CanaryProbe, DatabaseProbe, Server, conninfo

    system, where = target.system.id, str(target.copy.server)
    told = conninfo(target.copy.server, target.database, site.secrets / "pgpass")
    return (
        DatabaseProbe(
            system,
            site.site,
            Server(told, where),
            target.rpo_seconds,
            settings.canary_interval_seconds,
            min(settings.probe_interval_seconds, settings.canary_interval_seconds),  # it reads the canaries, too
            settings.probe_timeout_seconds,
            clock,
            known,
        ),
        CanaryProbe(
            system,
            site.site,
            Server(told, where, LOCAL_COMMIT),
            settings.canary_interval_seconds,
            settings.probe_timeout_seconds,
            clock,
            known,
        ),
    )


def _documents(target: DocumentsTarget, means: Means) -> tuple[Probe, ...]:
    from monitors.probes.documents import MarkProbe, MirrorProbe, Watched

    dataset, settings = target.dataset, means.settings
    watched = Watched(
        dataset=dataset.id,
        system=dataset.system,
        site=means.site.site,
        store=means.documents.stores.of(target.copy),
        rpo_seconds=dataset.promise.rpo_seconds,
        canary_interval_seconds=settings.document_canary_interval_seconds,
    )
    patience = max(settings.probe_timeout_seconds, STORE_SECONDS)
    with_what = (watched, patience, means.clock, means.known, means.documents.threads)
    return (MarkProbe(*with_what), MirrorProbe(*with_what))


def reporters(site: SiteSettings, estate: Estate, identity: Identity) -> Iterable[Outlet]:
    """Every agent reports to both controllers: its own over the unix socket, others over TLS with its certificate."""
    from monitors.reporters import HttpReporter

    for other in estate.sites.values():
        api = other.services.api
        if other.kind is not SiteKind.CENTRE or api is None:
            continue
        if other.id == site.site:
            yield Outlet(HttpReporter.unix(site.run / "api.sock", site.site))
        else:
            seen = estate.seen(api, other.id, site.site)
            yield Outlet(HttpReporter.tls(seen, site.site, identity.client(), server_name(other.id)))
