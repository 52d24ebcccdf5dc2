"""Two sites on loopback ports for the tests of this folder: an estate on disk and its real processes."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import configs
from ncia.core.base.ids import SiteId, SystemId
from recovery.fencing.claims import Claims, WardenControl
from recovery.fencing.etcd import Etcd
from recovery.fencing.files import GATE_FILE, LEASE_FILE, GateFile, LeaseFile, Standing, boot_id, read, replace
from tests.ports import free_ports
from tests.recovery.fencing.cluster import Cluster

EAST, WEST = SiteId("east"), SiteId("west")
TAX, LAND = SystemId("tax"), SystemId("land")
REFERENCE = Path(configs.__file__).parent


def until(condition: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Wait for the world to become so; the answer, or a failure that says what did not come."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        select.select([], [], [], 0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


class Process:
    """One ``ncia`` process of a site."""

    def __init__(self, name: str, settings: Path) -> None:
        self.name, self.settings = name, settings
        self.log = settings.parent / "log" / f"{name}.log"
        errors = (settings.parent / f"{name}.err").open("ab")
        command = [sys.executable, "-m", "ncia", name, "--settings", str(settings)]
        self._popen = subprocess.Popen(command, stdout=errors, stderr=errors, stdin=subprocess.DEVNULL)
        errors.close()
        self.pid = self._popen.pid

    def freeze(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()

    def end(self) -> int:
        self._popen.terminate()
        return self._popen.wait(timeout=10)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def said(self, words: str) -> bool:
        return any(words in event["event"] for event in self.events())


class Place:
    """A site's files and processes."""

    def __init__(self, world: World, site: SiteId) -> None:
        self.world, self.site = world, site
        self.folder = world.folder / site
        self.run = self.folder / "run"
        self.settings = self.folder / "site.yaml"
        self.processes: dict[str, Process] = {}

    def start(self, name: str) -> Process:
        self.processes[name] = Process(name, self.settings)
        return self.processes[name]

    def lease(self) -> LeaseFile | None:
        return read(self.run / LEASE_FILE, LeaseFile.from_json)

    def gate(self) -> GateFile | None:
        return read(self.run / GATE_FILE, GateFile.from_json)

    def control(self) -> WardenControl:
        return WardenControl(self.run / "warden.sock")

    def seconds_left(self) -> float:
        lease = self.lease()
        return (lease.deadline_boottime_ns - now_ns()) / 1e9 if lease else 0.0

    def held(self) -> bool:
        return self.seconds_left() > 0

    def passing(self) -> bool:
        gate = self.gate()
        return bool(gate and gate.boot == boot_id() and gate.open)


