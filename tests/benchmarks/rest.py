"""The lab at rest: agents on, no load; proportional memory and processor time of all its processes over a minute."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ncia.lab import proc
from ncia.lab.lab import Lab, ProcessState
from ncia.lab.layout import RELAY
from tests.benchmarks.burn import ROOT, environment
from tests.benchmarks.result import Bar, Result

SUMMARY = "the lab at rest: memory (PSS) and processor share over 60 s, and the time of a second start"
SOAK = False
WINDOW_SECONDS = 60.0
SETTLE_SECONDS = 10.0


def measure() -> Result:
    with tempfile.TemporaryDirectory(prefix="ncia-rest-") as home:
        try:
            began = time.monotonic()
            lab(home, "up")
            start_seconds = time.monotonic() - began
            time.sleep(SETTLE_SECONDS)
            folder = Path(home) / "lab"
            before = processor_seconds(folder)
            time.sleep(WINDOW_SECONDS)
            after = processor_seconds(folder)
            share = (sum(after.values()) - sum(before.values())) / WINDOW_SECONDS
            shares = by_kind(Lab(folder), before, after)
            memory = {pid: pss_bytes(pid) for pid in processes(folder)}
        finally:
            lab(home, "down")
    gigabytes = sum(memory.values()) / 1e9
    bars = (
        Bar("start-seconds", "<= 20", round(start_seconds, 1)),
        Bar("pss-gigabytes", "<= 3", round(gigabytes, 3)),
        Bar("core-share", "<= 0.35", round(share, 3)),
    )
    figures = {
        "processes": len(memory),
        "pss_gigabytes": gigabytes,
        "core_share": share,
        "start_seconds": start_seconds,
        **{f"core_share of {kind}": round(share, 4) for kind, share in shares.items()},
    }
    return Result("rest", figures, bars)


def by_kind(lab: Lab, before: Mapping[int, float], after: Mapping[int, float]) -> dict[str, float]:
    """The share of a core of each kind of process, the greatest first; the children of one count with it."""
    kinds = {state.pid: kind_of(state) for state in lab.processes()}
    shares: dict[str, float] = {}
    for one in proc.below(lab.home):
        kind = kinds.get(one.pid) or kinds.get(one.parent) or one.name
        spent = after.get(one.pid, 0.0) - before.get(one.pid, 0.0)
        shares[kind] = shares.get(kind, 0.0) + spent / WINDOW_SECONDS
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def kind_of(state: ProcessState) -> str:
    """`postgres` of `postgres/share`; the ends of the WAN are named after their sites."""
    return RELAY if state.site == RELAY else state.name.partition("/")[0]


def lab(home: str, verb: str) -> None:
    subprocess.run([sys.executable, "-m", "ncia", "lab", verb], cwd=ROOT, env=environment(home), check=True)


def processes(folder: Path) -> list[int]:
    """Every process that stands below the lab's folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if Path(os.readlink(entry / "cwd")).is_relative_to(folder.resolve()):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def processor_seconds(folder: Path) -> dict[int, float]:
    """Of each process, with that of its children that ended: who comes and goes in between is counted, once."""
    tick = os.sysconf("SC_CLK_TCK")
    seconds = {}
    for pid in processes(folder):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        seconds[pid] = sum(int(spent) for spent in fields[11:15]) / tick  # utime, stime, cutime, cstime
    return seconds


def pss_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
