"""The applications as processes: one per system, each alone in dying, none left when the parent is gone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ncia.core.config import load_estate
from ncia.core.estate import Estate
from tests.lab_apps.gate import Gate
from tests.lab_apps.postgres import Cluster
from tests.lab_apps.world import CONFIGS, HERE, Running, eventually

SYSTEMS = ("share", "onnara")


@dataclass
class Site:
    folder: Path
    estate: Estate
    parent: subprocess.Popen[bytes]
    running: Running

    def pids(self) -> dict[str, int]:
        return dict(json.loads((self.folder / "run" / "apps.json").read_text()))

    def status(self, system: str) -> int:
        address = self.estate.system(system).applications[HERE].address
        with contextlib.suppress(Exception):
            return self.running.ask(address, "GET", "/acts/latest").status
        return 0


@pytest.fixture
def started(cluster: Cluster, running: Running, tmp_path: Path) -> Iterator[Site]:
    """The reference estate moved to addresses that follow from our own process id."""
    first = 64 + os.getpid() % 40
    (tmp_path / "run").mkdir()
    (tmp_path / "secrets").mkdir(mode=0o700)
    shutil.copy(cluster.passfile, tmp_path / "secrets" / "pgpass")
    (tmp_path / "secrets" / "pgpass").chmod(0o600)
    shutil.copytree(CONFIGS, tmp_path / "configs", ignore=shutil.ignore_patterns("__pycache__"))
    for file in (tmp_path / "configs").glob("*.yaml"):
        text = file.read_text()
        for number in (10, 20, 30, 40):
            text = text.replace(f"127.{number}.", f"127.{first + number}.")
        file.write_text(text)
    (tmp_path / "site.yaml").write_text(f"site: {HERE}\nestate: configs\n")
    estate = load_estate(tmp_path / "configs")
    lease = {"systems": {name: {"epoch": 1, "site": HERE} for name in estate.systems}}
    (tmp_path / "run" / "lease.json").write_text(json.dumps(lease))
    gates = [estate.system(name).postgres.copies[HERE].gate for name in SYSTEMS]
    opened = [Gate(cluster.port, host=gate.host, port=gate.port) for gate in gates]
    command = [sys.executable, "-m", "ncia.lab.apps", "--settings", str(tmp_path / "site.yaml")]
    for name in SYSTEMS:
        command += ["--system", name]
    with subprocess.Popen(command) as parent:
        try:
            site = Site(tmp_path, estate, parent, running)
            eventually(lambda: all(site.status(name) == 200 for name in SYSTEMS), seconds=30)
            yield site
        finally:  # also where they did not begin in time: else they stay for ever
            parent.kill()
    for gate in opened:
        gate.close()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_a_killed_system_stays_down_and_the_others_go_on(started: Site) -> None:
    os.kill(started.pids()["share"], signal.SIGKILL)
    assert eventually(lambda: started.status("share") == 0)
    assert started.status("onnara") == 200


def test_a_hangup_brings_back_what_ended_and_leaves_the_others_alone(started: Site) -> None:
    before = started.pids()
    os.kill(before["share"], signal.SIGKILL)
    assert eventually(lambda: not Path(f"/proc/{before['share']}").exists())  # its parent took leave of it
    started.parent.send_signal(signal.SIGHUP)
    assert eventually(lambda: started.status("share") == 200, seconds=30)
    after = started.pids()
    assert (before["onnara"], True) == (after["onnara"], before["share"] != after["share"])


def test_children_run_at_nice_10_and_die_with_a_killed_parent(started: Site) -> None:
    pids = started.pids()
    assert {os.getpriority(os.PRIO_PROCESS, pid) for pid in pids.values()} == {10}
    started.parent.kill()
    assert eventually(lambda: all(gone(pid) for pid in pids.values()))


def test_sigterm_ends_all_in_order(started: Site) -> None:
    pids = started.pids()
    started.parent.terminate()
    assert started.parent.wait(timeout=10) == 0
    assert all(gone(pid) for pid in pids.values())
