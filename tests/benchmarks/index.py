"""The index of a repository of ten million blobs in memory, beside Python's own dictionary of a tenth of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from backup.repository.format.index import Index, Pack
from backup.repository.format.packs import Blob
from tests.benchmarks.result import Bar, Result

SUMMARY = "memory and speed of the index of ten million blobs, beside a dictionary"
SOAK = False
BLOBS = int(os.environ.get("NCIA_BENCH_BLOBS", "10000000"))
PACK_BLOBS = 2000
ASKED = 200_000


def measure() -> Result:
    ours, theirs = told("index", BLOBS), told("dictionary", BLOBS // 10)
    figures = {"blobs": BLOBS, **{f"{key}_ours": value for key, value in ours.items()}}
    figures |= {f"{key}_dictionary": value for key, value in theirs.items()}
    bars = (
        Bar("memory-mb", "<= 700", ours["memory_mb"]),
        Bar("bytes-beside-a-dictionary", "<= 0.5", round(ours["blob_bytes"] / theirs["blob_bytes"], 2)),
    )
    return Result("index", figures, bars)


def told(kind: str, count: int) -> dict[str, float]:
    """In a process of its own, whose memory is that of the index and nothing before it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.index", kind, str(count)], check=True, capture_output=True, text=True
    )
    names = ("memory_mb", "blob_bytes", "add_us", "find_us")
    return dict(zip(names, map(float, done.stdout.split()), strict=True))


def packs(count: int) -> Iterator[Pack]:
    for begin in range(0, count, PACK_BLOBS):
        blobs = [
            Blob(id_of(number), False, 500 * (number - begin), 500, 900) for number in range(begin, begin + PACK_BLOBS)
        ]
        yield id_of(-begin - 1), blobs


def id_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big", signed=True)).digest()


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(kind: str, count: int) -> None:
    index, dictionary = Index(), dict[bytes, tuple[bytes, Blob]]()
    before, spent = resident(), 0.0
    for pack, blobs in packs(count):
        begun = time.perf_counter()
        if kind == "index":
            index.add(pack, blobs)
        else:
            dictionary.update((blob.id, (pack, blob)) for blob in blobs)
        spent += time.perf_counter() - begun
    taken = resident() - before
    asked = [id_of(number) for number in range(0, count, max(1, count // ASKED))]
    begun = time.perf_counter()
    found = sum(index.where(id_, tree=False) is not None if kind == "index" else id_ in dictionary for id_ in asked)
    find = time.perf_counter() - begun
    assert found == len(asked)
    print(resident() / 1e6, taken / count, 1e6 * spent / count, 1e6 * find / len(asked))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
