"""Hundreds of seeded trees and lists of patterns, backed up by us and by restic: the same entries in both snapshots."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from tests.backup.repository.exclusion_world import World
from tests.benchmarks.result import Bar, Result
from tests.restic import demand_restic

SUMMARY = "excludes: 1,000 seeded lists of exclusions leave out what restic leaves out"
SOAK = True
RUNS = int(os.environ.get("NCIA_SOAK_RUNS", "250"))
LISTS = 4  # for each tree


def measure() -> Result:
    began, restic = time.monotonic(), demand_restic()
    failed, kept = [], 0
    for seed in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="ncia-excludes-") as folder:
            world = World(Path(folder), seed)
            for number in range(LISTS):
                out = world.exclusions()
                ours, restics = world.ours(out), world.restics(out, restic)
                kept += len(ours)
                if ours != restics:
                    failed.append(f"{seed}/{number}")
                    print(f"seed {seed}: {out}: {sorted(ours ^ restics)[:5]}", flush=True)
    figures = {"lists": RUNS * LISTS, "entries kept": kept, "failed": failed, "s": time.monotonic() - began}
    return Result("excludes", figures, (Bar("lists by which we kept something else", "<= 0", len(failed)),))
