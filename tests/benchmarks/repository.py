"""Our repository beside restic's own program and borg: the same trees, interleaved, warm.

All are run as commands, with their start; ours and restic's on repositories that restic made, so that both derive the
same kind of key, and both verifying each blob before it is kept (borg has no such setting). Ratios are the other's time
through ours, the median of the rounds. Each restore has a folder of its own, and none is removed before the end: for
minutes after a removal ext4 looks for inodes that are free for long enough, which made single values vary threefold.
To buckets: a Ceph gateway in memory, and `rclone serve s3` on the disk.
It needs 40 GB of disk; NCIA_BENCH_MB, _FILES, _ROUNDS make it smaller; NCIA_BENCH_S3=0 leaves the buckets out.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backup.replicate.stores.s3 import Access, client_of
from tests.backup.replicate.stores.stands import s3_stand
from tests.backup.repository.stores.ceph import ceph_stand
from tests.benchmarks.result import Bar, Result
from tests.restic import Restic, newest

SUMMARY = "backups and restores beside restic and borg, to a folder, two folders and buckets: wall, processor, memory"
SOAK = False
MEGABYTES = int(os.environ.get("NCIA_BENCH_MB", "2100"))  # two fifths random, two fifths text, a fifth small files
SMALL_FILES = int(os.environ.get("NCIA_BENCH_FILES", "100000"))  # of the second tree, of 1 KB each
ROUNDS = int(os.environ.get("NCIA_BENCH_ROUNDS", "4"))
BUCKETS = os.environ.get("NCIA_BENCH_S3", "1") != "0"
SMALL_MEAN_BYTES = 11_000
FOLDER_FILES = 100
PASSWORD = "of a benchmark"
NCIA = (sys.executable, "-m", "ncia", "repo")
SAMPLE_SECONDS = 0.1


@dataclass
class Times:
    """Of one program and one thing that it did, by round."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


Measured = dict[tuple[str, str], Times]


def measure() -> Result:
    times: Measured = {}
    sizes: dict[str, list[int]] = {"ours": [], "restic": []}
    with tempfile.TemporaryDirectory(prefix="ncia-repository-") as home, ExitStack() as stands:
        stand = Stand(Path(home), newest(), times, sizes)
        for number in range(ROUNDS):
            stand.round(number)
        if BUCKETS:  # their servers take some of the processors also at rest, so they come after the rest
            with suppress(pytest.skip.Exception):  # without Ceph there is one bucket less, which the figures show
                stand.buckets["ceph"] = stands.enter_context(ceph_stand(Path(home) / "ceph", 16 << 30))
            stand.buckets["rclone"] = stands.enter_context(s3_stand(Path(home) / "rclone"))
            for number in range(ROUNDS):
                stand.bucket_round(number)
    figures: dict[str, float] = {"tree_mb": MEGABYTES, "small_files": SMALL_FILES, "rounds": ROUNDS}
    for (program, what), found in times.items():
        figures[f"{what}_{program}_seconds"] = round(statistics.median(found.wall), 2)
        figures[f"{what}_{program}_processor_seconds"] = round(statistics.median(found.processor), 2)
        figures[f"memory_mb_{program}"] = max(figures.get(f"memory_mb_{program}", 0), *found.memory_mb)
    wanted = WANTED | {what: 1.3 for program, what in times if what.startswith("s3_")}
    bars = [Bar(f"{what}-speed", f">= {want}", ratio(times, what, "wall")) for what, want in wanted.items()]
    bars.append(Bar("first-processor", "<= 0.8", round(1 / ratio(times, "first", "processor"), 2)))
    bars.append(Bar("both-sites", "<= 1.25", round(1 / paired(times["ours", "first"], times["ours", "both"]), 2)))
    bars.append(Bar("memory-mb", "<= 400", figures["memory_mb_ours"]))
    bars.append(Bar("size", "<= 1.02", round(sum(sizes["ours"]) / sum(sizes["restic"]), 3)))
    beside_borg = [ratio(times, what, "wall", "borg") for program, what in times if program == "borg"]
    if beside_borg:
        bars.append(Bar("ahead-of-borg", ">= 1", min(beside_borg)))
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


def ratio(times: Measured, what: str, of: str, other: str = "restic") -> float:
    return round(paired(times[other, what], times["ours", what], of), 2)


def paired(theirs: Times, ours: Times, of: str = "wall") -> float:
    """The median, over the rounds, of one's time through the other's."""
    pairs: Iterable[tuple[float, float]] = zip(getattr(theirs, of), getattr(ours, of), strict=True)
    return statistics.median(a / b for a, b in pairs)


