"""The main job's bars: one burning of a site, each second measured from the kill."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.result import Bar, Result

SUMMARY = "one site burns: detection, approval to write, kill to write, loss against prediction (about 3 minutes)"
SOAK = False
ROOT = Path(__file__).resolve().parents[2]


def measure() -> Result:
    told = burn("daejeon")
    grade1 = [s for s in told["systems"] if s["grade"] == 1]
    others = [s for s in told["systems"] if s["grade"] != 1]
    bars = (
        Bar("detect-seconds", "<= 10", told["detect_seconds"]),
        Bar("approval-to-grade1-write-seconds", "<= 5", told["approval_to_write_seconds"]),
        Bar("approval-to-all-writes-seconds", "<= 10", told["approval_to_all_seconds"]),
        Bar("kill-to-grade1-write-seconds", "<= 25", told["kill_to_first_grade1_write_seconds"]),
        Bar("kill-to-all-writes-seconds", "<= 35", told["kill_to_all_seconds"]),
        Bar("grade1-acts-lost", "<= 0", sum(s["lost_acked"] for s in grade1)),
        Bar("others-lost-beyond-prediction-seconds", "<= 0", max(beyond(s) for s in others)),
        Bar("others-predicted-loss-seconds", "<= 3", max(s["predicted_loss_seconds"] for s in others)),
        Bar("restores-proven", ">= 11", told["restores_proven"]),
    )
    return Result("burn", told, bars)


def beyond(system: dict[str, Any]) -> float:
    """Seconds lost past what was predicted; never below zero."""
    return max(0.0, system["lost_seconds"] - system["predicted_loss_seconds"])


def burn(site: str) -> dict[str, Any]:
    """The outcome of `ncia lab --burn SITE --json` in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="ncia-burn-") as home:
        command = [sys.executable, "-m", "ncia", "lab", "--burn", site, "--json"]
        done = subprocess.run(command, cwd=ROOT, env=environment(home), stdout=subprocess.PIPE, text=True, check=False)
        return dict(json.loads(done.stdout.splitlines()[-1]))


def environment(home: str) -> dict[str, str]:
    import os

    return {**os.environ, "NCIA_LAB": str(Path(home) / "lab")}
