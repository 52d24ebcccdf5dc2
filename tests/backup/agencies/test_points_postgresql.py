"""A point of a real cluster: taken, proven, kept, its store burnt, brought back, and started once more."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest

from backup.agencies.unpacking import packed
from backup.engines.postgresql import PostgresSources
from backup.perform import Performer
from ncia.core.base.clock import to_text
from ncia.core.base.ids import SystemId
from ncia.core.journal.entries import BackupFinished, ProofFinished
from ncia.core.work.jobs import Job
from tests.backup.agencies.points_world import EAST, ROWS, WEST, PointsWorld, estate_with_program, files_below
from tests.backup.agencies.world import estate_of
from tests.backup.cluster import PASSWORD as CLUSTER_PASSWORD
from tests.backup.cluster import Cluster
from tests.backup.world import charge_of
from tests.fakes.jobs import MemorySteps, order
from tests.fakes.remote import AS_NOBODY
from tests.ports import free_port

SUMS = "select count(*), md5(string_agg(a::text, ',' order by id)) from civil.acts a"


class Real(PointsWorld):
    """With PostgreSQL's own programs in the store's host, and real proofs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        passfile = self.folder / "pgpass"
        passfile.write_text(f"127.0.0.1:*:*:ncia_backup:{CLUSTER_PASSWORD}\n")
        passfile.chmod(0o600)
        sources = PostgresSources(self.estate, WEST, passfile, attempts_max=5)
        self.performer = Performer(self.tools.ledger, sources, self.store, self.clock)
        self.prove = self.performer.prove  # type: ignore[method-assign]
        self.work_with(self.store)

    def take(self, job: str) -> BackupFinished:
        """A new point, proven."""
        steps = MemorySteps(Job(order(job, ROWS), "running", fence=1))
        self.performer._ledger = SimpleNamespace(append=lambda job, fence, body, by: self.journal.append(body, by=by))  # type: ignore[assignment]
        point = self.performer.back_up(steps, charge_of(self.estate), to_text(self.clock.now()))
        assert self.performer.prove(steps, point, "acts").matched
        self.performer._ledger = self.tools.ledger
        return point


@pytest.fixture
def world(cluster: Cluster, tmp_path: Path) -> Iterator[Real]:
    folder = Path(tempfile.mkdtemp(prefix="ncia-store-"))  # short: a socket's path has 107 bytes
    estate = estate_with_program(estate_of(server=cluster.server))
    rows = replace(estate.systems[SystemId("tax")].datasets[0], database=cluster.database)
    assert estate.datasets[ROWS] == rows
    found = Real(folder, estate=estate, tools_folder=cluster.tools).with_repositories()
    yield found  # type: ignore[misc]
    found.close()
    shutil.rmtree(folder)


def test_a_burnt_stores_point_comes_back_verified_proven_and_starts_with_the_same_rows(
    world: Real, cluster: Cluster, tmp_path: Path
) -> None:
    point = world.take("backup-1")
    with cluster.connect() as connection:
        held = connection.execute(SUMS).fetchone()
    assert world.keep().state == "succeeded"
    before = files_below(world.root / point.path)
    shutil.rmtree(world.root)

    # by hand, with the repository and nothing else
    (snapshot,) = world.snapshots(EAST)
    folder = world.restored(EAST, snapshot)
    assert files_below(folder) == before
    verified = subprocess.run([cluster.tools / "pg_verifybackup", folder / "data"], capture_output=True, text=True)
    assert verified.returncode == 0, verified.stderr
    shutil.copytree(folder, tmp_path / "run")
    assert started(cluster, tmp_path / "run" / "data", world.folder) == held

    # by one command
    job = world.bring()
    assert job.state == "succeeded", job.sentence
    assert files_below(world.root / point.path) == before
    proof = world.states.snapshot().point(ROWS, point.point).proof.outcome
    assert isinstance(proof, ProofFinished)
    assert (proof.matched, proof.copy_, proof.job) == (True, point.source, job.id.replace("backup", "proof"))

    # what lies there and is whole stays; what is damaged is kept aside, as evidence
    victim = world.root / point.path / "data" / "global" / "pg_control"
    for damaged in (False, True):
        if damaged:
            victim.write_bytes(bytes(victim.stat().st_size))
        assert world.store.put_back("backup-again", point, packed(folder)) is damaged
        assert files_below(world.root / point.path) == before
    (aside,) = (world.root / ROWS).glob(".damaged-*")
    assert set((aside / "data" / "global" / "pg_control").read_bytes()) == {0}
    assert list((world.root / ROWS).glob(".partial-*")) == []


def started(cluster: Cluster, data: Path, folder: Path) -> tuple[object, ...] | None:
    """What the rows are when PostgreSQL has been started from that folder."""
    port, sockets = free_port(), folder / "s"
    sockets.mkdir()
    (data / "pg_hba.conf").write_text("local all all trust\n")
    (data / "postgresql.auto.conf").write_text(f"port = {port}\nunix_socket_directories = '{sockets}'\n")
    control = [*AS_NOBODY, str(cluster.tools / "pg_ctl"), "-D", str(data), "-w"]
    with (folder / "told").open("wb") as told:
        subprocess.run(
            [*control, "-l", str(folder / "log"), "-o", "-c listen_addresses=''", "start"], stdout=told, check=True
        )
    try:
        with psycopg.connect(host=str(sockets), port=port, user="postgres", dbname=cluster.database) as connection:
            return connection.execute(SUMS).fetchone()
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], stdout=subprocess.DEVNULL, check=True)