class Stand:
    """Two trees, and all programs' repositories of them."""

    def __init__(self, home: Path, restic: Restic, times: Measured, sizes: dict[str, list[int]]) -> None:
        self.home, self.restic, self.times, self.sizes = home, restic, times, sizes
        self.password = home / "password"
        self.password.write_text(PASSWORD)
        self.borg = shutil.which("borg")
        self.buckets: dict[str, Access] = {}
        self.turn = 0
        mixed(home / "tree", MEGABYTES * 1_000_000)
        small(home / "small", SMALL_FILES)

    def round(self, number: int) -> None:
        both = ("ours", "restic")
        order = (*both, "borg") if self.borg else both
        tree, small_tree = str(self.home / "tree"), str(self.home / "small")
        for name in ("main", "small"):
            for program in order:
                self.fresh(program, name)
        for program in both:
            self.fresh(program, "unverified")
        warm(self.home / "tree")
        self.turn = number
        self.each(order, "first", "main", "backup", tree)
        self.each(both, "unverified", "unverified", "backup", tree, verify=False)
        self.both_sites(tree)
        self.each(order, "unchanged", "main", "backup", tree)
        change(self.home / "tree", number)
        self.each(order, "changed", "main", "backup", tree)
        self.each(order, "restore", "main", "restore", "latest")
        warm(self.home / "small")
        self.each(order, "small", "small", "backup", small_tree)
        self.each(order, "small_restore", "small", "restore", "latest")
        for program in both:
            self.sizes[program].append(bytes_of(self.at(program, "main")))

    def bucket_round(self, number: int) -> None:
        for name, access in self.buckets.items():
            self.bucket(name, access, _turns(number), number, str(self.home / "tree"))

    def each(self, order: Sequence[str], what: str, repository: str, *arguments: str, verify: bool = True) -> None:
        self.turn += 1
        for program in (*_turns(self.turn), *order[2:]):
            target = self.home / f"target-{len(self.times.get((program, what), Times()).wall)}-{what}-{program}"
            more = ("--target", str(target)) if arguments[0] == "restore" else ()
            at = str(self.at(program, repository))
            self.measure(program, what, self.command(program, at, verify, *arguments, *more))

    def both_sites(self, tree: str) -> None:
        """Into twins at once."""
        near, far = self.at("ours", "near"), self.at("ours", "far")
        self.fresh("ours", "near")
        shutil.rmtree(far, ignore_errors=True)
        twin = ("init", "-r", str(far), "-p", str(self.password), "--twin", str(near))
        subprocess.run([*NCIA, *twin], check=True, stdout=subprocess.DEVNULL)
        self.measure("ours", "both", [*self.command("ours", str(near), True, "backup", tree), "--also", str(far)])
        for each in (near, far):
            shutil.rmtree(each)

    def bucket(self, name: str, access: Access, order: Sequence[str], number: int, tree: str) -> None:
        """A first backup into a bucket."""
        keys = {
            "AWS_ACCESS_KEY_ID": access.key,
            "AWS_SECRET_ACCESS_KEY": access.secret,
            "AWS_DEFAULT_REGION": "default",
        }
        for program in order:
            bucket = f"bench-{number}-{program}"
            client_of(access).create_bucket(Bucket=bucket)
            url = f"s3:http://{access.endpoint}/{bucket}"
            with environment(keys):
                subprocess.run(self.command("restic", url, True, "init"), check=True)
                self.measure(program, f"s3_{name}", self.command(program, url, True, "backup", tree))

    def measure(self, program: str, what: str, command: list[str]) -> None:
        os.sync()
        times = self.times.setdefault((program, what), Times())
        run(command, times)
        print(f"{what} {program}: {times.wall[-1]:.2f} s", file=sys.stderr, flush=True)  # a run of half an hour tells

    def at(self, program: str, repository: str) -> Path:
        return self.home / f"{program}-{repository}"

    def fresh(self, program: str, repository: str) -> None:
        at = self.at(program, repository)
        shutil.rmtree(at, ignore_errors=True)
        if program == "borg":
            subprocess.run(
                [*self.borg_words(), "init", "-e", "repokey", str(at)], check=True, stderr=subprocess.DEVNULL
            )
        else:
            self.restic.run(at, "init", password=PASSWORD)

    def command(self, program: str, at: str, verify: bool, *arguments: str) -> list[str]:
        if program == "ours":
            more = () if verify else ("--no-verify",)
            return [*NCIA, arguments[0], "-r", at, "-p", str(self.password), *more, *arguments[1:]]
        if program == "restic":
            more = () if verify else ("--no-extra-verify",)
            told = ("-q", "-r", at, "--password-file", str(self.password), "--cache-dir", str(self.home / "cache"))
            return [str(self.restic.program), *told, *more, *arguments]
        return self.borgs(at, *arguments)

    def borgs(self, at: str, command: str, *arguments: str) -> list[str]:
        if command == "backup":
            return [*self.borg_words(), "create", "-C", "zstd,3", f"{at}::{{now:%H%M%S%f}}", *arguments]
        target = Path(arguments[-1])
        target.mkdir()
        told = subprocess.run([*self.borg_words(), "list", "--short", at], check=True, capture_output=True, text=True)
        entering = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(target)]
        return [*entering, *self.borg_words(), "extract", f"{at}::{told.stdout.split()[-1]}"]

    def borg_words(self) -> list[str]:
        home = ("env", f"BORG_BASE_DIR={self.home / 'borg'}", f"BORG_PASSCOMMAND=cat {self.password}")
        return [*home, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=no", str(self.borg)]


def _turns(number: int) -> list[str]:
    """Neither always finds the other's warm disk, or what the other left to it to write."""
    return ["restic", "ours"] if number % 2 else ["ours", "restic"]


@contextmanager
def environment(more: dict[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(more)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


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
    times.memory_mb.append(round(peak[0] / 1e6, 1))  # the kernel's own figure counts what we were before the program


def watch(pid: int, peak: list[int], over: threading.Event) -> None:
    """The memory of a process and its children together, at its height; what they share is counted once."""
    while not over.wait(SAMPLE_SECONDS):
        with suppress(OSError, ValueError, StopIteration):  # it has just ended
            tasks = Path(f"/proc/{pid}/task").iterdir()  # a process is the child of the thread that began it
            children = [child for task in tasks for child in (task / "children").read_text().split()]
            peak[0] = max(peak[0], sum(resident(each) for each in (pid, *children)))


def resident(pid: int | str) -> int:
    """Bytes; of what others have as well, its share (PSS)."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in told.splitlines() if line.startswith("Pss:")) * 1024


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


def warm(top: Path) -> None:
    """Into the system's cache, so that whoever reads it first pays for nobody."""
    for path in top.rglob("*"):
        if path.is_file():
            path.read_bytes()


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
