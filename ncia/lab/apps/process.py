"""The applications of one site: a parent that loads everything once and forks one process per system.

The parent restarts none by itself: a system that dies stays down until somebody acts, as it would outside the lab; to
act is to send the parent SIGHUP, upon which it forks again what ended. Children die with the parent, also when it is
killed. ``run/apps.json`` says which process serves which system.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import json
import os
import signal
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import structlog
import uvloop

from ncia.app.documents import DocumentStores
from ncia.app.logging import configure
from ncia.core.config import SiteSettings, load_estate, load_settings
from ncia.core.estate import Estate
from ncia.core.estate.model import Replication, System
from ncia.lab.apps.definitions import definition_of
from ncia.lab.apps.documents import Keeping
from ncia.lab.apps.http import listen
from ncia.lab.apps.neighbours import Neighbours
from ncia.lab.apps.placement import Placement
from ncia.lab.apps.service import Parts, Service
from ncia.lab.apps.store import Store, gate_connect
from ncia.lab.layout import relay_address
from ncia.lab.logs import AccessLog, LogFile, access_log

NICE = 10  # behind etcd, warden and gate
PR_SET_PDEATHSIG = 1
M_ARENA_MAX = -8
PIDS = "apps.json"
CLIENTS = ("backup.replicate.stores.sftp", "backup.replicate.stores.s3")
SIGNALS = (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)


def compose(estate: Estate, settings: SiteSettings, system: System) -> Service:
    """One system's service at this site, reaching its rows through this site's gate only."""
    site = settings.site
    gate = system.postgres.copies[site].gate
    passfile = str(settings.secrets / "pgpass")
    placement = Placement(settings.run / "lease.json")
    definition = definition_of(str(system.id))
    connect = gate_connect(gate.host, gate.port, system.postgres.database, passfile, f"{system.id}@{site}")
    neighbours = Neighbours(estate, system, site, placement)
    synchronous = system.postgres.replication is Replication.SYNCHRONOUS
    keeping = keeping_of(estate, settings, system)
    parts = Parts(definition, site, placement, neighbours, Store(definition, connect), keeping)
    return Service(parts, estate.peer_of(site) if synchronous else None)


def keeping_of(estate: Estate, settings: SiteSettings, system: System) -> Keeping | None:
    """The stores of the system's documents; the other site's too where its acts wait for both."""
    if not system.documents:
        return None
    dataset, peer = system.documents[0], estate.peer_of(settings.site)
    stores = DocumentStores(estate, settings.site, settings.secrets)
    both = dataset.replication is Replication.SYNCHRONOUS
    other = stores.of(dataset.documents[peer]) if both else None
    return Keeping(settings.site, stores.of(dataset.documents[settings.site]), peer, other)


async def serve(estate: Estate, settings: SiteSettings, system: System) -> None:
    """Serve until SIGTERM."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    service = compose(estate, settings, system)
    wan = relay_address(estate.sites[settings.site]).host  # what comes over it, the citizens' front sends
    access = AccessLog(LogFile(access_log(settings, system.id)), frozenset({wan}))
    server = await listen(service.answer, system.applications[settings.site].address, access)
    structlog.get_logger("apps").info(
        "serving", system=system.id, address=str(system.applications[settings.site].address)
    )
    async with server:
        await ended.wait()


def child(estate: Estate, settings: SiteSettings, system: System) -> None:
    """The life of one system's process. Ends by ``_exit``: a thread may wait in COMMIT, and must not be waited for."""
    status = 1
    try:
        libc = ctypes.CDLL(None)
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        Path("/proc/self/comm").write_text(f"app {system.id}"[:15])
        configure(f"app-{system.id}", settings.site, settings.log)
        uvloop.run(serve(estate, settings, system))
        status = 0
    except Exception:
        structlog.get_logger("apps").exception("application ended", system=system.id)
    finally:
        os._exit(status)


def run(settings: SiteSettings, systems: tuple[str, ...]) -> None:
    """Fork one process per system (all of the estate where ``systems`` is empty) and wait until told to stop."""
    estate = load_estate(settings.estate)
    chosen = [estate.system(name) for name in systems] or [
        system for system in estate.systems.values() if settings.site in system.applications
    ]
    os.setpriority(os.PRIO_PROCESS, 0, NICE)
    for module in CLIENTS:
        import_module(module)  # before the fork: its memory is shared
    ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)  # threads share their heaps: a small process, not a fast one
    gc.collect()
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    children = fork_missing(estate, settings, chosen, {})
    configure("apps", settings.site, settings.log)
    while children:
        # Signals are taken one by one, never in a handler: a child's end and the wish to have it again cannot cross.
        heard = signal.sigwait(SIGNALS)
        reap(children)
        if heard == signal.SIGHUP:
            children = fork_missing(estate, settings, chosen, children)
        elif heard in (signal.SIGTERM, signal.SIGINT):
            stop(children)


def fork_missing(
    estate: Estate, settings: SiteSettings, chosen: Sequence[System], children: Mapping[int, str]
) -> dict[int, str]:
    """One process for each system that has none; SIGHUP asks for it again."""
    found = dict(children)
    for system in chosen:
        if str(system.id) not in found.values():
            found[fork(estate, settings, system)] = str(system.id)
    write_pids(settings.run / PIDS, found)
    return found


def fork(estate: Estate, settings: SiteSettings, system: System) -> int:
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        child(estate, settings, system)
    return pid


def stop(children: Mapping[int, str]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGTERM)


def reap(children: dict[int, str]) -> None:
    """Take leave of every child that has ended."""
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        system, code = children.pop(pid, ""), os.waitstatus_to_exitcode(status)
        log = structlog.get_logger("apps")
        (log.warning if code else log.info)("application ended", system=system, code=code)


def write_pids(file: Path, children: Mapping[int, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_name(f".{file.name}.{os.getpid()}")
    fresh.write_text(json.dumps({system: pid for pid, system in children.items()}))
    fresh.replace(file)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m ncia.lab.apps", description=__doc__)
    parser.add_argument("--settings", required=True)
    parser.add_argument("--system", action="append", default=[], help="only this one; may be given again")
    told = parser.parse_args(arguments)
    run(load_settings(told.settings), tuple(told.system))
