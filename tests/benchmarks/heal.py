"""Thousands of lives of two twins that are damaged at random and heal each other, in memory and from seeds.

Some are judged by restic itself, once what is lost for good was left out of their snapshots.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from pathlib import Path

from ncia.core.base.errors import NciaError
from tests.backup.repository.heal_world import Life, lay_down, live
from tests.backup.repository.sample import PASSWORD
from tests.benchmarks.result import Bar, Result
from tests.restic import demand_restic

SUMMARY = "heal: 5,000 seeded lives of two twins that are damaged at random lose nothing that either still had"
SOAK = True
RUNS = int(os.environ.get("NCIA_SOAK_RUNS", "5000"))
JUDGED_EACH = 100
TOLD_EACH = 500


def measure() -> Result:
    began, failed, judged = time.monotonic(), [], 0
    counts = {"damages": 0, "crashes": 0, "lives that lost something everywhere": 0}
    for seed in range(RUNS):
        try:
            life = live(seed)
            if seed % JUDGED_EACH == 0:
                judge(life)
                judged += 1
        except (AssertionError, NciaError):
            failed.append(seed)
            print(f"seed {seed}: {traceback.format_exc(limit=-3)}", flush=True)
            continue
        counts["damages"] += len(life.damages)
        counts["crashes"] += life.crashes
        counts["lives that lost something everywhere"] += bool(life.lost)
        if seed % TOLD_EACH == TOLD_EACH - 1:
            print(f"{seed + 1} lives, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    figures = {"lives": RUNS, "judged by restic": judged, **counts, "failed": failed, "s": time.monotonic() - began}
    return Result("heal", figures, (Bar("lives in which something good was lost", "<= 0", len(failed)),))


def judge(life: Life) -> None:
    with tempfile.TemporaryDirectory(prefix="ncia-soak-") as folder:
        for number, store in enumerate(life.stores):
            root = Path(folder) / str(number)
            lay_down(store, root)
            assert "no errors were found" in demand_restic().run(root, "check", "--read-data", password=PASSWORD)
