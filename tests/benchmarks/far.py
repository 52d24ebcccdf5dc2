"""A bucket at the other centre: backups, checks and restores beside restic's, with some milliseconds between.

`rclone serve s3` behind a relay that passes everything on half of the round trip later. Restic has its cache, but for
the restore: after a disaster there is none. Ratios are restic's time through ours, the median of the rounds.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backup.replicate.stores.s3 import Access, client_of
from ncia.core.estate.model import Address
from tests.backup.replicate.stores.stands import s3_stand
from tests.benchmarks.repository import PASSWORD, Measured, Times, environment, mixed, ratio, run, small
from tests.benchmarks.result import Bar, Result
from tests.ports import free_port
from tests.restic import newest

SUMMARY = "backups, checks and restores with a bucket that is milliseconds away, beside restic"
SOAK = False
MILLISECONDS = float(os.environ.get("NCIA_BENCH_DELAY_MS", "10"))  # there and back
MEGABYTES = int(os.environ.get("NCIA_BENCH_MB", "400"))
SMALL_FILES = int(os.environ.get("NCIA_BENCH_FILES", "30000"))
ROUNDS = int(os.environ.get("NCIA_BENCH_ROUNDS", "3"))
PIECE_BYTES = 256 << 10
STEPS = ("first", "unchanged", "check", "restore")


def measure() -> Result:
    times: Measured = {}
    with tempfile.TemporaryDirectory(prefix="ncia-far-") as name:
        home = Path(name)
        mixed(home / "tree", MEGABYTES * 1_000_000)
        small(home / "small", SMALL_FILES)
        (home / "password").write_text(PASSWORD)
        with s3_stand(home / "served") as access, relayed(access.endpoint) as far:
            for number in range(ROUNDS):
                for tree in ("tree", "small"):
                    for program in ("ours", "restic") if number % 2 else ("restic", "ours"):
                        bucket = f"{program}-{tree}-{number}"
                        client_of(access).create_bucket(Bucket=bucket)
                        steps(home, program, tree, access, f"s3:http://{far}/{bucket}", times)
    figures: dict[str, float] = {"milliseconds": MILLISECONDS, "tree_mb": MEGABYTES, "small_files": SMALL_FILES}
    for (program, what), found in times.items():
        figures[f"{what}_{program}_seconds"] = round(sorted(found.wall)[len(found.wall) // 2], 2)
    whats = [f"{tree}-{step}" for tree in ("tree", "small") for step in STEPS]
    return Result("far", figures, tuple(Bar(what, ">= 1", ratio(times, what, "wall")) for what in whats))


def steps(home: Path, program: str, tree: str, access: Access, url: str, times: Measured) -> None:
    restic = newest()
    target, cache = home / "target", home / "cache"
    told = (str(restic.program), "-q", "-r", url, "--password-file", str(home / "password"), "--cache-dir", str(cache))
    with environment(
        {"AWS_ACCESS_KEY_ID": access.key, "AWS_SECRET_ACCESS_KEY": access.secret, "AWS_DEFAULT_REGION": "default"}
    ):
        subprocess.run([*told, "init"], check=True)  # of both, so that both derive the same kind of key
        for step in STEPS:
            verb = {"first": "backup", "unchanged": "backup"}.get(step, step)
            more = {"backup": [str(home / tree)], "restore": ["latest", "--target", str(target)]}.get(verb, [])
            ours = [sys.executable, "-m", "ncia", "repo", verb, "-r", url, "-p", str(home / "password"), *more]
            if step == "restore":
                shutil.rmtree(cache, ignore_errors=True)
            os.sync()
            found = times.setdefault((program, f"{tree}-{step}"), Times())
            run(ours if program == "ours" else [*told, verb, *more], found)
            print(f"{tree}-{step} {program}: {found.wall[-1]:.2f} s", file=sys.stderr, flush=True)
    shutil.rmtree(target)


@contextmanager
def relayed(target: Address) -> Iterator[Address]:
    """The same server, further away; by a process of its own."""
    address = Address("127.0.0.1", free_port())
    arguments = (str(address.port), str(target.port), str(MILLISECONDS / 2000))
    relay = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.far", *arguments], stdout=subprocess.PIPE, text=True
    )
    try:
        assert relay.stdout is not None
        assert relay.stdout.readline() == "listening\n"
        yield address
    finally:
        relay.terminate()
        relay.wait()


async def relay(port: int, target: int, seconds: float) -> None:
    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(passed_on(reader, far_writer, seconds), passed_on(far_reader, writer, seconds))

    server = await asyncio.start_server(met, "127.0.0.1", port)
    print("listening", flush=True)
    await server.serve_forever()


async def passed_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """What comes, in its order, each piece so long after it came."""
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(4096)

    async def send() -> None:
        while True:
            due, piece = await pieces.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not piece:
                writer.close()
                return
            writer.write(piece)
            await writer.drain()

    sending = asyncio.create_task(send())
    piece = b"first"
    while piece:
        try:
            piece = await reader.read(PIECE_BYTES)
        except ConnectionError:
            piece = b""
        await pieces.put((loop.time() + seconds, piece))
    await sending


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
