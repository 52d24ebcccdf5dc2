"""When fence-watch acts (pure), and that it stops the right process (a real PostgreSQL)."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ncia.app.fence_watch import ended_within
from ncia.core.base.ids import SiteId, SystemId
from recovery.fencing import files
from recovery.fencing.files import GATE_FILE, LEASE_FILE, GateFile, LeaseFile, Standing
from recovery.fencing.watch import LOOKS, Cluster, FenceWatch, Overdue, elsewhere, find_postmaster, judge
from tests.ports import free_ports
from tests.recovery.fencing import postgres

EAST = SiteId("east")
TAX = SystemId("tax")
SECOND = 1_000_000_000
LEASE = LeaseFile(5, EAST, "w", "boot", 100 * SECOND, 100 * SECOND, "lease held", {TAX: Standing(1, EAST)})
FENCED = replace(LEASE, deadline_boottime_ns=0)
OPEN = GateFile(5, "boot", 1, 100 * SECOND, (TAX,), None)
SHUT = replace(OPEN, open=(), boottime_ns=102 * SECOND)


def at(seconds: float, lease: LeaseFile | None, gate: GateFile | None, zero_since: float = 0) -> str | None:
    found = judge(lease, gate, "boot", int(zero_since * SECOND), int(seconds * SECOND))
    return found.sentence if isinstance(found, Overdue) else None


def test_while_the_lease_is_held_it_never_acts() -> None:
    assert at(99, LEASE, None) is None
    assert at(99, LEASE, replace(OPEN, boottime_ns=0)) is None


def test_within_a_second_of_the_deadline_it_waits_for_the_gate() -> None:
    assert at(100.9, LEASE, OPEN) is None


def test_a_gate_that_says_shut_is_enough() -> None:
    assert at(102, LEASE, SHUT) is None


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (None, "no gate says that it is shut"),
        (replace(SHUT, boot="another"), "no gate says that it is shut"),
        (replace(OPEN, boottime_ns=103 * SECOND), "still lets tax pass"),
        (SHUT, "has not spoken for 2.6 s"),
        (OPEN, "has not spoken for 4.6 s"),
    ],
)
def test_a_gate_that_is_silent_or_open_after_the_deadline_is_overdue(gate: GateFile | None, words: str) -> None:
    assert words in str(at(104.6, LEASE, gate))


def test_a_system_that_continues_by_policy_moves_the_moment() -> None:
    lease = replace(LEASE, systems={TAX: Standing(1, EAST, 110 * SECOND)})
    assert at(104.6, lease, OPEN) is None
    assert at(112, lease, OPEN) is not None


def test_fenced_on_purpose_the_moment_is_when_it_was_seen() -> None:
    assert at(50.5, FENCED, replace(OPEN, boottime_ns=50 * SECOND), zero_since=50) is None
    assert at(51.5, FENCED, replace(OPEN, boottime_ns=51 * SECOND), zero_since=50) is not None


def test_where_no_lease_was_granted_in_this_boot_it_never_acts() -> None:
    assert at(500, None, None) is None
    assert at(500, replace(FENCED, granted_until_boottime_ns=0), None, zero_since=1) is None
    assert at(500, replace(LEASE, boot="another"), None) is None


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Cluster]:
    folder = tmp_path_factory.mktemp("pg")
    for parent in (folder, folder.parent):
        parent.chmod(0o755)
    running = postgres.Cluster(folder / "tax", "127.0.0.1", free_ports(1)[0]).up()
    yield running
    running.close()


class Watched:
    """A watch over one cluster, with both files as the test writes them."""

    def __init__(self, run: Path, cluster: postgres.Cluster) -> None:
        self.run = run
        self.ns = 100 * SECOND
        clusters = [Cluster(TAX, cluster.directory)]
        self.watch = FenceWatch(clusters, run, lambda: self.ns, ended_within, boot="boot")

    def write(self, lease: LeaseFile, gate: GateFile) -> None:
        files.replace(self.run / LEASE_FILE, lease.to_json())
        files.replace(self.run / GATE_FILE, gate.to_json())

    def looks(self, count: int) -> list[tuple[SystemId, ...]]:
        return [self.watch.look() for _ in range(count)]


def test_the_postmaster_behind_a_frozen_gate_is_stopped_after_some_looks(
    tmp_path: Path, cluster: postgres.Cluster
) -> None:
    watched = Watched(tmp_path, cluster)
    watched.write(LEASE, OPEN)
    assert watched.looks(3) == [()] * 3
    watched.ns = 105 * SECOND
    assert watched.looks(LOOKS) == [()] * (LOOKS - 1) + [(TAX,)]
    with pytest.raises(psycopg.OperationalError):
        cluster.connect()
    assert find_postmaster(cluster.directory) is None


def test_one_good_look_starts_the_count_anew(tmp_path: Path, cluster: postgres.Cluster) -> None:
    watched = Watched(tmp_path, cluster)
    watched.ns = 105 * SECOND
    watched.write(LEASE, OPEN)
    watched.looks(LOOKS - 1)
    watched.write(LEASE, replace(SHUT, boottime_ns=105 * SECOND))
    watched.looks(1)
    watched.write(LEASE, OPEN)
    assert watched.looks(LOOKS - 1) == [()] * (LOOKS - 1)
    cluster.connect().close()


def test_a_frozen_postmaster_is_killed_with_its_children(tmp_path: Path, cluster: postgres.Cluster) -> None:
    backend = cluster.connect()
    os.kill(cluster.pid(), signal.SIGSTOP)
    watched = Watched(tmp_path, cluster)
    watched.ns = 105 * SECOND
    watched.write(LEASE, OPEN)
    assert watched.looks(LOOKS)[-1] == (TAX,)
    with pytest.raises(psycopg.OperationalError):
        backend.execute("select 1")


MOVED = replace(LEASE, systems={TAX: Standing(2, SiteId("west"))})


def test_an_old_primary_is_one_whose_system_has_its_epoch_elsewhere() -> None:
    found = elsewhere(MOVED, "boot", TAX)
    assert found == Overdue("epoch 2 of it is at west: this is an old primary")
    assert elsewhere(LEASE, "boot", TAX) is None
    assert elsewhere(MOVED, "another boot", TAX) is None
    assert elsewhere(MOVED, "boot", SystemId("land")) is None
    assert elsewhere(None, "boot", TAX) is None


def test_an_old_primary_is_stopped_though_lease_and_gate_are_well(tmp_path: Path, cluster: postgres.Cluster) -> None:
    watched = Watched(tmp_path, cluster)
    watched.write(MOVED, replace(OPEN, open=()))
    watched.ns = 90 * SECOND
    assert watched.looks(LOOKS) == [()] * (LOOKS - 1) + [(TAX,)]
    assert find_postmaster(cluster.directory) is None


def test_a_standby_of_what_is_active_elsewhere_is_left_alone(tmp_path: Path, cluster: postgres.Cluster) -> None:
    (cluster.directory / "standby.signal").touch()
    watched = Watched(tmp_path, cluster)
    watched.write(MOVED, replace(OPEN, open=()))
    watched.ns = 90 * SECOND
    assert watched.looks(LOOKS + 1)[-1] == ()
    cluster.connect().close()


def test_a_standby_is_left_alone(tmp_path: Path, cluster: postgres.Cluster) -> None:
    (cluster.directory / "standby.signal").touch()
    watched = Watched(tmp_path, cluster)
    watched.ns = 105 * SECOND
    watched.write(LEASE, OPEN)
    assert watched.looks(LOOKS + 1)[-1] == ()
    cluster.connect().close()


def test_a_pid_file_that_names_another_process_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n{tmp_path}\n")
    assert find_postmaster(tmp_path) is None


def test_a_pid_file_that_names_a_backend_stops_nobody(tmp_path: Path, cluster: postgres.Cluster) -> None:
    backend = cluster.connect()
    found = backend.execute("select pg_backend_pid()").fetchone()
    assert found is not None
    real = (cluster.directory / "postmaster.pid").read_text()
    lines = real.split("\n")
    (cluster.directory / "postmaster.pid").write_text("\n".join([str(found[0]), *lines[1:]]))
    try:
        assert find_postmaster(cluster.directory) is None
    finally:
        (cluster.directory / "postmaster.pid").write_text(real)
    postmaster = find_postmaster(cluster.directory)
    assert postmaster is not None
    assert postmaster.pid == cluster.pid()
    os.close(postmaster.handle)
