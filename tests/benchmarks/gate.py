"""What the gate costs: pgbench through it beside pgbench on the database itself, and its processor at rest."""

from __future__ import annotations

import os
import re
import select
import subprocess
import tempfile
from pathlib import Path

from tests.benchmarks.result import Bar, Result
from tests.recovery.fencing.postgres import TOOLS
from tests.recovery.fencing.served import Served

SUMMARY = "transactions through the gate beside direct ones; gate and warden at rest"
SOAK = False
SECONDS = 5
REST_SECONDS = 20
LOADS = {
    "select, 1 client": ["-S", "-c", "1"],
    "select, 8 clients": ["-S", "-c", "8", "-j", "2"],
    "tpc-b, 8 clients": ["-c", "8", "-j", "2"],
}


def measure() -> Result:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="ncia-gate-") as folder:
        inner = Path(folder) / "served"
        inner.mkdir()
        served = Served(inner)
        try:
            figures |= at_rest(served)
            pgbench(served.database.host, served.database.port, ["-i", "-q", "-s", "5"])
            for name, load in LOADS.items():
                direct = transactions(served.database.host, served.database.port, load)
                gate = served.east.processes["gate"].pid
                before = cpu_seconds(gate)
                through = transactions("127.111.2.1", served.world.ports["gate"], load)
                spent = cpu_seconds(gate) - before
                figures[f"{name}: direct per second"] = round(direct)
                figures[f"{name}: through the gate per second"] = round(through)
                figures[f"{name}: ratio"] = round(through / direct, 3)
                figures[f"{name}: gate, µs of processor"] = round(spent / (through * SECONDS) * 1e6, 1)
        finally:
            served.close()
    bars = (
        # the ratio hangs on who else wants the processors; what the gate itself spends does so less
        Bar("select, 8 clients: gate, µs of processor", "<= 80", figures["select, 8 clients: gate, µs of processor"]),
        Bar("warden at rest, % of a core", "<= 1.0", figures["warden at rest, % of a core"]),
        Bar("gate at rest, % of a core", "<= 1.0", figures["gate at rest, % of a core"]),
    )
    return Result("gate", figures, bars)


def at_rest(served: Served) -> dict[str, float]:
    pids = {name: process.pid for name, process in served.east.processes.items()}
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    select.select([], [], [], REST_SECONDS)
    return {
        f"{name} at rest, % of a core": round((cpu_seconds(pid) - before[name]) / REST_SECONDS * 100, 2)
        for name, pid in pids.items()
    }


def transactions(host: str, port: int, load: list[str]) -> float:
    told = pgbench(host, port, ["-n", "-T", str(SECONDS), *load])
    found = re.search(r"tps = ([\d.]+)", told)
    if found is None:
        raise RuntimeError(f"pgbench said no rate: {told[-300:]}")
    return float(found[1])


def pgbench(host: str, port: int, arguments: list[str]) -> str:
    command = [str(TOOLS / "pgbench"), "-h", host, "-p", str(port), "-U", "postgres", *arguments, "postgres"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
