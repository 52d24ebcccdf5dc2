"""What a newcomer waits for: from a fresh clone to eleven green systems, and the same once everything is installed."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from ncia.lab.exercise import demand_green, wait_until
from ncia.lab.lab import Lab
from tests.benchmarks.burn import ROOT
from tests.benchmarks.result import Bar, Result
from tests.e2e.scene import DAEJEON, Scene

SUMMARY = "fresh clone to all systems green, set-up included; and a second start (about 2 minutes)"
SOAK = False
GREEN_SECONDS_MAX = 300.0


def measure() -> Result:
    """The clone is of the last commit: what is not committed is not measured."""
    with tempfile.TemporaryDirectory(prefix="ncia-fresh-") as folder:
        clone, home = Path(folder) / "ncia", Path(folder) / "lab"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        first = start_seconds(clone, home)
        second = start_seconds(clone, home)
    bars = (
        Bar("fresh-clone-to-green-seconds", "<= 90", round(first, 1)),
        Bar("second-start-to-green-seconds", "<= 20", round(second, 1)),
    )
    return Result("fresh", {"fresh_seconds": first, "second_seconds": second}, bars)


def start_seconds(clone: Path, home: Path) -> float:
    """From the command to every system green as Daejeon tells it; the lab is taken down again."""
    environment = {**os.environ, "NCIA_LAB": str(home)}
    began = time.monotonic()
    with subprocess.Popen([clone / "dev", "lab", "up"], cwd=clone, env=environment, stdout=subprocess.DEVNULL):
        scene = Scene(Lab(home))
        try:
            wait_until("the sites answer", lambda: scene.lab.is_up, GREEN_SECONDS_MAX)
            wait_until("all is green", lambda: demand_green(scene.status(DAEJEON)), GREEN_SECONDS_MAX)
            return time.monotonic() - began
        finally:
            scene.lab.down()
