"""Our repository beside restic's own program: the same trees, interleaved, both verifying each blob before it is kept.

Both are run as commands, with their start, on repositories that restic made, so that both derive the same kind of key.
Ratios are restic's time through ours, the median of the rounds. NCIA_BENCH_MB, _FILES, _ROUNDS make it smaller.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.result import Bar, Result
from tests.restic import Restic, newest

SUMMARY = "backups and restores into a folder, beside restic: wall, processor, memory, size"
SOAK = False
MEGABYTES = int(os.environ.get("NCIA_BENCH_MB", "2100"))  # two fifths random, two fifths text, a fifth small files
SMALL_FILES = int(os.environ.get("NCIA_BENCH_FILES", "100000"))  # of the second tree, of 1 KB each
ROUNDS = int(os.environ.get("NCIA_BENCH_ROUNDS", "3"))
SMALL_MEAN_BYTES = 11_000
FOLDER_FILES = 100
PASSWORD = "of a benchmark"
SAMPLE_SECONDS = 0.1


@dataclass
class Times:
    """Of one program and one thing that it did, by round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def measure() -> Result:
    restic = newest()
    times: dict[tuple[str, str], Times] = {}
    sizes: dict[str, list[int]] = {"ours": [], "restic": []}
    with tempfile.TemporaryDirectory(prefix="ncia-repository-") as home:
        stand = Stand(Path(home), restic, times, sizes)
        for number in range(ROUNDS):
            stand.round(number)
    figures: dict[str, float] = {"tree_mb": MEGABYTES, "small_files": SMALL_FILES, "rounds": ROUNDS}
    for (program, what), found in times.items():
        figures[f"{what}_{program}_seconds"] = round(statistics.median(found.wall), 2)
        figures[f"{what}_{program}_processor_seconds"] = round(statistics.median(found.processor), 2)
    figures["memory_mb_ours"] = max(max(found.memory_mb) for (program, _), found in times.items() if program == "ours")
    figures["memory_mb_restic"] = max(
        max(found.memory_mb) for (program, _), found in times.items() if program == "restic"
    )
    bars = [Bar(f"{what}-speed", f">= {want}", ratio(times, what, "wall")) for what, want in WANTED.items()]
    bars.append(Bar("first-processor", "<= 0.8", round(1 / ratio(times, "first", "processor"), 2)))
    bars.append(Bar("memory-mb", "<= 400", figures["memory_mb_ours"]))
    bars.append(Bar("size", "<= 1.02", round(sum(sizes["ours"]) / sum(sizes["restic"]), 3)))
    return Result("repository", figures, tuple(bars))


WANTED = {
    "first": 1.15,
    "unverified": 1.25,
    "changed": 1.4,
    "unchanged": 1.2,
    "restore": 1.1,
    "small": 1.15,
    "small_restore": 0.95,
}


def ratio(times: dict[tuple[str, str], Times], what: str, of: str) -> float:
    theirs, ours = (getattr(times[program, what], of) for program in ("restic", "ours"))
    return round(statistics.median(their / our for their, our in zip(theirs, ours, strict=True)), 2)


