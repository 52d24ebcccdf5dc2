"""Two sites at work: wardens, a gate, and a PostgreSQL behind it."""

from __future__ import annotations

from contextlib import ExitStack
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
        with ExitStack() as begun:  # a world that does not come up leaves nothing running
            self.etcd = Cluster(folder / "etcd")
            begun.callback(self.etcd.close)
            self.etcd.up()
            self.world = World(folder / "world", self.etcd, ttl_seconds=TTL)
            begun.callback(self.world.close)
            self._begin(begun)
            self._ends = begun.pop_all()

    def _begin(self, begun: ExitStack) -> None:
        self.east, self.west, self.claims = self.world.east, self.world.west, self.world.claims
        root = self.east.folder / "pg"
        root.mkdir()
        self.database = postgres.Cluster(root / TAX, "127.111.1.1", self.world.ports["server"])
        begun.callback(self.database.close)
        self.database.up()
        with self.database.connect() as direct:
            direct.execute("create table acts (id bigint primary key)")
        self.west.start("warden")
        self.east.start("warden")
        self.east.start("gate")
        until(self.east.passing, "the gate of east opens")
        until(self.west.held, "west holds its lease")

    def close(self) -> None:
        self._ends.close()
