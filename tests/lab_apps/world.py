"""The reference estate on this test's own ports, and services that run in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from ncia.core.config import load_estate
from ncia.core.estate import Address, Estate
from ncia.lab.apps.definitions import definition_of
from ncia.lab.apps.documents import Keeping
from ncia.lab.apps.http import Answer, Handler, Request, listen, send
from ncia.lab.apps.neighbours import Neighbours
from ncia.lab.apps.placement import Placement
from ncia.lab.apps.service import Parts, Service
from ncia.lab.apps.store import Store, gate_connect
from tests.lab_apps.gate import Gate
from tests.lab_apps.postgres import Cluster
from tests.ports import free_port

HERE, THERE = "daejeon", "gwangju"
CONFIGS = Path(__file__).parents[2] / "configs"
T = TypeVar("T")


def own_estate() -> Estate:
    """Every application and entry at a free port of 127.0.0.1, addresses routed as they are."""
    estate = load_estate(CONFIGS)
    systems = {}
    for name, system in estate.systems.items():
        applications = {
            site: replace(application, address=Address("127.0.0.1", free_port()))
            for site, application in system.applications.items()
        }
        systems[name] = replace(system, applications=applications, entry=Address("127.0.0.1", free_port()))
    sites = {name: replace(site, seen_from={}) for name, site in estate.sites.items()}
    return replace(estate, systems=systems, sites=sites)


class Running:
    """An event loop in a thread of its own, in which servers listen."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=60)

    @contextlib.contextmanager
    def serving(self, handler: Handler, address: Address) -> Iterator[None]:
        server = self.run(listen(handler, address))
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(server.close)

    def ask(self, address: Address, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        content = b"" if body is None else json.dumps(body).encode()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.run(send(address, Request(method, path, headers=sent, body=content), connect_seconds=5, seconds=15))

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)


class World:
    """Services of one site over one cluster, and the lease file that they read."""

    def __init__(self, cluster: Cluster, folder: Path, running: Running) -> None:
        self.cluster = cluster
        self.running = running
        self.estate = own_estate()
        self.gate = Gate(cluster.port)
        self.lease = folder / "lease.json"
        self.place(dict.fromkeys(self.estate.systems, HERE))
        self.placement = Placement(self.lease)
        self.keeping: dict[str, Keeping] = {}  # of the systems that keep documents here
        self._serving = contextlib.ExitStack()

    def place(self, sites: Mapping[Any, str], epoch: int = 1) -> None:
        told = {"systems": {name: {"epoch": epoch, "site": site} for name, site in sites.items()}}
        fresh = self.lease.with_suffix(".new")
        fresh.write_text(json.dumps(told))
        fresh.replace(self.lease)

    def service(self, name: str, synchronous_peer: Any = None, database: str | None = None) -> Service:
        system = self.estate.system(name)
        neighbours = Neighbours(self.estate, system, HERE, self.placement)
        connect = gate_connect(
            "127.0.0.1", self.gate.port, database or name, str(self.cluster.passfile), f"{name}@{HERE}"
        )
        definition = definition_of(name)
        parts = Parts(definition, HERE, self.placement, neighbours, Store(definition, connect), self.keeping.get(name))
        return Service(parts, synchronous_peer)

    def serve(self, name: str, synchronous_peer: Any = None) -> None:
        handler = self.service(name, synchronous_peer).answer
        self._serving.enter_context(self.running.serving(handler, self.address(name)))

    def serve_with(self, name: str, handler: Handler) -> None:
        self._serving.enter_context(self.running.serving(handler, self.address(name)))

    def address(self, name: str) -> Address:
        return self.estate.system(name).applications[HERE].address

    def get(self, name: str, path: str) -> Answer:
        return self.running.ask(self.address(name), "GET", path)

    def act(self, name: str, body: Mapping[str, Any], act: str | None = None) -> Answer:
        return self.running.ask(self.address(name), "POST", "/acts", {"id": act or str(uuid.uuid4()), **body})

    def close(self) -> None:
        self._serving.close()
        self.gate.close()


def eventually(look: Callable[[], Any], seconds: float = 10) -> Any:
    """Look until something is seen; for what another process does in its own time."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        pause.wait(0.02)
    return seen
