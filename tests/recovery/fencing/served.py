"""Two sites at work: wardens, a gate, and a PostgreSQL behind it."""

from __future__ import annotations

from pathlib import Path

from tests.recovery.fencing import postgres
from tests.recovery.fencing.cluster import Cluster
from tests.recovery.fencing.world import TAX, World, until

TTL = 3.0


class Served:
    """``east`` with warden, gate and the primary of ``tax``; ``west`` with its warden; an etcd of three members."""

    def __init__(self, folder: Path) -> None:
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)  # PostgreSQL runs as nobody
        (folder / "etcd").mkdir()
        self.etcd = Cluster(folder / "etcd").up()
        self.world = World(folder / "world", self.etcd, ttl_seconds=TTL)
        self.east, self.west, self.claims = self.world.east, self.world.west, self.world.claims
        root = self.east.folder / "pg"
        root.mkdir()
        self.database = postgres.Cluster(root / TAX, "127.111.1.1", self.world.ports["server"]).up()
        with self.database.connect() as direct:
            direct.execute("create table acts (id bigint primary key)")
        self.west.start("warden")
        self.east.start("warden")
        self.east.start("gate")
        until(self.east.passing, "the gate of east opens")
        until(self.west.held, "west holds its lease")

    def close(self) -> None:
        self.world.close()
        self.database.close()
        self.etcd.close()
