"""Thousands of lives of an agency's repository under its controller, from seeds: places go away, locks are held,
snapshots are stolen, rules change, officers forget, engines and controllers are killed.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import structlog

from ncia.core.base.errors import NciaError
from tests.backup.agencies.life import live
from tests.benchmarks.result import Bar, Result

SUMMARY = "care: 2,000 seeded lives of an agency's repository never lose the last proven snapshot"
SOAK = True
RUNS = int(os.environ.get("NCIA_SOAK_RUNS", "2000"))
TOLD_EACH = 200


def measure() -> Result:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    began, failed = time.monotonic(), []
    counts: Counter[str] = Counter()
    for seed in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="ncia-soak-") as folder:
            try:
                counts += live(Path(folder), seed).counts
            except (AssertionError, NciaError):
                failed.append(seed)
                print(f"seed {seed}: {traceback.format_exc(limit=-3)}", flush=True)
        if seed % TOLD_EACH == TOLD_EACH - 1:
            print(f"{seed + 1} lives, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    figures = {"lives": RUNS, **counts, "failed": failed, "s": time.monotonic() - began}
    return Result("care", figures, (Bar("lives in which something good was lost", "<= 0", len(failed)),))