class Stand:
    """Two trees, and both programs' repositories of them."""

    def __init__(
        self, home: Path, restic: Restic, times: dict[tuple[str, str], Times], sizes: dict[str, list[int]]
    ) -> None:
        self.home, self.restic, self.times, self.sizes = home, restic, times, sizes
        self.password = home / "password"
        self.password.write_text(PASSWORD)
        mixed(home / "tree", MEGABYTES * 1_000_000)
        small(home / "small", SMALL_FILES)
        self.programs: dict[str, Callable[..., list[str]]] = {"restic": self.theirs, "ours": self.ours}

    def round(self, number: int) -> None:
        order = ("restic", "ours") if number % 2 else ("ours", "restic")  # neither always finds the other's warm disk
        tree, small_tree = str(self.home / "tree"), str(self.home / "small")
        for name in ("main", "unverified", "small"):
            for program in order:
                self.fresh(program, name)
        self.each(order, "first", "main", "backup", tree)
        self.each(order, "unverified", "unverified", "backup", tree, verify=False)
        self.each(order, "unchanged", "main", "backup", tree)
        change(self.home / "tree", number)
        self.each(order, "changed", "main", "backup", tree)
        self.each(order, "restore", "main", "restore", "latest")
        self.each(order, "small", "small", "backup", small_tree)
        self.each(order, "small_restore", "small", "restore", "latest")
        for program in order:
            self.sizes[program].append(bytes_of(self.at(program, "main")))

    def each(self, order: tuple[str, ...], what: str, repository: str, *arguments: str, verify: bool = True) -> None:
        for program in order:
            target = self.home / "target"
            shutil.rmtree(target, ignore_errors=True)
            more = ("--target", str(target)) if arguments[0] == "restore" else ()
            command = self.programs[program](self.at(program, repository), verify, *arguments, *more)
            os.sync()
            run(command, self.times.setdefault((program, what), Times()))

    def at(self, program: str, repository: str) -> Path:
        return self.home / f"{program}-{repository}"

    def fresh(self, program: str, repository: str) -> None:
        shutil.rmtree(self.at(program, repository), ignore_errors=True)
        self.restic.run(self.at(program, repository), "init", password=PASSWORD)

    def theirs(self, root: Path, verify: bool, *arguments: str) -> list[str]:
        more = () if verify else ("--no-extra-verify",)
        cache = ("--cache-dir", str(self.home / "cache"))
        told = ("-q", "-r", str(root), "--password-file", str(self.password))
        return [str(self.restic.program), *told, *cache, *more, *arguments]

    def ours(self, root: Path, verify: bool, command: str, *arguments: str) -> list[str]:
        more = () if verify else ("--no-verify",)
        where = ("-r", str(root), "-p", str(self.password))
        return [sys.executable, "-m", "ncia", "repo", command, *where, *more, *arguments]


def run(command: list[str], times: Times) -> None:
    """One command, to its end; it and all that it started are counted."""
    begun = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak: list[int] = [0]
    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(process.pid, peak, over))
    watcher.start()
    _, status, used = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    over.set()
    watcher.join()
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    times.wall.append(wall)
    times.processor.append(used.ru_utime + used.ru_stime)
    times.memory_mb.append(round(max(peak[0], used.ru_maxrss * 1024) / 1e6, 1))


def watch(pid: int, peak: list[int], over: threading.Event) -> None:
    """The memory of a process and its children together, at its height; what they share is counted once for each."""
    while not over.wait(SAMPLE_SECONDS):
        with suppress(OSError, ValueError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            peak[0] = max(peak[0], sum(resident(each) for each in (pid, *children)))


def resident(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def mixed(top: Path, size: int) -> None:
    """Two fifths random, two fifths of words, in files of some megabytes; a fifth in small files of words."""
    chance = random.Random(4)
    words = [bytes(chance.choices(range(97, 123), k=chance.randint(2, 11))) for _ in range(20_000)]
    base = b" ".join(chance.choices(words, k=1_000_000))

    def text(length: int) -> bytes:
        found = bytearray()
        while len(found) < length:
            at = chance.randrange(len(base))
            found += base[at : at + chance.randint(200, 4000)]
        return bytes(found[:length])

    fifth = size // 5
    fill(top / "random", 2 * fifth, lambda: os.urandom(chance.randint(100_000, 7_900_000)))
    fill(top / "text", 2 * fifth, lambda: text(chance.randint(50_000, 3_950_000)))
    fill(top / "small", fifth, lambda: text(chance.randint(100, 2 * SMALL_MEAN_BYTES)))


def small(top: Path, count: int) -> None:
    chance = random.Random(5)
    left = iter(range(count))
    fill(top, count * 1000, lambda: chance.randbytes(500).hex().encode() if next(left) >= 0 else b"")


def fill(top: Path, size: int, content: Callable[[], bytes]) -> None:
    number = 0
    while size > 0:
        folder = top / f"{number // FOLDER_FILES:05}"
        if number % FOLDER_FILES == 0:
            folder.mkdir(parents=True)
        made = content()
        (folder / f"{number:07}").write_bytes(made)
        size -= len(made)
        number += 1


def change(top: Path, seed: int) -> None:
    """One file in a hundred gets other bytes of the same length in its middle."""
    files = sorted(path for path in top.rglob("*") if path.is_file())
    for path in random.Random(seed).sample(files, max(1, len(files) // 100)):
        with path.open("r+b") as file:
            length = path.stat().st_size
            file.seek(length // 3)
            file.write(os.urandom(length // 3))


def bytes_of(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
