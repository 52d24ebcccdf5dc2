"""Mirrors at 50 documents a second: how long after its acknowledgement a document is at the other site.

Real stores (SFTP with the lab's hosts, S3 with rclone) on this machine, one mirror turning as a controller's does, the
canary written each second. A document's lag ends when it stands under its name at the target's disk.
"""

from __future__ import annotations

import os
import resource
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from backup.replicate.perform import Memory, Mirror
from backup.replicate.task import COPIERS, pause_seconds
from ncia.core.work.documents import MARK, Documents, Mark, time_folder
from tests.backup.replicate.stores.stands import bucket_of, s3_stand, sftp_stand
from tests.benchmarks.result import Bar, Result

SUMMARY = "mirrors at 50 documents/s, over SFTP and over S3: lag p50, p99, worst, and what the canary said of it"
SOAK = False
RATE = 50.0
SECONDS = float(os.environ.get("NCIA_BENCH_SECONDS", "90"))  # long enough for a full minute's folder
WRITERS = 4
CONTENT = os.urandom(9000)
LEFT_SECONDS_MAX = 30.0


def measure() -> Result:
    figures, bars = {}, []
    for kind in ("sftp", "s3"):
        found = run(kind)
        figures |= {f"{kind}_{name}": value for name, value in found.items()}
        bars.append(Bar(f"{kind}-lag-p99-seconds", "<= 3", found["lag_p99_seconds"]))
    return Result("mirror", figures, tuple(bars))


@contextmanager
def stores(kind: str, folder: Path) -> Iterator[tuple[Documents, Documents, Path]]:
    """Source, target, and the target's disk."""
    if kind == "sftp":
        with sftp_stand(folder / "east") as east, sftp_stand(folder / "west") as west:
            yield east.tree(), west.tree(), folder / "west/files/tree"
    else:
        with s3_stand(folder / "east") as east, s3_stand(folder / "west") as west:
            yield bucket_of(east), bucket_of(west), folder / "west/bucket"


def run(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="ncia-mirror-") as home, stores(kind, Path(home)) as (source, target, disk):
        stop, kept = threading.Event(), []
        ages: list[float] = []
        threads = [threading.Thread(target=work, args=(stop, source, target, ages)) for work in (follow, mark, look)]
        before = resource.getrusage(resource.RUSAGE_SELF)
        for thread in threads:
            thread.start()
        kept = write(source)
        deadline = time.monotonic() + LEFT_SECONDS_MAX
        while time.monotonic() < deadline and not all((disk / name).exists() for name, _ in kept[-5:]):
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        after = resource.getrusage(resource.RUSAGE_SELF)
        # a rename sets the time of change of what it moves: the moment at which it stood under its name
        lags = sorted((disk / name).stat().st_ctime - moment for name, moment in kept if (disk / name).exists())
        return {
            "documents": len(kept),
            "missing": len(kept) - len(lags),
            "documents_per_second": round(len(kept) / SECONDS, 1),
            "lag_p50_seconds": round(lags[len(lags) // 2], 3),
            "lag_p99_seconds": round(lags[int(len(lags) * 0.99)], 3),
            "lag_max_seconds": round(lags[-1], 3),
            "canary_age_max_seconds": round(max(ages[5:], default=-1.0), 3),
            "client_core_share": round(
                (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / SECONDS, 2
            ),
        }


def write(source: Documents) -> list[tuple[str, float]]:
    """Documents at the rate, each with the moment at which its put had ended."""
    kept: list[tuple[str, float]] = []

    def put(name: str) -> None:
        source.put(name, CONTENT, time.time())
        kept.append((name, time.time()))

    with ThreadPoolExecutor(WRITERS) as pool:
        begin = time.monotonic()
        for number in range(int(RATE * SECONDS)):
            time.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            pool.submit(put, f"{time_folder(datetime.now(UTC))}/{uuid.uuid4()}.txt")
    return kept


def follow(stop: threading.Event, source: Documents, target: Documents, ages: list[float]) -> None:
    memory, pause = Memory(), 0.0
    with ThreadPoolExecutor(COPIERS) as pool:
        mirror = Mirror(source, target, by_time=True, direct=False, pool=pool)
        while not stop.wait(pause):
            began = time.monotonic()
            brought = mirror.turn(memory, datetime.now(UTC)).copied
            pause = pause_seconds(time.monotonic() - began, brought, time.time())


def mark(stop: threading.Event, source: Documents, target: Documents, ages: list[float]) -> None:
    while not stop.wait(1.0):
        source.put(MARK, Mark(datetime.now(UTC), 1).to_bytes())


def look(stop: threading.Event, source: Documents, target: Documents, ages: list[float]) -> None:
    while not stop.wait(1.0):
        content = target.get(MARK)
        seen = Mark.from_bytes(content) if content else None
        if seen:
            ages.append((datetime.now(UTC) - seen.written_at).total_seconds())
