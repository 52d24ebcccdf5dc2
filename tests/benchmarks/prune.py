"""Ten thousand lives of a small repository: backups, prunes, crashes, clocks that are wrong, writers without a lock.

In memory and from seeds. After every move all that was kept is read back; at the end of each life nothing is left that
nobody needs; some are judged by restic itself.
"""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from pathlib import Path

from ncia.core.base.errors import NciaError
from tests.backup.repository.prune_world import World, live
from tests.backup.repository.sample import PASSWORD
from tests.benchmarks.result import Bar, Result
from tests.restic import demand_restic

SUMMARY = "prune: 10,000 seeded lives with crashes, lockless writers and wrong clocks lose nothing"
SOAK = True
FIRST = int(os.environ.get("NCIA_SOAK_FIRST", "0"))
RUNS = int(os.environ.get("NCIA_SOAK_RUNS", "10000"))
JUDGED_EACH = 250
TOLD_EACH = 500


def measure() -> Result:
    began, failed, judged = time.monotonic(), [], 0
    counts = dict.fromkeys(("prunes", "marked", "removed", "back", "repacked"), 0)
    for seed in range(FIRST, FIRST + RUNS):
        try:
            world = live(seed)
        except (AssertionError, NciaError):
            failed.append(seed)
            print(f"seed {seed}: {traceback.format_exc(limit=-3)}", flush=True)
            continue
        counts["prunes"] += len(world.prunes)
        for name in ("marked", "removed", "back", "repacked"):
            counts[name] += sum(getattr(each, name) for each in world.prunes)
        if seed % JUDGED_EACH == 0:
            judge(world)
            judged += 1
        if seed % TOLD_EACH == TOLD_EACH - 1:
            print(f"{seed + 1} lives, {len(failed)} failed, {time.monotonic() - began:.0f} s", flush=True)
    figures = {"lives": RUNS, "judged by restic": judged, **counts, "failed": failed, "s": time.monotonic() - began}
    return Result("prune", figures, (Bar("lives that lost something", "<= 0", len(failed)),))


def judge(world: World) -> None:
    """One more prune, so that there are marks, which restic passes over."""
    world.backup({"a": (1, 5)})
    world.forget([next(reversed(world.kept))])
    assert world.prune()
    with tempfile.TemporaryDirectory(prefix="ncia-soak-") as folder:
        world.lay_down(Path(folder))
        assert "no errors were found" in demand_restic().run(folder, "check", "--read-data", password=PASSWORD)
