"""What was damaged in a store and is kept aside there: seen, told once, and until a person has removed it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from backup.aside import LOOK_SECONDS, NAMED_MAX
from ncia.core.base.clock import from_text
from ncia.core.journal.entries_care import SetAside, StoreLooked
from tests.backup.agencies.points_world import PROGRAM, ROWS, PointsWorld, write
from tests.backup.test_task import Bench
from tests.backup.world import WEST

POINT = SetAside(path="tax/rows/.damaged-point-1", size_bytes=41_000_000, since="2026-01-01T00:00:00.000000Z")


def told(bench: Bench) -> list[StoreLooked]:
    entries = bench.journal.of_kind(StoreLooked.KIND)
    return [entry.body for entry in entries if isinstance(entry.body, StoreLooked)]


def tick(bench: Bench, seconds: float = LOOK_SECONDS) -> None:
    bench.clock.moment += timedelta(seconds=seconds)
    bench.task.tick(bench.clock.now())


def test_what_is_kept_aside_is_told_once_and_listed_until_it_is_gone(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    tick(bench)
    assert told(bench) == []
    bench.store.set_aside = [POINT]
    tick(bench, LOOK_SECONDS / 2)  # it is not looked for all the time
    assert told(bench) == []
    tick(bench)
    tick(bench)
    assert told(bench) == [StoreLooked(site=WEST, count=1, aside=(POINT,))]
    (listed,) = bench.task.to_json()["aside"]
    assert listed == {
        "dataset": "tax/rows",
        "site": WEST,
        "host": bench.estate.host_of(WEST, "store").id,
        "path": POINT.path,
        "size_bytes": POINT.size_bytes,
        "since": POINT.since,
    }
    bench.store.silent = True  # nobody looked, so nothing is gone
    tick(bench)
    assert len(bench.task.to_json()["aside"]) == 1
    bench.store.silent, bench.store.set_aside = False, ()
    tick(bench)
    assert (bench.task.to_json()["aside"], [each.count for each in told(bench)]) == ([], [1, 0])
    bench.jobs.close()
    bench.journal.close()


def test_of_very_many_the_first_are_named_and_all_are_counted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.store.set_aside = [POINT.model_copy(update={"path": f"tax/rows/.damaged-{n:03}"}) for n in range(150)]
    tick(bench)
    (found,) = told(bench)
    assert (found.count, len(found.aside), found.aside[0].path) == (150, NAMED_MAX, "tax/rows/.damaged-000")
    bench.jobs.close()
    bench.journal.close()


def test_points_and_archives_that_were_set_aside_are_found_in_a_real_store(tmp_path: Path) -> None:
    world = PointsWorld(tmp_path).with_repositories()
    world.lay("point-1")
    captured = world.capture(b"an archive")
    assert world.store.aside() == ()
    write(world.root, {f"{ROWS}/.damaged-point-9/data/a": b"x" * 5000})
    host = world.estate.host_of(WEST, "store")
    archives = world.archives.archives
    assert archives.set_aside(host, world.archives.root / captured.path)
    point, archive = sorted(world.store.aside(), key=lambda each: len(each.path))
    name = Path(captured.path).name
    assert (point.path, archive.path) == (f"{ROWS}/.damaged-point-9", f"{PROGRAM}/.damaged-{name}")
    assert (point.size_bytes >= 5000, archive.size_bytes) == (True, len(b"an archive"))
    assert from_text(archive.since).year > 2000
    shutil.rmtree(world.root / ROWS / ".damaged-point-9")
    assert [each.path for each in world.store.aside()] == [archive.path]
    world.close()
