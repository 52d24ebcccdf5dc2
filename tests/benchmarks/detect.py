"""What reading logs costs an agent: processor time per 10,000 lines, and of files in which nothing happens."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from monitors.detect.detector import Detector
from monitors.detect.rules import load
from monitors.lookout import TURN_SECONDS, Lookout, Source
from monitors.sources.event import Kind
from monitors.sources.nginx import NGINX
from monitors.sources.sshd import SSHD
from ncia.core.base.clock import SystemClock
from tests.benchmarks.result import Bar, Result

SUMMARY = "an agent's logs: processor per 10,000 lines (read, parsed, judged, written down), and idle files"
SOAK = False
LINES = 50_000
IDLE_FILES = 50
IDLE_TURNS = 200
ROOT = Path(__file__).resolve().parents[2]


def measure() -> Result:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    kinds = {kind.name: kind for kind in (SSHD, NGINX)}
    rules = load(ROOT / "configs" / "detections", kinds)
    figures: dict[str, float] = {"rules read, s of processor": round(time.process_time() - began, 3)}
    now = datetime.now(UTC).isoformat()
    web = datetime.now(UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
    port = "port 4022 ssh2"
    key = "ED25519 SHA256:1M4RzhMyWuFS/86uPY/ce2prh/dVTHW7iD2RhpquOZA"
    samples: dict[str, tuple[Kind, Callable[[int], str]]] = {
        "ssh logins": (
            SSHD,
            lambda n: f"{now} dj-db1 sshd[{n}]: Accepted publickey for ncia from 127.0.0.1 {port}: {key}",
        ),
        "ssh refusals, 200 sources": (
            SSHD,
            lambda n: f"{now} dj-db1 sshd[7]: Failed password for invalid user u{n} from 203.0.113.{n % 200} {port}",
        ),
        "web requests": (
            NGINX,
            lambda n: f'127.0.0.1 - - [{web}] "GET /acts/latest?x={n} HTTP/1.1" 200 360 "-" "ncia-agent"',
        ),
    }
    for name, (kind, line) in samples.items():
        with tempfile.TemporaryDirectory(prefix="ncia-detect-") as folder:
            (Path(folder) / "x.log").write_text("".join(f"{line(n)}\n" for n in range(LINES)))
            lookout = Lookout(
                [Source(Path(folder), "*.log", kind)], Detector("x", rules), Path(folder) / "keep", SystemClock()
            )
            began = time.process_time()
            while lookout.turn():
                pass
            spent = time.process_time() - began
            assert lookout.counts()["lines"] == LINES
            lookout.close()
        figures[f"{name}: ms of processor per 10,000 lines"] = round(spent / LINES * 10_000 * 1000, 1)
    figures["idle, 50 files: % of a core"] = idle(Detector("x", rules))
    figures["memory that rules and reading take, MB"] = round(
        (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1
    )
    bars = (
        Bar("web requests per 10,000, ms", "<= 250", figures["web requests: ms of processor per 10,000 lines"]),
        Bar("idle, % of a core", "<= 0.5", figures["idle, 50 files: % of a core"]),
    )
    return Result("detect", figures, bars)


def idle(detector: Detector) -> float:
    with tempfile.TemporaryDirectory(prefix="ncia-detect-") as folder:
        for number in range(IDLE_FILES):
            (Path(folder) / f"{number}.log").write_text("no line of ours\n")
        lookout = Lookout([Source(Path(folder), "*.log", SSHD)], detector, Path(folder) / "keep", SystemClock())
        while lookout.turn():
            pass
        began = time.process_time()
        for _ in range(IDLE_TURNS):
            lookout.turn()
        spent = time.process_time() - began
        lookout.close()
    return round(spent / (IDLE_TURNS * TURN_SECONDS) * 100, 3)