def now_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class World:
    """Two sites and a witness; ``etcd`` is shared. The systems of the estate live at ``east``."""

    def __init__(self, folder: Path, etcd: Cluster, *, ttl_seconds: float = 3, isolated: str = "stop") -> None:
        self.folder, self.etcd = folder, etcd
        self.ports = dict(zip(("warden-east", "warden-west", *PORTS), free_ports(2 + len(PORTS)), strict=True))
        self._write(ttl_seconds, isolated)
        self.east, self.west = Place(self, EAST), Place(self, WEST)
        self.client = Etcd(etcd.urls)
        self.claims = Claims(self.client)
        for system in (TAX, LAND):
            self.claims.birth(system, EAST)

    def close(self) -> None:
        for place in (self.east, self.west):
            for process in place.processes.values():
                process.kill()
        self.client.close()

    def _write(self, ttl_seconds: float, isolated: str) -> None:
        estate = self.folder / "estate"
        estate.mkdir(parents=True)
        (estate / "people.yaml").write_text((REFERENCE / "people.yaml").read_text())
        agencies = yaml.safe_load((REFERENCE / "agencies.yaml").read_text())
        for agency in agencies["agencies"]:
            agency.pop("repository", None)  # they lie at sites that are not here
        self._dump(estate, "agencies", agencies)
        grades = yaml.safe_load((REFERENCE / "grades.yaml").read_text())
        for grade in grades["grades"]:
            grade["isolated"] = isolated
        self._dump(estate, "grades", grades)
        settings = yaml.safe_load((REFERENCE / "settings.yaml").read_text())
        settings["settings"]["lease_ttl_seconds"] = ttl_seconds
        self._dump(estate, "settings", settings)
        self._dump(estate, "sites", self._sites())
        self._dump(estate, "systems", {"systems": [self._system(TAX), self._system(LAND)]})
        for site in (EAST, WEST):
            home = self.folder / site
            for name in ("run", "secrets", "log", "state"):
                (home / name).mkdir(parents=True)
            (home / "secrets" / "peer_token").write_text("a-token-of-the-test")
            settings = {"site": str(site), "estate": "../estate", "data_root": "pg"}
            (home / "site.yaml").write_text(yaml.safe_dump(settings))

    @staticmethod
    def _dump(estate: Path, name: str, told: Mapping[str, Any]) -> None:
        (estate / f"{name}.yaml").write_text(yaml.safe_dump(dict(told), allow_unicode=True))

    def _sites(self) -> dict[str, Any]:
        def etcd(index: int) -> dict[str, str]:
            return {"client": urlsplit(self.etcd.urls[index]).netloc, "peer": urlsplit(self.etcd.peers[index]).netloc}

        def site(name: str, number: int, kind: str, services: dict[str, Any]) -> dict[str, Any]:
            return {
                "id": name, "name": name, "kind": kind, "timezone": "Asia/Seoul",
                "network": f"127.{number}.0.0/21", "services": services,
            }  # fmt: skip

        def centre(name: str, number: int, index: int) -> dict[str, Any]:
            api = f"127.{number}.0.1:8080"
            warden = f"127.{number}.0.3:{self.ports['warden-' + name]}"
            return site(name, number, "centre", {"api": api, "warden": warden, "etcd": etcd(index)})

        hosts = [
            {"id": f"{s}-{role}", "site": s, "ssh": f"127.{n}.0.{i}:2222", "user": "ncia", "roles": [role]}
            for s, n in (("east", 111), ("west", 121))
            for i, role in ((21, "database"), (22, "store"))
        ]
        sites = [
            centre("east", 111, 0),
            centre("west", 121, 1),
            site("witness", 131, "witness", {"etcd": etcd(2)}),
            site("public", 141, "public", {"traffic": "127.141.0.5:8400"}),
        ]
        names = ("east", "west", "witness", "public")
        links = [sorted(pair) for pair in ((names[0], names[1]), (names[0], names[2]), (names[1], names[2]))]
        links += [sorted(("public", "east")), sorted(("public", "west"))]
        return {"name": "fencing", "sites": sites, "hosts": hosts, "links": links}

    def _system(self, name: SystemId) -> dict[str, Any]:
        number = 1 if name == TAX else 2
        copies = {
            site: {
                "host": f"{site}-database", "server": f"127.{n}.1.{number}:{self.ports['server']}",
                "gate": f"127.{n}.2.{number}:{self.ports['gate']}", "data_directory": str(name),
            }
            for site, n in (("east", 111), ("west", 121))
        }  # fmt: skip
        return {
            "id": str(name), "name": name, "name_ko": name, "agency": "national-tax-service", "grade": 2,
            "home": "east", "depends_on": [], "entry": f"127.141.3.{number}:8000", "read_path": "/acts/latest",
            "verify_path": "/verify",
            "applications": {"east": f"127.111.3.{number}:8000", "west": f"127.121.3.{number}:8000"},
            "datasets": [
                {"id": "rows", "kind": "postgresql", "database": "postgres", "replication": "asynchronous",
                 "copies": copies},
            ],
        }  # fmt: skip


PORTS = ("server", "gate")


def permit(run: Path, site: SiteId, seconds: float, *, version: int, active: SiteId, epoch: int = 1) -> LeaseFile:
    """Write lease.json by hand, as a warden would: for tests of the gate and the watch alone."""
    deadline = now_ns() + int(seconds * 1e9) if seconds > 0 else 0
    standing = {TAX: Standing(epoch, active), LAND: Standing(epoch, active)}
    until_ns = max(deadline, 1)
    lease = LeaseFile(version, site, "by hand", boot_id(), deadline, until_ns, "by hand", standing)
    replace(run / LEASE_FILE, lease.to_json())
    return lease
